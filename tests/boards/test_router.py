import pytest

from systolith.boards.router import LAST_PATIENCE, PATIENCE, ROUNDS, OutOfReach, Watch


def line(number, overused, slow=None):
    """A round as nextpnr prints it, with or without its option for ripping up slow connections."""
    timing = "" if slow is None else f" tmgfail={slow}"
    return (f"Info:     iter={number} wires=900 overused={overused} overuse={overused + 2}{timing} "
            "archfail=NA")


def follow(rounds):
    """Read rounds ``(overused, slow)``; return the round after which the router is given up."""
    watch = Watch()
    for number, (overused, slow) in enumerate(rounds, 1):
        try:
            watch.read(line(number, overused, slow))
        except OutOfReach as given_up:
            return number, str(given_up)
    return None


def test_a_router_that_gets_on_is_left_alone():
    rounds = [(60_000 >> n, None) for n in range(16)]
    assert follow([*rounds, *[(1, None)] * (PATIENCE - 3), (0, None)]) is None


def test_one_that_stands_still_is_given_up():
    standing = [(7_000 + 13 * n % 50, None) for n in range(60)]
    number, stood = follow([(60_000, None), (9_000, None), *standing])
    assert number == 3 + PATIENCE
    assert stood == f"7000 overused wires after {number} rounds"


def test_the_last_wires_may_take_long():
    lasting = [(6 + 13 * n % 40, n % 80) for n in range(LAST_PATIENCE)]
    assert follow([(60_000, None), *lasting, (0, 0)]) is None
    number, stood = follow([(60_000, None), *lasting, *lasting])
    assert number == 2 + LAST_PATIENCE
    assert stood.startswith("6 overused wires")


def test_the_number_of_overused_wires_may_rise_while_fewer_connections_are_slow():
    falling = [(n % 3, 400 - 7 * n) for n in range(50)]
    assert follow([(900, 30), (20, 300), (0, 410), *falling]) is None


def test_few_slow_connections_of_many_overused_wires_are_not_the_best():
    """Round 1 has no slow connection yet: it has not solved anything."""
    falling = [(0, 400 - 7 * n) for n in range(50)]
    assert follow([(60_000, 0), (5_000, 100), *falling]) is None


def test_connections_that_stay_too_slow_are_named():
    number, stood = follow([(0, 90), *[(n % 5, 91 + n % 7) for n in range(60)]])
    assert number == 1 + PATIENCE
    assert stood == f"0 overused wires and 90 connections too slow after {number} rounds"


def test_no_router_goes_on_for_ever():
    number, stood = follow([(1_100 - n, 5) for n in range(ROUNDS + 1)])
    assert number == ROUNDS + 1
    assert "800 overused wires and 5 connections" in stood


@pytest.mark.parametrize("text", ["Info: Routing globals...", "iter=300 of the placer", ""])
def test_other_lines_say_nothing(text):
    watch = Watch()
    watch.read(line(1, 9_000))
    for _ in range(3 * PATIENCE):
        watch.read(text)
    for number in range(2, 1 + PATIENCE):
        watch.read(line(number, 9_000))
    with pytest.raises(OutOfReach, match=f"9000 overused wires after {1 + PATIENCE} rounds"):
        watch.read(line(1 + PATIENCE, 9_000))
