"""The contract between hardware and software: instructions, engine registers, status registers.

Defined once, here. The RTL casts words to these layouts, the compiler encodes with them, the
instruction-level model decodes with them and ``docs/isa.md`` is generated from them.
"""

from dataclasses import dataclass
from functools import lru_cache

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

__all__ = [
    "CSRS", "ENGINE_REGISTERS", "ISA_VERSION", "LOAD_LOOPS", "LOSS_CLASSES", "MAGIC", "POST_LOOPS",
    "STREAM_LOOPS",
    "TRAINING_LOAD_LOOPS", "TRAINING_REGISTERS", "Csr", "Engine", "EngineRegister", "Fault",
    "GoHeader", "LoadKind", "Op", "Relocate", "SetHeader", "csr_address", "decode", "encode",
    "engine_registers", "register_index",
]

ISA_VERSION = 2
#: First status register of every device: "SYST" as little-endian bytes.
MAGIC = int.from_bytes(b"SYST", "little")

STREAM_LOOPS = 6
LOAD_LOOPS = 3
POST_LOOPS = 6
#: With ``Config.training``.
TRAINING_LOAD_LOOPS = 6
#: Most classes of a sample whose loss the device computes.
LOSS_CLASSES = 1024


class Op(enum.Enum, shape=2):
    """Instruction kinds; the low two bits of every instruction word."""

    END = 0
    SET = 1
    GO = 2


class Engine(enum.Enum, shape=2):
    """The engines that run descriptors, concurrently."""

    LOAD = 0
    STREAM = 1
    POST = 2


class Relocate(enum.Enum, shape=2):
    """Which ping-pong offset is added to the first word of a SET when the job's parity is 1."""

    NONE = 0
    INPUT = 1
    OUTPUT = 2


class LoadKind(enum.Enum, shape=2):
    """What the LOAD engine of a training device does with what it reads."""

    #: Each read is a row of a tile.
    TILE = 0
    #: Each read is a column of a tile.
    TRANSPOSED = 1
    #: Each read is the second operand of an outer product.
    OPERAND = 2


class Fault(enum.Enum, shape=4):
    """Why a job was stopped."""

    NONE = 0
    BAD_INSTRUCTION = 1
    WATCHDOG = 2


class SetHeader(data.Struct):
    """Copy the ``count`` words that follow into the engine's registers ``first`` and up."""

    op: Op
    engine: Engine
    first: unsigned(6)
    count: unsigned(6)
    relocate: Relocate
    reserved: unsigned(14)


class GoHeader(data.Struct):
    """Start the engine once ``completed[wait_engine] >= wait_count`` (if ``wait``) in this job."""

    op: Op
    engine: Engine
    wait: unsigned(1)
    wait_engine: Engine
    wait_count: unsigned(16)
    reserved: unsigned(9)


class Address(data.Struct):
    """An element address of the unified memory."""

    address: unsigned(24)
    reserved: unsigned(8)


class Loop(data.Struct):
    """A hardware loop: iterations minus one, and what its step adds to the accumulator address."""

    last: unsigned(16)
    acc_jump: signed(16)


class Jump(data.Struct):
    """What a step of this loop adds to the address, the inner loops' travel taken back."""

    jump: signed(24)
    reserved: unsigned(8)


class StreamControl(data.Struct):
    """How the vectors of a STREAM nest meet weights and accumulators."""

    acc_base: unsigned(12)
    pass_level: unsigned(3)
    group_level: unsigned(3)
    keep: unsigned(1)
    hold: unsigned(1)
    window: unsigned(1)
    window_rows: unsigned(2)
    window_columns: unsigned(2)
    stride_y: unsigned(2)
    stride_x: unsigned(2)
    reserved: unsigned(3)


class PostControl(data.Struct):
    """How the post-processor walks the accumulators and what it does to them."""

    acc_base: unsigned(12)
    group_level: unsigned(3)
    pool_level: unsigned(3)
    fill: unsigned(1)
    residual: unsigned(1)
    reload: unsigned(1)
    valid: unsigned(6)
    reserved: unsigned(5)


class Bounds(data.Struct):
    """Saturation bounds of a result."""

    low: signed(16)
    high: signed(16)


class ZeroPoints(data.Struct):
    """Zero points of the convolution's result and of the residual operand."""

    result: signed(16)
    residual: signed(16)


class Multiplier(data.Struct):
    """A fixed-point factor, value ``multiplier / 2**31``."""

    multiplier: unsigned(31)
    reserved: unsigned(1)


