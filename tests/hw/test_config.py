"""Config: what cannot be built is refused, and hardware that did not change keeps its identity."""

from dataclasses import replace

import pytest

from systolith.hw.config import Config, ConfigError
from systolith.hw.latency import array_latency, claimable_word, load_cycle

CLUSTERS = Config(rows=24, columns=16, post_lanes=16, cluster_rows=6, cluster_columns=2,
                  multiplier_stages=2)


@pytest.mark.parametrize(("changes", "message"), [
    ({"cluster_rows": 0}, "cluster_rows must be 1 to the array's 24 rows, not 0"),
    ({"cluster_columns": 17}, "cluster_columns must be 1 to the array's 16 columns, not 17"),
    ({"multiplier_stages": 4}, "multiplier_stages must be 2 with deep pipelining and clusters"),
    ({"output_stationary": True}, "output_stationary needs a sum in every place of the array"),
    ({"post_multipliers": 2}, "post_multipliers must be 3 or 4, not 2"),
])
def test_impossible_clusters_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(CLUSTERS, **changes)


def test_new_fields_leave_older_hardware_its_hash():
    before = Config()
    assert before.hash == Config(cluster_rows=1, cluster_columns=1, post_multipliers=3).hash
    assert len({before.hash, CLUSTERS.hash, replace(CLUSTERS, cluster_rows=4).hash,
                replace(before, post_multipliers=4).hash}) == 4


def test_clusters_shorten_the_way_through_the_array():
    single = Config(rows=24, columns=16, post_lanes=16, multiplier_stages=3)
    assert (CLUSTERS.row_clusters, CLUSTERS.column_clusters) == (4, 8)
    assert array_latency(CLUSTERS) == 6 < array_latency(single) == 28


@pytest.mark.parametrize("config", [CLUSTERS, replace(CLUSTERS, cluster_rows=5),
                                    Config(rows=9, columns=2, post_lanes=2, cluster_rows=4,
                                           multiplier_stages=2), Config()], ids=str)
def test_a_claimed_tile_is_there_in_time(config):
    """Weights of every row are loaded before the swap and not replaced before it."""
    for row in range(config.rows):
        loaded, cluster = load_cycle(config, row), row // config.cluster_rows
        assert cluster <= loaded <= claimable_word(config) + cluster
