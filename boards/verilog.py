"""The accelerator for other tools: plain Verilog and a memory map."""

from typing import Any

from amaranth.back import verilog

from systolith.hw.config import Config
from systolith.hw.isa import CSRS, ISA_VERSION

__all__ = ["memory_map", "memory_map_text", "verilog_text"]


def verilog_text(config: Config, *, clk_hz: int, baud: int) -> str:
    """Return the Verilog of the accelerator behind its serial link.

    The module ``systolith`` has the ports ``clk``, ``rst`` (synchronous), ``rx``, ``tx`` and the
    indicators; it contains no vendor primitives.

    Parameters
    ----------
    config : Config
        The accelerator.
    clk_hz, baud : int
        Frequency of ``clk`` and bits a second of the link.
    """
    from systolith.hw.top import UartAccelerator

    accelerator = UartAccelerator(config, clk_hz=clk_hz, baud=baud, build_hash=0)
    return verilog.convert(accelerator, name="systolith", emit_src=False,
                           strip_internal_attrs=True)


def memory_map(config: Config) -> dict[str, Any]:
    """Return what a host can address over the link, as data."""
    bank = config.bank_words * config.lanes
    return {
        "config": config.to_json(), "config_hash": f"{config.hash:08x}",
        "isa_version": ISA_VERSION,
        "memory": {
            "unit": "element", "bits": config.operand_bits, "elements": config.memory_elements,
            "word_elements": config.lanes, "alignment": config.alignment,
            "banks": [{"first": i * bank, "last": (i + 1) * bank - 1}
                      for i in range(config.banks)],
        },
        "program": {"unit": "32-bit word", "words": config.program_words},
        "registers": [{"number": number, "name": csr.name, "writable": csr.writable,
                       "doc": csr.doc} for number, csr in enumerate(CSRS)],
    }


def memory_map_text(config: Config) -> str:
    """Return :func:`memory_map` as Markdown."""
    data = memory_map(config)
    memory = data["memory"]
    lines = [
        f"# Memory map of {config.describe()}", "",
        f"Instruction set version {data['isa_version']}. Addresses are those of the link's",
        "requests, see docs/link.md.", "",
        f"## Memory: {memory['elements']} elements of {memory['bits']} bits", "",
        f"A word is {memory['word_elements']} elements.", "",
        "| bank | first element | last element |", "| ---: | ---: | ---: |",
        *(f"| {i} | 0x{bank['first']:06x} | 0x{bank['last']:06x} |"
          for i, bank in enumerate(memory["banks"])),
        "", f"## Program: {data['program']['words']} words of 32 bits, from 0", "",
        "## Registers", "", "| number | name | access | meaning |", "| ---: | --- | --- | --- |",
        *(f"| {csr['number']} | {csr['name']} | {'read, write' if csr['writable'] else 'read'} | "
          f"{csr['doc'].replace('|', '&#124;')} |" for csr in data["registers"]),
        "",
    ]
    return "\n".join(lines)
