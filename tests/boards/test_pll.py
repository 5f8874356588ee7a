import pytest
from hypothesis import given
from hypothesis import strategies as st

from systolith.boards.errors import BoardError
from systolith.boards.pll import Ecp5Dividers, GowinDividers, Ice40Dividers

MHZ = 1_000_000


@given(st.sampled_from([12, 25, 48, 50, 100]), st.integers(4, 400))
def test_ecp5_dividers_are_exact_and_within_limits(source, wanted):
    try:
        dividers = Ecp5Dividers.solve(source * MHZ, wanted * MHZ)
    except BoardError:
        # Then no reference divider within the detector's range gives a whole feedback divider, and
        # no multiple of the source is one of the clock.
        assert all(n * source % wanted for n in range(1, 129) if 400 <= n * source <= 800)
        assert all(wanted * n % source or not 1 <= wanted * n // source <= 80
                   for n in range(1, 129) if source / n >= 10)
        return
    detector = source / dividers.reference
    oscillator = detector * dividers.feedback * dividers.output
    assert oscillator / (dividers.second or dividers.output) == pytest.approx(wanted)
    assert 10 <= detector <= 400
    assert 400 <= oscillator <= 800
    assert 1 <= dividers.feedback <= 80 and 1 <= dividers.output <= 128


@given(st.integers(16, 250))
def test_ice40_dividers_are_exact_and_within_limits(wanted):
    try:
        dividers = Ice40Dividers.solve(12 * MHZ, wanted * MHZ)
    except BoardError:
        return
    oscillator = 12 / (dividers.r + 1) * (dividers.f + 1)
    assert oscillator / 2 ** dividers.q == pytest.approx(wanted)
    assert 533 <= oscillator <= 1066
    assert 0 <= dividers.f <= 127 and 1 <= dividers.q <= 6


@given(st.integers(8, 300))
def test_gowin_dividers_are_exact_and_within_limits(wanted):
    try:
        dividers = GowinDividers.solve(27 * MHZ, wanted * MHZ)
    except BoardError:
        return
    assert 27 / dividers.reference * dividers.feedback == pytest.approx(wanted)
    assert 3 <= 27 / dividers.reference <= 500
    assert 500 <= wanted * dividers.output <= 1250
    assert 1 <= dividers.reference <= 64 and 1 <= dividers.feedback <= 64


def test_the_vendors_own_numbers():
    # ecppll -i 25 -o 100, icepll -i 12 -o 24, and the divisors of gowin_pll -i 27 -o 54
    assert Ecp5Dividers.solve(25 * MHZ, 100 * MHZ) == Ecp5Dividers(1, 4, 6)
    # ecppll takes a slower phase detector than the data sheet allows
    assert Ecp5Dividers.solve(25 * MHZ, 80 * MHZ) == Ecp5Dividers(1, 1, 16, 5)
    assert Ice40Dividers.solve(12 * MHZ, 24 * MHZ) == Ice40Dividers(0, 63, 5, 1)
    assert GowinDividers.solve(27 * MHZ, 54 * MHZ) == GowinDividers(1, 2, 16)


@pytest.mark.parametrize("solver", [Ecp5Dividers, Ice40Dividers, GowinDividers])
def test_an_impossible_clock_is_refused(solver):
    with pytest.raises(BoardError, match=r"cannot make 33.3333 MHz from 12 MHz"):
        solver.solve(12 * MHZ, 33_333_300)
