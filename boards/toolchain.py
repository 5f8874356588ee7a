"""The families of tools: how each is called, and what each calls its resources."""

from collections.abc import Callable
from dataclasses import dataclass, field

from systolith.boards.floorplan import Sites
from systolith.boards.netlist import amend_carries
from systolith.hw.replica import REPLICA

__all__ = ["DETOURS", "ICE40_UP5K", "Toolchain", "ecp5", "gowin"]

#: The router looks for ways around wires that are taken, rather than straight for its end.
DETOURS = {"router2/estimateWeight": "0.8", "router2/bbMargin/x": "6", "router2/bbMargin/y": "6"}


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
    #: Files of the platform's build plan with pins and clocks, and the options that name them.
    constraints: tuple[str, ...]
    constraint_options: tuple[str, ...]
    #: Options that name the placed and routed design.
    routed: tuple[str, ...]
    packer: str
    packer_arguments: tuple[str, ...]
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
    #: Changes the netlist, as Yosys's ``write_json`` has it, before place and route.
    amend: Callable[[dict], None] | None = None
    #: Settings of nextpnr without an option of their own: it reads them from the netlist.
    settings: dict[str, str] = field(default_factory=dict)

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
        return [*self.device_options, *self.route_options, "--json", "top.json",
                *self.constraint_options, *self.routed, "--seed", str(seed),
                "--report", "report.json", "--timing-allow-fail"]


def ecp5(die: str, package: str, *, speed: int, sites: Sites | None = None,
         margin: float = 0.01, timing_weight: int = 10,
         settings: dict[str, str] | None = None) -> Toolchain:
    """Return the tools for a Lattice ECP5.

    Parameters
    ----------
    die, package : str
        As nextpnr calls them: ``85k``, ``CABGA381``.
    speed : int
        Its grade.
    sites : Sites
        Places of the die's hard blocks, for arrays that fill it.
    margin : float
        See :class:`Toolchain`; what the router takes for met may be 2.2 % too slow.
    timing_weight : int
        How much the placer shortens connections of slow paths, at the cost of others.
    settings : dict
        See :class:`Toolchain`.
    """
    return Toolchain(
        # Every DSP is instantiated by the design; other products are too small to spend one on.
        synthesis="synth_ecp5 -nodsp",
        place_and_route="nextpnr-ecp5",
        device_options=(f"--{die}", "--package", package, "--speed", str(speed)),
        # router1 takes an hour: it rips up whole nets, of which some have hundreds of ends
        route_options=("--placer-heap-beta", "0.7",
                       "--placer-heap-timingweight", str(timing_weight),
                       "--router", "router2", "--tmg-ripup"),
        constraints=("top.lpf",),
        constraint_options=("--lpf", "top.lpf"),
        routed=("--textcfg", "top.config"),
        packer="ecppack",
        packer_arguments=("--compress", "top.config", "top.bit"),
        bitstream="top.bit",
        resources={"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "dsp": "MULT18X18D",
                   "bram": "DP16KD"},
        cells={},
        sites=sites,
        margin=margin,
        amend=amend_carries,
        settings=settings or {},
    )


ICE40_UP5K = Toolchain(
    synthesis="synth_ice40 -abc9 -device u",
    place_and_route="nextpnr-ice40",
    device_options=("--up5k", "--package", "sg48"),
    constraints=("top.pcf",),
    constraint_options=("--pcf", "top.pcf"),
    routed=("--asc", "top.asc"),
    packer="icepack",
    packer_arguments=("top.asc", "top.bin"),
    bitstream="top.bin",
    resources={"lut": "ICESTORM_LC", "ff": "ICESTORM_LC", "dsp": "ICESTORM_DSP",
               "bram": "ICESTORM_RAM", "spram": "ICESTORM_SPRAM"},
    cells={"lut": "SB_LUT4", "ff": "SB_DFF"},
)


def gowin(part: str, family: str) -> Toolchain:
    """Return the tools for a Gowin part of a family Apicula knows, such as ``GW2A-18C``."""
    return Toolchain(
        synthesis="synth_gowin -family gw2a -nodsp",
        place_and_route="nextpnr-himbaechel-gowin",
        device_options=("--device", part, "--vopt", f"family={family}"),
        route_options=("--placer-heap-beta", "0.75"),
        constraints=("top.cst", "top.sdc"),
        constraint_options=("--vopt", "cst=top.cst", "--sdc", "top.sdc"),
        routed=("--write", "top.routed.json"),
        packer="gowin_pack",
        packer_arguments=("-d", family, "-o", "top.fs", "top.routed.json"),
        bitstream="top.fs",
        resources={"lut": "LUT4", "ff": "DFF", "alu": "ALU", "dsp": "MULT9X9", "bram": "BSRAM"},
        cells={},
    )
