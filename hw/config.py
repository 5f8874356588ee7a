"""The one definition of a generated accelerator: every free number of the hardware, validated."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Config", "ConfigError"]


class ConfigError(ValueError):
    """A configuration that cannot be built; the message says which number and why."""


#: Fields that older hardware does not know of.
_ADDED = frozenset({"training", "cluster_rows", "cluster_columns", "post_multipliers"})


def _ceil_log2(n: int) -> int:
    return max(0, n - 1).bit_length()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A generated accelerator. Sizes are in *elements* of ``operand_bits`` unless named otherwise.

    Raises
    ------
    ConfigError
        If a number is out of range or two numbers contradict each other.
    """

    #: Name, for people; not part of the hash.
    name: str = "custom"
    #: Rows of the array: length of the reduction vector consumed each cycle, 2 to 32.
    rows: int = 16
    #: Columns of the array: output channels computed side by side, 2 to 32.
    columns: int = 8
    #: Width of one operand (activation and weight), 8 or 16.
    operand_bits: int = 8
    #: Width of one accumulator entry, 20 to 32 (training: to 48). Wrap-around is never relied on.
    accumulator_bits: int = 32
    #: Entries of each of the two accumulator stores, per column.
    accumulator_depth: int = 512
    #: Banks of the unified memory; each has its own ports.
    banks: int = 5
    #: Words of one bank; a word is ``lanes`` elements. A power of two.
    bank_words: int = 4096
    #: ``dual``: one read and one write port a bank (block RAM); ``single``: one port (iCE40 SPRAM).
    bank_ports: str = "dual"
    #: Every address the engines use is a multiple of this many elements: 1, or 2 on 16-bit SPRAM.
    alignment: int = 1
    #: Words of 32 bits in the program memory. A power of two.
    program_words: int = 4096
    #: Channels the post-processor finishes per cycle; divides ``columns``.
    post_lanes: int = 8
    #: Multipliers of 18 bits each of them takes, on parts that have such: 3, and a product in the
    #: fabric, or 4.
    post_multipliers: int = 3
    #: Multipliers of the array: ``dsp``, ``lut``, or ``mixed``.
    multiplier: str = "dsp"
    #: With ``mixed``: columns (from the left) built from DSPs, the others from LUTs.
    dsp_columns: int = 0
    #: ``deep``: registers for the highest clock. ``shallow``: as few as a clock of some 20 MHz
    #: needs, for small parts; the array adds a whole column in one cycle then.
    pipelining: str = "deep"
    #: Rows whose products are added before one register, and columns that share the registers of
    #: activations. With more than one each, the array takes fewer flip-flops and a lower clock.
    cluster_rows: int = 1
    cluster_columns: int = 1
    #: Pipeline stages of a multiplier, 3 or 4: operands, pipeline, product, (fabric register).
    #: With ``shallow`` or clusters 2: operands and product.
    multiplier_stages: int = 4
    #: Depth of each reader's FIFO, in vectors; it must cover the memory's latency.
    fifo_depth: int = 16
    #: Engines hold the next descriptor while one runs (False saves flip-flops on small parts).
    prefetch_descriptors: bool = True
    #: Sliding-window unit: depthwise convolution with up to 3 x 3 taps per pass.
    window: bool = False
    #: Widest feature map row the window unit can buffer, halo included.
    window_width: int = 128
    #: Fused residual addition in the post-processor.
    residual: bool = True
    #: Output-stationary mode of the array (weight gradients).
    output_stationary: bool = False
    #: Training: exact sums, shifts and stochastic rounding instead of the requantiser, transposed
    #: tiles, outer products (``output_stationary``).
    training: bool = False
    #: Payload bytes of one link frame, a multiple of the bytes of a word.
    frame_bytes: int = 512

    def __post_init__(self) -> None:
        self._check_array()
        self._check_memory()
        self._check_post()

    def _check_array(self) -> None:
        for name in ("rows", "columns"):
            _require(2 <= getattr(self, name) <= 32, f"{name} must be 2 to 32, not "
                     f"{getattr(self, name)!r}: below 2 nothing is systolic, above 32 the skew "
                     "registers outgrow the multipliers")
        _require(self.operand_bits in (8, 16),
                 f"operand_bits must be 8 or 16, not {self.operand_bits!r}: memories are byte-wide")
        _require(self.accumulator_bits >= 2 * self.operand_bits,
                 f"accumulator_bits = {self.accumulator_bits} cannot hold one product of "
                 f"{self.operand_bits}-bit operands")
        if self.training:
            self._check_training()
        else:
            _require(20 <= self.accumulator_bits <= 32, "accumulator_bits must be 20 to 32, not "
                     f"{self.accumulator_bits!r}: the requantiser multiplies 32 by 31 bits")
        _require(self.multiplier in ("dsp", "lut", "mixed"),
                 f"multiplier must be 'dsp', 'lut' or 'mixed', not {self.multiplier!r}")
        if self.multiplier == "mixed":
            _require(0 < self.dsp_columns < self.columns,
                     f"multiplier 'mixed' needs dsp_columns between 1 and {self.columns - 1}, "
                     f"not {self.dsp_columns}: otherwise it is 'dsp' or 'lut'")
        else:
            _require(self.dsp_columns == 0, "dsp_columns belongs to multiplier 'mixed' only")
        self._check_pipelining()
        if self.window:
            _require(self.rows >= 9, f"the window unit feeds 9 taps to 9 rows; the array has "
                     f"{self.rows}")
            _require(4 <= self.window_width <= 1024, "window_width must be 4 to 1024, not "
                     f"{self.window_width!r}")

    def _check_training(self) -> None:
        needs = {"operand_bits": 16, "accumulator_bits": 48, "output_stationary": True,
                 "residual": True, "window": False, "pipelining": "deep", "bank_ports": "dual",
                 "alignment": 1, "post_lanes": self.columns, "cluster_rows": 1,
                 "cluster_columns": 1}
        for name, value in needs.items():
            _require(getattr(self, name) == value, f"training needs {name} = {value!r}, not "
                     f"{getattr(self, name)!r}")
        _require(3 <= self.columns <= self.rows, "training needs 3 columns or more, and as many "
                 f"rows, not {self.columns} and {self.rows}: a range takes three elements, a "
                 "diagonal tile has one in each column")

    def _check_pipelining(self) -> None:
        _require(self.pipelining in ("deep", "shallow"),
                 f"pipelining must be 'deep' or 'shallow', not {self.pipelining!r}")
        for name in ("rows", "columns"):
            size = getattr(self, f"cluster_{name}")
            _require(1 <= size <= getattr(self, name), f"cluster_{name} must be 1 to the array's "
                     f"{getattr(self, name)} {name}, not {size!r}")
        stages = (2,) if self.shallow or self.clustered else (3, 4)
        _require(self.multiplier_stages in stages, f"multiplier_stages must be "
                 f"{' or '.join(map(str, stages))} with {self.pipelining} pipelining"
                 f"{' and clusters' if self.clustered else ''}, not {self.multiplier_stages!r}")
        if self.clustered:
            _require(not self.shallow, "a shallow array is one cluster: leave cluster_rows and "
                     "cluster_columns at 1")
            _require(not self.output_stationary, "output_stationary needs a sum in every place of "
                     "the array: leave cluster_rows and cluster_columns at 1")
        if self.shallow:
            _require(self.multiplier == "dsp", "pipelining 'shallow' keeps the operands in the "
                     f"DSPs' own registers: multiplier must be 'dsp', not {self.multiplier!r}")
            for name in ("window", "residual", "output_stationary"):
                _require(not getattr(self, name), f"pipelining 'shallow' is for small parts and "
                         f"has no pipeline for {name}: set {name} = False")
            _require(not self.prefetch_descriptors, "pipelining 'shallow' keeps the running nest's "
                     "loops in one memory: set prefetch_descriptors = False")
            _require(self.accumulator_bits % 8 == 0, "pipelining 'shallow' multiplies a sum in "
                     "eight passes: accumulator_bits must be 24 or 32, not "
                     f"{self.accumulator_bits}")

    def _check_memory(self) -> None:
        _require(1 <= self.banks <= 16, f"banks must be 1 to 16, not {self.banks!r}")
        for name, low, high in (("bank_words", 64, 1 << 16), ("program_words", 64, 1 << 16),
                                ("accumulator_depth", 16, 4096), ("fifo_depth", 4, 64)):
            value = getattr(self, name)
            _require(low <= value <= high and value & (value - 1) == 0,
                     f"{name} must be a power of two from {low} to {high}, not {value!r}: "
                     "addresses are bit slices")
        _require(self.bank_ports in ("dual", "single"),
                 f"bank_ports must be 'dual' or 'single', not {self.bank_ports!r}")
        _require(self.alignment in (1, 2), f"alignment must be 1 or 2, not {self.alignment!r}")
        _require(self.bank_ports == "dual" or self.operand_bits == 16 or self.alignment == 2,
                 "bank_ports 'single' needs alignment = 2 for 8-bit operands: two elements share "
                 "the address of a 16-bit memory")
        _require(self.rows % self.alignment == 0 and self.columns % self.alignment == 0,
                 f"alignment = {self.alignment} needs even rows and columns, not {self.rows} and "
                 f"{self.columns}: vectors and channel groups follow one another")
        _require(self.address_bits <= 24, "the unified memory is larger than the 24-bit "
                 "addresses of the instruction set")

    def _check_post(self) -> None:
        _require(self.post_multipliers in (3, 4),
                 f"post_multipliers must be 3 or 4, not {self.post_multipliers!r}")
        if self.shallow:
            _require(self.post_lanes == 1, "pipelining 'shallow' has one lane: post_lanes must be "
                     f"1, not {self.post_lanes}")
            _require(self.lanes * self.operand_bits >= 32, "pipelining 'shallow' reads a channel's "
                     "parameters in a word each: a word must have 32 bits or more")
        _require(1 <= self.post_lanes <= self.columns and self.columns % self.post_lanes == 0,
                 f"post_lanes = {self.post_lanes} must divide columns = {self.columns}: each "
                 "step of the drain takes a whole slice of the columns")
        word_bytes = self.lanes * self.operand_bits // 8
        _require(self.frame_bytes % word_bytes == 0 and 16 <= self.frame_bytes <= 1024,
                 f"frame_bytes = {self.frame_bytes} must be a multiple of the {word_bytes} bytes "
                 "of a word, 16 to 1024")

    # -- derived values ---------------------------------------------------------------------

    @property
    def shallow(self) -> bool:
        """Pipelines are as short as they can be."""
        return self.pipelining == "shallow"

    @property
    def clustered(self) -> bool:
        """The array's registers stand between clusters of rows and columns."""
        return self.cluster_rows > 1 or self.cluster_columns > 1

    @property
    def row_clusters(self) -> int:
        """Clusters one below the other."""
        return -(-self.rows // self.cluster_rows)

    @property
    def column_clusters(self) -> int:
        """Clusters side by side."""
        return -(-self.columns // self.cluster_columns)

    @property
    def multipliers(self) -> int:
        """Multiply-accumulates the array does each cycle."""
        return self.rows * self.columns

    @property
    def columns_of_dsp(self) -> int:
        """Columns, from the left, whose multipliers are DSPs."""
        return {"dsp": self.columns, "lut": 0, "mixed": self.dsp_columns}[self.multiplier]

    @property
    def lanes(self) -> int:
        """Elements of one memory word: the power of two that covers a row and a column vector."""
        return 1 << _ceil_log2(max(self.rows, self.columns))

    @property
    def lane_bits(self) -> int:
        """Address bits that pick an element of a word."""
        return _ceil_log2(self.lanes)

    @property
    def memory_elements(self) -> int:
        """Elements of the whole unified memory."""
        return self.banks * self.bank_words * self.lanes

    @property
    def memory_bytes(self) -> int:
        """Bytes of the whole unified memory."""
        return self.memory_elements * self.operand_bits // 8

    @property
    def word_address_bits(self) -> int:
        """Bits of a word address (bank number above word in bank)."""
        return _ceil_log2(self.banks) + _ceil_log2(self.bank_words)

    @property
    def address_bits(self) -> int:
        """Bits of an element address."""
        return self.word_address_bits + self.lane_bits

    @property
    def psum_bits(self) -> int:
        """Width of a sum down one column: products and the carries of ``rows`` of them.

        Never wider than an accumulator, which the compiler proves wide enough for the whole sum.
        """
        if self.output_stationary:
            return self.accumulator_bits
        return min(self.accumulator_bits, 2 * self.operand_bits + _ceil_log2(self.rows))

    @property
    def acc_address_bits(self) -> int:
        """Address bits of one accumulator store."""
        return _ceil_log2(self.accumulator_depth)

    @property
    def token_bits(self) -> int:
        """Width of a counter of finished nests: a program starts fewer than it has words."""
        return min(16, _ceil_log2(self.program_words))

    @property
    def load_parts(self) -> int:
        """Array rows filled by one word of weights."""
        if self.training:                        # a read is a row (or a column) from any address
            return 1
        return min(self.rows, max(1, self.lanes // self.columns))

    @property
    def load_words(self) -> int:
        """Words of one stationary tile; word k holds rows k, k + load_words, k + 2 load_words..."""
        return -(-self.rows // self.load_parts)

    @property
    def drain_columns(self) -> int:
        """Columns that share one group of POST and its parameters."""
        return 1 if self.shallow else self.columns

    @property
    def fill_lanes(self) -> int:
        """Elements one iteration of a fill writes at most; shallow: a power of two, aligned."""
        return self.lanes if self.shallow else self.post_lanes

    @property
    def sum_bits(self) -> int:
        """Width of a sum with its bias, before it is rescaled."""
        return self.accumulator_bits if self.shallow else 32

    @property
    def load_fifo_depth(self) -> int:
        """Words of weights read ahead: a whole tile, and what memory's latency takes to follow."""
        return max(2 * self.fifo_depth, 1 << _ceil_log2(2 * self.load_words))

    @property
    def post_steps(self) -> int:
        """Steps of the post-processor for those columns of one pixel."""
        return self.drain_columns // self.post_lanes

    @property
    def param_section_words(self) -> tuple[int, int, int]:
        """Words of the sections bias, multiplier and shift in one group's parameters."""
        word_bits, columns = self.lanes * self.operand_bits, self.drain_columns
        wide, narrow = -(-32 * columns // word_bits), -(-16 * columns // word_bits)
        return wide, wide, narrow

    @property
    def param_words(self) -> int:
        """Words of one group's parameters."""
        return sum(self.param_section_words)

    # -- identity ---------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dictionary; ``from_json`` is its inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Config":
        """Build a configuration from ``to_json``'s dictionary.

        Raises
        ------
        ConfigError
            If a field is unknown, of the wrong type, or the whole is impossible.
        """
        if not isinstance(data, dict):
            raise ConfigError(f"a configuration is a JSON object, not {type(data).__name__}")
        fields = {f.name: f.type for f in dataclasses.fields(cls)}
        for key, value in data.items():
            if key not in fields:
                raise ConfigError(f"unknown configuration field {key!r}; known: "
                                  + ", ".join(sorted(fields)))
            if type(value) is not fields[key]:
                raise ConfigError(f"{key} must be {fields[key].__name__}, not {value!r}")
        return cls(**data)

    @property
    def hash(self) -> int:
        """32-bit identity of the hardware: equal hashes run each other's programs."""
        fields = self.to_json()
        del fields["name"]
        for field in dataclasses.fields(self):   # a new field's default is what there was before
            if field.name in _ADDED and fields[field.name] == field.default:
                del fields[field.name]
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()
        return int.from_bytes(digest[:4], "little")

    def describe(self) -> str:
        """One line for messages: name, array, memory and hash."""
        return (f"{self.name} ({self.rows}x{self.columns} int{self.operand_bits}, "
                f"{self.memory_bytes // 1024} KiB, {self.hash:08x})")


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise ConfigError(reason)