class AddScale(data.Struct):
    """What a residual addition rescales: one operand, whose other is halved, and the sum."""

    operand_shift: unsigned(5)
    sum_shift: unsigned(5)
    scales_residual: unsigned(1)
    reserved: unsigned(5)
    zero_point: signed(16)


class LoadControl(data.Struct):
    """What the vectors of a LOAD nest are."""

    kind: LoadKind
    reserved: unsigned(30)


class StreamOperands(data.Struct):
    """What of a vector counts, and what it is multiplied by."""

    #: At the last iteration of this loop, elements from ``tail`` on are 0.
    tail_level: unsigned(3)
    tail: unsigned(6)
    #: 1: outer products with the operands that LOAD delivers; sums are drained after each pass.
    outer: unsigned(1)
    reserved: unsigned(22)


class Rounding(data.Struct):
    """How a sum becomes an element: ``sat((sum + (operand << left) + offset) >> right)``."""

    left: unsigned(5)
    right: unsigned(5)
    rectify: unsigned(1)
    stochastic: unsigned(1)
    masked: unsigned(1)
    recording: unsigned(1)
    comparing: unsigned(1)
    counted: unsigned(1)
    report: unsigned(1)
    turn: unsigned(8)
    #: 1: no results of sums, but the loss of samples by their logits, the operands.
    loss: unsigned(1)
    reserved: unsigned(6)


class Word(data.Struct):
    """A number of 32 bits."""

    word: unsigned(32)


@dataclass(frozen=True, slots=True)
class EngineRegister:
    """One 32-bit register of an engine's descriptor."""

    name: str
    layout: type[data.Struct]
    doc: str


def _loops(count: int, *jumps: str, first: int = 0) -> list[EngineRegister]:
    registers = []
    for i in range(first, count):
        place = f"outside loop {i - 1}" if i else "innermost"
        registers.append(EngineRegister(f"LOOP{i}", Loop, f"Loop {i} ({place})."))
        registers += [EngineRegister(f"{jump}{i}", Jump, f"Step of loop {i}.") for jump in jumps]
    return registers


ENGINE_REGISTERS: dict[Engine, list[EngineRegister]] = {
    Engine.LOAD: [
        EngineRegister("BASE", Address, "Address of the first word of weights; word aligned."),
        *_loops(LOAD_LOOPS, "JUMP"),
    ],
    Engine.STREAM: [
        EngineRegister("BASE", Address, "Address of the first vector; any aligned element."),
        EngineRegister("CONTROL", StreamControl, "Levels, accumulator base, window."),
        *_loops(STREAM_LOOPS, "JUMP"),
    ],
    Engine.POST: [
        EngineRegister("WRITE_BASE", Address, "Address of the first result."),
        EngineRegister("CONTROL", PostControl, "Levels, accumulator base, flags."),
        EngineRegister("RESIDUAL_BASE", Address, "Address of the first residual operand."),
        EngineRegister("PARAM_BASE", Address, "Parameters of the first group; word aligned."),
        EngineRegister("BOUNDS", Bounds, "Saturation of the (convolution's) result."),
        EngineRegister("ZEROS", ZeroPoints, "Zero points; ``result`` is also the fill value."),
        EngineRegister("ADD_OPERAND", Multiplier, "Rescaling of the result or of the residual."),
        EngineRegister("ADD_SUM", Multiplier, "Rescaling of the sum."),
        EngineRegister("ADD_SCALE", AddScale, "Shifts and zero point of the sum."),
        EngineRegister("ADD_BOUNDS", Bounds, "Saturation of the sum."),
        *_loops(POST_LOOPS, "WRITE_JUMP", "RESIDUAL_JUMP"),
    ],
}


#: What follows them with ``Config.training``.
TRAINING_REGISTERS: dict[Engine, list[EngineRegister]] = {
    Engine.LOAD: [
        EngineRegister("CONTROL", LoadControl, "What the vectors are."),
        *_loops(TRAINING_LOAD_LOOPS, "JUMP", first=LOAD_LOOPS),
    ],
    Engine.STREAM: [
        EngineRegister("OPERANDS", StreamOperands, "Outer products; the end of a reduction."),
    ],
    Engine.POST: [
        EngineRegister("ROUNDING", Rounding, "Shifts, rounding, operands and range."),
        EngineRegister("SEED", Word, "Of stochastic rounding."),
        EngineRegister("MASK_DELTA", Jump, "From a result's address to its mask's."),
        EngineRegister("RECORD_DELTA", Jump, "From a result's address to its record's."),
        EngineRegister("REPORT_BASE", Address, "Where the range is written."),
    ],
}


