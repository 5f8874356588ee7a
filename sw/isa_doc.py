"""The manual of the instruction set, written from its one definition in ``hw/isa.py``.

``systolith isa > docs/isa.md``; a test fails when the file is out of date. What the definition
cannot say, the meaning of every field and the action of every instruction, stands here, and
another test fails when a field has no meaning.
"""

from collections.abc import Iterator
from typing import Any

from amaranth.hdl import signed
from amaranth.lib import data

from systolith.hw.isa import (
    CSRS,
    ENGINE_REGISTERS,
    ISA_VERSION,
    TRAINING_REGISTERS,
    Address,
    AddScale,
    Bounds,
    Engine,
    EngineRegister,
    Fault,
    GoHeader,
    Jump,
    LoadControl,
    Loop,
    Multiplier,
    Op,
    PostControl,
    Relocate,
    Rounding,
    SetHeader,
    StreamControl,
    StreamOperands,
    Word,
    ZeroPoints,
)

__all__ = ["FIELDS", "fields_of", "isa_data", "isa_text"]

_Layout = type[data.Struct]

#: What every field means; fields called ``reserved`` are 0.
FIELDS: dict[_Layout, dict[str, str]] = {
    SetHeader: {
        "op": "`SET`.",
        "engine": "Whose registers.",
        "first": "Number of the first register.",
        "count": "Registers, and words that follow.",
        "relocate": "Which offset is added to the first word in jobs of odd parity.",
    },
    GoHeader: {
        "op": "`GO`.",
        "engine": "Which engine starts.",
        "wait": "1: wait for the token.",
        "wait_engine": "Whose finished nests are counted.",
        "wait_count": "Finished nests to wait for, counted from the job's start.",
    },
    Address: {"address": "Element address."},
    Loop: {
        "last": "Iterations minus one; 0 for a loop not used.",
        "acc_jump": "Added to the accumulator address when the loop steps.",
    },
    Jump: {"jump": "Added to the address when the loop steps: "
                   "`stride[i] - sum(last[j] * stride[j] for j < i)`."},
    StreamControl: {
        "acc_base": "First accumulator address of every group.",
        "pass_level": "Loops below it run over the vectors of one pass.",
        "group_level": "Loops from `pass_level` to below it run over the passes of one group.",
        "keep": "1: the first pass adds to what the store holds instead of replacing it.",
        "hold": "1: the last group stays open for the next nest.",
        "window": "1: vectors go through the sliding window (depthwise convolution).",
        "window_rows": "Rows of the window minus one.",
        "window_columns": "Columns of the window minus one.",
        "stride_y": "Vertical stride of the window minus one.",
        "stride_x": "Horizontal stride of the window minus one.",
    },
    PostControl: {
        "acc_base": "First accumulator address of every group.",
        "group_level": "Loops from it up are groups.",
        "pool_level": "Loops below it are a pooling window.",
        "fill": "1: write `ZEROS.result` everywhere and read no accumulators.",
        "residual": "1: add the residual operand.",
        "reload": "1: every group has its own channel parameters.",
        "valid": "Columns written in the last group; lanes written with `fill`.",
    },
    Bounds: {"low": "Smallest result, an operand's value.",
             "high": "Largest result, an operand's value."},
    ZeroPoints: {
        "result": "Added to the requantised accumulator, an operand's value; also the fill value.",
        "residual": "Taken from the residual operand.",
    },
    Multiplier: {"multiplier": "Factor, value `multiplier / 2**31`."},
    AddScale: {
        "operand_shift": "Right shift of the operand that is rescaled.",
        "sum_shift": "Right shift of the sum.",
        "scales_residual": "1: the residual is rescaled, and half of the convolution's result is "
                           "added; 0: the other way round.",
        "zero_point": "Added to the rescaled sum.",
    },
    LoadControl: {
        "kind": "TILE: each read is a row of a tile, R of them are a tile. TRANSPOSED: each is a "
                "column, C of them are a tile. OPERAND: each is C second operands of an outer "
                "product.",
    },
    StreamOperands: {
        "tail_level": "A loop; at its last iteration a reduction ends.",
        "tail": "Elements from this one on are 0 there.",
        "outer": "1: outer products with what LOAD reads as OPERAND.",
    },
    Rounding: {
        "left": "Left shift of the operand.",
        "right": "Right shift of the sum.",
        "rectify": "1: the least result is 0.",
        "stochastic": "1: rounded by a random number, not to nearest.",
        "masked": "1: 0 where the mask is not positive.",
        "recording": "1: the tap that won the window is written, too.",
        "comparing": "1: the operand is a record; 0 where it is not the step's tap, and every step "
                     "is written.",
        "counted": "1: results enter the range.",
        "report": "1: at the nest's end the range is written, and begins anew.",
        "turn": "Times the job has written these elements before.",
        "loss": "1: no results of sums, but the loss of samples: the gradient of the "
                "cross-entropy by their logits.",
    },
    Word: {"word": "32 bits."},
}

