"""The two families of tools: how each is called, and what each calls its resources."""

from dataclasses import dataclass

from systolith.boards.floorplan import ECP5_85F_SITES, Sites
from systolith.hw.replica import REPLICA

__all__ = ["ECP5_85F", "ICE40_UP5K", "Toolchain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """Commands from RTLIL to a bitstream for one FPGA, run in the build directory.

    The design is ``top.il``; every command's arguments are relative to the directory, since the
    WebAssembly tools see nothing else.
    """

    #: Yosys commands between reading the design and ``stat``.
    synthesis: str
    place_and_route: str
    #: Options that name the FPGA.
    device_options: tuple[str, ...]
    #: Options that choose how to place and route.
    route_options: tuple[str, ...] = ()
    #: File of pin constraints, and its option.
    constraints: str
    #: Option and file of the placed and routed design.
    routed: tuple[str, str]
    packer: str
    packer_options: tuple[str, ...]
    bitstream: str
    #: Resource -> the FPGA's primitive in the place-and-route tool's report.
    resources: dict[str, str]
    #: Resource -> prefix of its cells after synthesis, where one primitive holds several resources.
    cells: dict[str, str]
    #: Places of the hard blocks; without them the placer decides.
    sites: Sites | None = None
    #: Share by which the clock asked of the router lies above the target's: it takes a path that is
    #: too slow by a little for good enough.
    margin: float = 0.0

    @property
    def tools(self) -> tuple[str, str, str]:
        """Names of the programs, in the order they run."""
        return "yosys", self.place_and_route, self.packer

    def yosys_script(self, places: dict[str, str]) -> str:
        """Return the synthesis script: ``top.il`` in, ``top.json`` and ``cells.json`` out.

        ``places`` are the sites of cells, by their names in the flattened design.
        """
        return "\n".join((
            "read_rtlil top.il",
            f"setattr -set keep 1 a:{REPLICA} %ci1:+$dff a:{REPLICA} %d",
            f"{self.synthesis} -top top",
            *(f'setattr -set BEL "{site}" top/{cell}' for cell, site in places.items()),
            "tee -q -o cells.json stat -json",
            "write_json top.json",
            "",
        ))

    def route_arguments(self, seed: int) -> list[str]:
        """Arguments of the place-and-route tool."""
        option = "--" + self.constraints.rpartition(".")[2]
        return [*self.device_options, *self.route_options, "--json", "top.json",
                option, self.constraints, *self.routed, "--seed", str(seed),
                "--report", "report.json", "--timing-allow-fail"]

    def pack_arguments(self) -> list[str]:
        """Arguments of the packer."""
        return [*self.packer_options, self.routed[1], self.bitstream]


ECP5_85F = Toolchain(
    # Every DSP is instantiated by the design; other products are too small to spend one on.
    synthesis="synth_ecp5 -nodsp",
    place_and_route="nextpnr-ecp5",
    device_options=("--85k", "--package", "CABGA381", "--speed", "6"),
    # router1 takes an hour here: it rips up whole nets, of which some have hundreds of ends
    route_options=("--placer-heap-beta", "0.7", "--router", "router2", "--tmg-ripup"),
    constraints="top.lpf",
    routed=("--textcfg", "top.config"),
    packer="ecppack",
    packer_options=("--compress",),
    bitstream="top.bit",
    resources={"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "dsp": "MULT18X18D", "bram": "DP16KD"},
    cells={},
    sites=ECP5_85F_SITES,
    margin=0.01,
)

ICE40_UP5K = Toolchain(
    synthesis="synth_ice40 -abc9 -device u",
    place_and_route="nextpnr-ice40",
    device_options=("--up5k", "--package", "sg48"),
    constraints="top.pcf",
    routed=("--asc", "top.asc"),
    packer="icepack",
    packer_options=(),
    bitstream="top.bin",
    resources={"lut": "ICESTORM_LC", "ff": "ICESTORM_LC", "dsp": "ICESTORM_DSP",
               "bram": "ICESTORM_RAM", "spram": "ICESTORM_SPRAM"},
    cells={"lut": "SB_LUT4", "ff": "SB_DFF"},
)
