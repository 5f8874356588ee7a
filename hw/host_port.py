"""The port between the controller and the compute core."""

from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config

__all__ = ["host_port", "program_write", "word_write"]


def word_write(config: Config) -> data.StructLayout:
    """Write of one memory word: word ``address``, ``data``, and one ``mask`` bit an element."""
    return data.StructLayout({
        "address": unsigned(config.word_address_bits),
        "data": unsigned(config.lanes * config.operand_bits),
        "mask": unsigned(config.lanes),
    })


def program_write(config: Config) -> data.StructLayout:
    """Write of one 32-bit instruction word into the program memory."""
    return data.StructLayout({
        "address": unsigned((config.program_words - 1).bit_length()),
        "data": unsigned(32),
    })


def host_port(config: Config) -> wiring.Signature:
    """Everything the controller asks of the core: ``Out`` on the controller, ``In`` on the core.

    Members
    -------
    write : stream of :func:`word_write`
        Masked word writes, done in the order accepted.
    read : stream of word addresses
        Word reads. A read sees every write accepted before it.
    read_data : always-ready stream of one word
        Answers, in the order the reads were accepted.
    program : always-ready stream of :func:`program_write`
        Program memory writes.
    start : pulse
        Runs the program once; only while ``busy`` is low.
    parity : one bit
        Stable from ``start`` to ``done``: of odd jobs, the deltas below are added.
    input_delta, output_delta : 24 bits
        Element offsets of the second input and output buffers.
    reset : level
        Returns the core's engines to their state after power-up; memories keep their content.
    busy : level
        High from the cycle after ``start`` until the job is over.
    done : pulse
        The job has ended.
    bad : pulse
        An illegal instruction; ``pc`` is its address and the core waits for ``reset``.
    pc : program word address
        Address of the instruction being run.
    entered : level
        High in every cycle in which a vector enters the array.
    """
    return wiring.Signature({
        "write": Out(stream.Signature(word_write(config))),
        "read": Out(stream.Signature(config.word_address_bits)),
        "read_data": In(stream.Signature(config.lanes * config.operand_bits, always_ready=True)),
        "program": Out(stream.Signature(program_write(config), always_ready=True)),
        "start": Out(1),
        "parity": Out(1),
        "input_delta": Out(24),
        "output_delta": Out(24),
        "reset": Out(1),
        "busy": In(1),
        "done": In(1),
        "bad": In(1),
        "pc": In((config.program_words - 1).bit_length()),
        "entered": In(1),
    })
