"""Images a second: what the link carries, and that transfers overlap each other and computing."""

import pytest

from systolith.boards.targets import find_target
from systolith.examples.benchmark import Work, bench_config, find_work
from systolith.examples.synthetic import Builder
from systolith.examples.throughput import Line, lines_of, measure
from systolith.hw.config import Config
from systolith.sw.compiler import compile_graph
from systolith.sw.traffic import traffic

CONFIG = Config(name="small", rows=4, columns=4, post_lanes=4, banks=2, bank_words=2048)


def test_lines():
    uart, *others = lines_of("ulx3s-85f")
    clock = find_target("ulx3s-85f").clock_hz
    assert uart == Line("UART 3 Mbaud", -(-10 * clock // 3_000_000))
    assert others[-1] == Line(f"{clock / 1e6:.3g} MB/s", 1)
    assert lines_of("ulx3s-85f", [50]) == [Line(f"{clock / 50e6:.3g} MB/s", 50)]
    assert [line.byte_cycles for line in lines_of("a configuration without board")] == [
        line.byte_cycles for line in others]


def test_traffic_counts_every_byte_of_every_frame():
    """By hand: two flags, header and CRC are 14 bytes around each payload."""
    program = compile_graph(find_work("lenet").load(), bench_config("ulx3s-85f"))
    span = program.inputs[0].span.stop - program.inputs[0].span.start
    assert 512 < 28 * 28 <= span < 1024          # two frames
    counted = traffic(program)
    assert counted.down == (512 + 14) + (span - 512 + 14) + (4 + 14) + 2 * 14
    # a float32 output is ten elements; STATUS to FAULT_PC are five registers or more
    assert counted.up - 5 * 14 - program.outputs[0].elements in range(20, 41, 4)
    assert counted.most == counted.down


def network():
    """Return a convolution and a classifier."""
    b = Builder("small", (8, 8, 16))
    b.conv(16)
    b.global_average()
    b.dense(10, relu=False)
    return b.finish()


@pytest.mark.slow
def test_what_takes_longer_sets_the_pace():
    """Transfers both ways overlap each other and computing: nothing else takes time."""
    work = Work("small", network)
    program = compile_graph(work.load(), CONFIG)
    knee = program.predicted_cycles / traffic(program).most
    lines = [Line("fast", 1), Line("slow", int(3 * knee))]
    fast, slow = measure(work, CONFIG, lines)
    assert (fast.bottleneck, slow.bottleneck) == ("array", "link")
    assert fast.cycles == pytest.approx(fast.array_cycles, rel=0.03)
    assert slow.cycles == pytest.approx(slow.link_cycles, rel=0.05)
    assert fast.knee_bytes_per_second == slow.knee_bytes_per_second == pytest.approx(1e8 / knee)
    assert fast.images_per_second == 1e8 / fast.cycles
