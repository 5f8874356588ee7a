"""Nests of a training device: those of inference with the registers that training adds."""

from dataclasses import dataclass
from typing import ClassVar

from systolith.hw import isa
from systolith.hw.isa import POST_LOOPS, TRAINING_LOAD_LOOPS, Engine, LoadKind
from systolith.sw.nests import LoadNest, Nest, StreamNest

__all__ = ["Outer", "ResultNest", "Stream", "Tiles"]


@dataclass(slots=True, kw_only=True)
class Tiles(LoadNest):
    """Rows or columns of tiles, or the second operands of outer products."""

    kind: LoadKind = LoadKind.TILE

    depth: ClassVar[int] = TRAINING_LOAD_LOOPS

    def settings(self) -> dict[str, int]:
        """Return the control word."""
        return {"CONTROL": isa.encode(isa.LoadControl, kind=self.kind)}


@dataclass(slots=True, kw_only=True)
class Stream(StreamNest):
    """Vectors; elements from ``tail[1]`` on are 0 at the last iteration of loop ``tail[0]``."""

    tail: tuple[int, int]

    #: Outer products instead of products with a tile.
    outer: ClassVar[bool] = False

    def settings(self) -> dict[str, int]:
        """Return the control words."""
        level, rows = self.tail
        # the zero-argument super() does not survive the copy that slots=True makes of the class
        return StreamNest.settings(self) | {"OPERANDS": isa.encode(
            isa.StreamOperands, tail_level=level, tail=rows, outer=self.outer)}


@dataclass(slots=True, kw_only=True)
class Outer(Stream):
    """Vectors of outer products; after each pass its sums are drained to its last address on."""

    outer: ClassVar[bool] = True


@dataclass(slots=True, kw_only=True)
class ResultNest(Nest):
    """Results: ``sat((sum + (operand << left) + offset) >> right)``.

    ``base`` is where the first is written. What is not said is left out: no operand, no mask, no
    record, no report.
    """

    group_level: int = POST_LOOPS
    pool_level: int = 0
    acc_base: int = 0
    #: Columns written in the last group (or lanes of a fill).
    valid: int
    fill: bool = False
    #: Address of the first operand (an addend, or with ``comparing`` a record).
    operand: int | None = None
    left: int = 0
    right: int = 0
    rectify: bool = False
    stochastic: bool = False
    turn: int = 0
    #: From a result to the mask that lets it through, and to the record of its maximum.
    mask: int | None = None
    record: int | None = None
    comparing: bool = False
    #: The loss unit instead of sums. Operands are logits, loops below ``pool_level`` a sample's;
    #: its label is the mask, its result what the loss is made of; records are gradients, one
    #: sample's after the other's.
    loss: bool = False
    #: Results belong to the range.
    counted: bool = True
    #: Where the range of this nest and those since the last report is written.
    report: int | None = None

    engine: ClassVar[Engine] = Engine.POST
    depth: ClassVar[int] = POST_LOOPS
    jump_fields: ClassVar[dict[str, str]] = {"WRITE_JUMP": "stride", "RESIDUAL_JUMP": "residual"}
    base_register: ClassVar[str] = "WRITE_BASE"

    def settings(self) -> dict[str, int]:
        """Return control and rounding, and the addresses that are used."""
        words = {
            "CONTROL": isa.encode(
                isa.PostControl, acc_base=self.acc_base, group_level=self.group_level,
                pool_level=self.pool_level, fill=self.fill, residual=self.operand is not None,
                valid=self.valid),
            "ROUNDING": isa.encode(
                isa.Rounding, left=self.left, right=self.right, rectify=self.rectify,
                stochastic=self.stochastic, masked=self.mask is not None,
                recording=self.record is not None, comparing=self.comparing, counted=self.counted,
                report=self.report is not None, turn=self.turn, loss=self.loss),
        }
        for register, layout, field, value in (
                ("RESIDUAL_BASE", isa.Address, "address", self.operand),
                ("MASK_DELTA", isa.Jump, "jump", self.mask),
                ("RECORD_DELTA", isa.Jump, "jump", self.record),
                ("REPORT_BASE", isa.Address, "address", self.report)):
            if value is not None:
                words[register] = isa.encode(layout, **{field: value})
        return words