_ACTIONS = {
    Op.END: "Wait until every engine is idle, then end the job.",
    Op.SET: "`registers[engine][first : first + count] = words`; with `relocate`, the job's offset "
            "is first added to `words[0]` if the job's parity is 1.",
    Op.GO: "Wait until the engine's pending slot is free; `pending[engine] = (registers[engine], "
           "token)`. The engine starts it when it has finished the nest before and, with `wait`, "
           "`completed[wait_engine] >= wait_count`.",
}
_HEADERS: dict[Op, _Layout] = {Op.SET: SetHeader, Op.GO: GoHeader}

_ENGINE_ACTIONS = {
    Engine.LOAD: "Reads words of weights along its loops; every `load_words` consecutive words are "
                 "one tile, handed to the array in order.",
    Engine.STREAM: "Reads vectors along its loops and sends them through the array: `acc[group's "
                   "store][acc_address] (+)= tile @ vector`. A new tile becomes active with every "
                   "pass; after a group the store goes to POST.",
    Engine.POST: "Walks the accumulators of every group along its loops: bias, requantise, "
                 "residual, clamp, maximum over the pooling window, write.",
}


def fields_of(layout: _Layout) -> Iterator[tuple[str, int, int, str]]:
    """Yield name, lowest bit, highest bit and type of every field of a layout."""
    for name, field in data.Layout.cast(layout):
        if isinstance(field.shape, type):
            kind = " ".join(f"{member.value} {member.name}" for member in field.shape)
        else:
            kind = "signed" if field.shape == signed(field.width) else "unsigned"
        yield name, field.offset, field.offset + field.width - 1, kind


def isa_data() -> dict[str, Any]:
    """Return the instruction set as data: instructions, layouts, engine and status registers."""
    return {
        "version": ISA_VERSION,
        "instructions": {op.name: op.value for op in Op},
        "layouts": {
            layout.__name__: [
                {"name": name, "low": low, "high": high, "type": kind,
                 "doc": docs.get(name, "0.")}
                for name, low, high, kind in fields_of(layout)]
            for layout, docs in FIELDS.items()},
        "engines": {
            engine.name: [
                {"number": number, "name": register.name, "layout": register.layout.__name__,
                 "doc": register.doc} for number, register in enumerate(registers)]
            for engine, registers in ENGINE_REGISTERS.items()},
        "training": {
            engine.name: [
                {"number": number, "name": register.name, "layout": register.layout.__name__,
                 "doc": register.doc}
                for number, register in enumerate(registers, len(ENGINE_REGISTERS[engine]))]
            for engine, registers in TRAINING_REGISTERS.items()},
        "registers": [{"number": number, "name": csr.name, "writable": csr.writable,
                       "doc": csr.doc} for number, csr in enumerate(CSRS)],
        "faults": {fault.name: fault.value for fault in Fault},
    }