def engine_registers(engine: Engine, *, training: bool = False) -> list[EngineRegister]:
    """Return an engine's registers, by their numbers."""
    return ENGINE_REGISTERS[engine] + (TRAINING_REGISTERS[engine] if training else [])


@lru_cache
def register_index(engine: Engine, name: str) -> int:
    """Return the index of an engine's register by name; ``KeyError`` if there is none."""
    for index, register in enumerate(engine_registers(engine, training=True)):
        if register.name == name:
            return index
    raise KeyError(f"engine {engine.name} has no register {name!r}")


@dataclass(frozen=True, slots=True)
class Csr:
    """One 32-bit status or control register, read and written over the link by number."""

    name: str
    writable: bool
    doc: str


CSRS: list[Csr] = [
    Csr("MAGIC", False, "The bytes SYST."),
    Csr("ISA_VERSION", False, "Version of the instruction set."),
    Csr("CONFIG_HASH", False, "Identity of the configuration; a program carries the same number."),
    Csr("BUILD_HASH", False, "Identity of the build: sources and tools."),
    Csr("ARRAY", False, "rows | columns << 8 | operand_bits << 16 | post_lanes << 24."),
    Csr("MEMORY", False, "banks | log2(bank_words) << 8 | lanes << 16 | alignment << 24."),
    Csr("LIMITS", False, "log2(program_words) | log2(accumulator_depth) << 8 | frame_bytes << 16."),
    Csr("STATUS", False, "bit 0 busy, bits 4-7 fault, bits 8-9 jobs waiting or running."),
    Csr("CONTROL", True, "Write 1: abort and reset the engines, clear faults and job counters."),
    Csr("SUBMIT", True, "Write: queue one job (at most two waiting or running)."),
    Csr("DONE", False, "Jobs finished since reset, including stopped ones."),
    Csr("CYCLES", False, "Clock cycles of the last finished job."),
    Csr("ENTRIES", False, "Vectors that entered the array in the last finished job."),
    Csr("FAULT_PC", False, "Program counter when the last fault was raised."),
    Csr("WATCHDOG", True, "Cycles after which a job is stopped; 0 switches it off."),
    Csr("INPUT_DELTA", True, "Added to the input address of jobs of odd parity."),
    Csr("OUTPUT_DELTA", True, "Added to the output address of jobs of odd parity."),
    Csr("LINK_ERRORS", False, "Frames dropped by the device: bad CRC, length or order."),
]


def csr_address(name: str) -> int:
    """Return the number of a register by name; ``KeyError`` if there is none."""
    for index, csr in enumerate(CSRS):
        if csr.name == name:
            return index
    raise KeyError(f"no register {name!r}")


def _bounds(shape: object) -> tuple[int, int]:
    if isinstance(shape, type):  # an enum
        return 0, max(member.value for member in shape)
    if shape.signed:
        return -(1 << shape.width - 1), (1 << shape.width - 1) - 1
    return 0, (1 << shape.width) - 1


def encode(layout: type[data.Struct], **fields: object) -> int:
    """Pack fields into a 32-bit word; unnamed fields are 0.

    Raises
    ------
    ValueError
        If a field is unknown or its value does not fit (``Layout.const`` would truncate it).
    """
    members = _encoder(layout)
    word = 0
    for name, value in fields.items():
        if name not in members:
            raise ValueError(f"{layout.__name__} has no field {name!r}")
        offset, mask, low, high = members[name]
        number = int(getattr(value, "value", value))
        if not low <= number <= high:
            raise ValueError(f"{layout.__name__}.{name} = {number} is outside {low}..{high}")
        word |= (number & mask) << offset
    return word


@lru_cache
def _encoder(layout: type[data.Struct]) -> dict[str, tuple[int, int, int, int]]:
    """Return offset, mask, least and greatest value of every field."""
    return {name: (field.offset, (1 << field.width) - 1, *_bounds(field.shape))
            for name, field in data.Layout.cast(layout)}


def decode(layout: type[data.Struct], word: int) -> dict[str, int]:
    """Unpack a 32-bit word into ``{field: value}``, enums as integers; inverse of ``encode``."""
    values = {}
    for name, offset, mask, sign in _decoder(layout):
        value = word >> offset & mask
        values[name] = value - ((value & sign) << 1)
    return values


@lru_cache
def _decoder(layout: type[data.Struct]) -> tuple[tuple[str, int, int, int], ...]:
    """Return offset, mask and, if it has one, the sign bit of every field."""
    return tuple(
        (name, field.offset, (1 << field.width) - 1,
         0 if isinstance(field.shape, type) or not field.shape.signed else 1 << field.width - 1)
        for name, field in data.Layout.cast(layout))
