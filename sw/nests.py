"""Nests as the compiler thinks of them: strides, not jumps; and their encoding into registers."""

from dataclasses import dataclass
from typing import ClassVar

from systolith.hw import isa
from systolith.hw.isa import LOAD_LOOPS, POST_LOOPS, STREAM_LOOPS, Engine, Relocate, register_index

__all__ = ["LoadNest", "Loop", "Nest", "PostNest", "ResidualAdd", "StreamNest", "Token"]


@dataclass(frozen=True, slots=True)
class Loop:
    """``count`` iterations; each moves every address by its own stride."""

    count: int
    #: Of the address: words' elements (LOAD), vectors (STREAM), results (POST).
    stride: int = 0
    #: Of the accumulator address.
    acc: int = 0
    #: Of the residual operand (POST).
    residual: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """Wait until ``engine`` has finished ``count`` nests of this job."""

    engine: Engine
    count: int


def _jumps(counts: list[int], strides: list[int]) -> list[int]:
    """Turn strides into jumps: a step of a loop takes the travel of the loops inside it back.

    A loop of one iteration never steps: its jump is 0, whatever is inside.
    """
    travel, jumps = 0, []
    for count, stride in zip(counts, strides, strict=True):
        jumps.append(stride - travel if count > 1 else 0)
        travel += (count - 1) * stride
    return jumps


@dataclass(slots=True, kw_only=True)
class Nest:
    """One GO: a base address and loops, innermost first."""

    base: int
    loops: list[Loop]
    token: Token | None = None
    #: Which ping-pong offset is added to ``base`` in jobs of odd parity.
    relocate: Relocate = Relocate.NONE
    #: Operation this nest belongs to, for reports.
    op: str = ""

    engine: ClassVar[Engine] = Engine.LOAD
    depth: ClassVar[int] = LOAD_LOOPS
    #: Jump registers, and the stride of the loops each takes.
    jump_fields: ClassVar[dict[str, str]] = {"JUMP": "stride"}
    base_register: ClassVar[str] = "BASE"

    def registers(self) -> dict[int, int]:
        """Return the words of all of this nest's registers, by register index.

        Raises
        ------
        ValueError
            If it has too many loops, or a number does not fit its field.
        """
        if len(self.loops) > self.depth:
            raise ValueError(f"a {self.engine.name} nest has at most {self.depth} loops, "
                             f"not {len(self.loops)}")
        loops = self.loops + [Loop(1)] * (self.depth - len(self.loops))
        counts = [loop.count for loop in loops]
        words = {self._index(self.base_register): isa.encode(isa.Address, address=self.base)}
        words |= {self._index(name): word for name, word in self.settings().items()}
        accs = _jumps(counts, [loop.acc for loop in loops])
        for i, (count, acc) in enumerate(zip(counts, accs, strict=True)):
            words[self._index(f"LOOP{i}")] = isa.encode(isa.Loop, last=count - 1, acc_jump=acc)
        for register, name in self.jump_fields.items():
            jumps = _jumps(counts, [getattr(loop, name) for loop in loops])
            for i, jump in enumerate(jumps):
                words[self._index(f"{register}{i}")] = isa.encode(isa.Jump, jump=jump)
        return words

    def settings(self) -> dict[str, int]:
        """Return the words of the registers that are neither base nor loops, by name."""
        return {}

    def relocations(self) -> dict[int, Relocate]:
        """Return the registers whose address moves with the job's parity."""
        return {self._index(self.base_register): self.relocate}

    def _index(self, name: str) -> int:
        return register_index(self.engine, name)

    @property
    def iterations(self) -> int:
        """Product of the loops' counts."""
        total = 1
        for loop in self.loops:
            total *= loop.count
        return total


@dataclass(slots=True, kw_only=True)
class LoadNest(Nest):
    """Words of weights; every ``load_words`` of them are a tile."""


@dataclass(slots=True, kw_only=True)
class StreamNest(Nest):
    """Vectors; see ``docs/architecture.md`` for levels and flags."""

    pass_level: int
    group_level: int
    acc_base: int = 0
    keep: bool = False
    hold: bool = False
    #: Kernel rows and columns (1 to 3) and strides (1 to 4) of the window unit, or None.
    window: tuple[int, int, int, int] | None = None

    engine: ClassVar[Engine] = Engine.STREAM
    depth: ClassVar[int] = STREAM_LOOPS

    def settings(self) -> dict[str, int]:
        """Return the control word."""
        rows, columns, stride_y, stride_x = self.window or (1, 1, 1, 1)
        return {"CONTROL": isa.encode(
            isa.StreamControl, acc_base=self.acc_base, pass_level=self.pass_level,
            group_level=self.group_level, keep=self.keep, hold=self.hold,
            window=self.window is not None, window_rows=rows - 1, window_columns=columns - 1,
            stride_y=stride_y - 1, stride_x=stride_x - 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualAdd:
    """The residual addition of a POST nest; (multiplier, right shift) of its two rescalings."""

    base: int
    zero_point: int
    #: Of the residual, or else of the result; the other operand's factor is 1/2.
    operand: tuple[int, int]
    scales_residual: bool
    sum: tuple[int, int]
    sum_zero_point: int
    low: int
    high: int
    relocate: Relocate = Relocate.NONE


@dataclass(slots=True, kw_only=True)
class PostNest(Nest):
    """Results; ``base`` is where the first is written."""

    group_level: int = POST_LOOPS
    pool_level: int = 0
    acc_base: int = 0
    #: Address of the first group's parameters, or None to keep those that are loaded.
    params: int | None = None
    #: Columns written in the last group (or lanes of a fill).
    valid: int
    zero_point: int
    low: int = -128
    high: int = 127
    fill: bool = False
    add: ResidualAdd | None = None

    engine: ClassVar[Engine] = Engine.POST
    depth: ClassVar[int] = POST_LOOPS
    jump_fields: ClassVar[dict[str, str]] = {"WRITE_JUMP": "stride", "RESIDUAL_JUMP": "residual"}
    base_register: ClassVar[str] = "WRITE_BASE"

    def settings(self) -> dict[str, int]:
        """Return control, parameters, bounds and, if any, the residual addition."""
        add = self.add
        words = {
            "CONTROL": isa.encode(
                isa.PostControl, acc_base=self.acc_base, group_level=self.group_level,
                pool_level=self.pool_level, fill=self.fill, residual=add is not None,
                reload=self.params is not None, valid=self.valid),
            "PARAM_BASE": isa.encode(isa.Address, address=self.params or 0),
            "BOUNDS": isa.encode(isa.Bounds, low=self.low, high=self.high),
            "ZEROS": isa.encode(isa.ZeroPoints, result=self.zero_point,
                                residual=add.zero_point if add else 0),
        }
        if add:
            words |= {
                "RESIDUAL_BASE": isa.encode(isa.Address, address=add.base),
                "ADD_OPERAND": isa.encode(isa.Multiplier, multiplier=add.operand[0]),
                "ADD_SUM": isa.encode(isa.Multiplier, multiplier=add.sum[0]),
                "ADD_SCALE": isa.encode(
                    isa.AddScale, operand_shift=add.operand[1], sum_shift=add.sum[1],
                    scales_residual=add.scales_residual, zero_point=add.sum_zero_point),
                "ADD_BOUNDS": isa.encode(isa.Bounds, low=add.low, high=add.high),
            }
        return words

    def relocations(self) -> dict[int, Relocate]:
        """Return the registers whose address moves with the job's parity."""
        moving = {self._index(self.base_register): self.relocate}
        if self.add:
            moving[self._index("RESIDUAL_BASE")] = self.add.relocate
        return moving
