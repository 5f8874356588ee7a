"""What networks should reach, and what others were measured to take for the same work."""

from dataclasses import dataclass

__all__ = ["BARS", "PEERS", "Bar", "Peer", "bar_of", "most_cycles"]


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure to reach, by one network on one target: cycles, or the share of the array's peak."""

    target: str
    network: str
    cycles: int | None = None
    utilization: float | None = None

    def met(self, cycles: int, utilization: float) -> bool:
        """Tell whether a measurement reaches the bar."""
        if self.cycles is not None:
            return cycles <= self.cycles
        return utilization >= self.utilization

    def __str__(self) -> str:
        return f"{self.utilization:.0%}" if self.cycles is None else f"{self.cycles:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What another project's hardware takes with as many multipliers as a target of ours."""

    name: str
    target: str
    network: str
    macs: int
    cycles: int
    #: With a memory that answers at once.
    fast_memory_cycles: int | None = None


BARS = (
    Bar("ulx3s-85f", "resnet8", 105_000),
    Bar("ulx3s-85f", "dscnn", 30_000),
    Bar("ulx3s-85f", "mobilenetv1-0.25-96", 85_000),
    Bar("ulx3s-85f", "autoencoder", 18_000),
    Bar("ulx3s-85f", "lenet", utilization=0.40),
    Bar("ulx3s-85f", "conv3x3-32-16x16", utilization=0.96),
    Bar("ulx3s-85f", "conv3x3-64-8x8", utilization=0.96),
    Bar("ulx3s-85f-mixed", "resnet8", 39_000),
    Bar("icebreaker", "dscnn", 185_000),
    Bar("ulx3s-85f-train", "lenet5-train", 32 * 10_000),        # of a step of 32 images
)

#: NNgen 1.3.4 (d5ac0cc), its own RTL and test bench under Verilator 5.48, two input and four output
#: channels at a time; its default memory model: 32-bit AXI, a delay of 10, busy 4 of 16 cycles;
#: the fast one: 128-bit AXI, a delay of 1, never busy. Cycles from start to done, transfers of
#: weights, inputs and outputs included. Its LeNet is a smaller network than ours.
PEERS = (
    Peer(name="NNgen", target="multipliers72", network="resnet8", macs=12_501_632,
         cycles=368_058, fast_memory_cycles=284_618),
    Peer(name="NNgen", target="multipliers72", network="conv3x3-64-8x8", macs=2_359_296,
         cycles=43_882),
    Peer(name="NNgen", target="multipliers72", network="conv3x3-32-16x16", macs=2_359_296,
         cycles=37_466),
    Peer(name="NNgen", target="multipliers72", network="lenet", macs=290_080, cycles=17_458),
)


def bar_of(target: str, network: str) -> Bar | None:
    """Return what a network should reach on a target, if that was ever said."""
    return next((bar for bar in BARS if (bar.target, bar.network) == (target, network)), None)


def most_cycles(target: str, network: str) -> int | None:
    """Return the most cycles a network may take on a target, if that was ever said."""
    bar = bar_of(target, network)
    return bar.cycles if bar else None