def isa_text() -> str:
    """Return the manual as Markdown."""
    lines = [
        f"# Instruction set, version {ISA_VERSION}", "",
        "Generated from `hw/isa.py` by `systolith isa > docs/isa.md`. What a nest is and how the",
        "engines meet is told in [architecture.md](architecture.md).", "",
        "A program is a sequence of 32-bit words, little-endian on the link.", "",
    ]
    for op in (Op.SET, Op.GO, Op.END):
        lines += _instruction(op)
    lines += ["## Offsets", "", "| relocate | added in jobs of odd parity |", "| --- | --- |",
              *(f"| {kind.value} {kind.name} | {_OFFSETS[kind]} |" for kind in Relocate), ""]
    for engine, registers in ENGINE_REGISTERS.items():
        lines += _engine(engine, registers)
    lines += _training()
    lines += ["## Layouts of the registers", ""]
    for layout in FIELDS:
        if layout not in _HEADERS.values():
            lines += [f"### {layout.__name__}", "", str(layout.__doc__), "", *_fields(layout)]
    return "\n".join([*lines, *_status_registers()]).replace("``", "`")


_OFFSETS = {Relocate.NONE: "nothing", Relocate.INPUT: "register INPUT_DELTA",
            Relocate.OUTPUT: "register OUTPUT_DELTA"}


def _instruction(op: Op) -> list[str]:
    lines = [f"## {op.name}", ""]
    layout = _HEADERS.get(op)
    if layout is None:
        return [*lines, f"**Format:** one word, `op = {op.value}` in bits 0-1, 0 elsewhere.", "",
                f"**Action:** {_ACTIONS[op]}", ""]
    words = "one word, then `count` words of data" if op is Op.SET else "one word"
    return [*lines, f"**Format:** {words}; `op = {op.value}`.", "", "**Fields:**", "",
            *_fields(layout), f"**Action:** {_ACTIONS[op]}", ""]


def _fields(layout: _Layout) -> list[str]:
    docs = FIELDS[layout]
    rows = []
    for name, low, high, kind in fields_of(layout):
        bits = f"{low}" if low == high else f"{low}-{high}"
        rows.append(f"| {bits} | `{name}` | {kind} | {docs.get(name, '0.')} |")
    return ["| bits | field | type | meaning |", "| ---: | --- | --- | --- |", *rows, ""]


def _engine(engine: Engine, registers: list[EngineRegister]) -> list[str]:
    return [f"## Engine {engine.value}: {engine.name}", "",
            f"**Action:** {_ENGINE_ACTIONS[engine]}", "", *_registers(registers), ""]


def _registers(registers: list[EngineRegister], first: int = 0) -> list[str]:
    rows = [f"| {number} | `{register.name}` | {register.layout.__name__} | {register.doc} |"
            for number, register in enumerate(registers, first)]
    return ["| number | register | layout | meaning |", "| ---: | --- | --- | --- |", *rows]


def _training() -> list[str]:
    lines = ["## Registers of training", "",
             "Behind those above, where the configuration has `training`. POST's registers of",
             "rescaling (`PARAM_BASE`, `BOUNDS`, `ZEROS`, `ADD_...`) mean nothing there. What the",
             "nests do is told in [architecture.md](architecture.md#training).", ""]
    for engine, registers in TRAINING_REGISTERS.items():
        lines += [f"### {engine.name}", "",
                  *_registers(registers, len(ENGINE_REGISTERS[engine])), ""]
    return lines


def _status_registers() -> list[str]:
    rows = []
    for number, csr in enumerate(CSRS):
        access = "read, write" if csr.writable else "read"
        doc = csr.doc.replace("|", "&#124;")
        rows.append(f"| {number} | `{csr.name}` | {access} | {doc} |")
    faults = [f"| {fault.value} | {fault.name} |" for fault in Fault]
    return ["## Status and control registers", "", "Read and written over the link by number.", "",
            "| number | register | access | meaning |", "| ---: | --- | --- | --- |", *rows, "",
            "| fault | name |", "| ---: | --- |", *faults, ""]
