"""Clock cycles a second of the compiled RTL of a target: ResNet-8, a few images, link included.

    python bench/simulation.py [--target ulx3s-85f] [--images 4]

Seconds are those of the processor, so other programs hardly matter.
"""

import argparse
import time

import numpy as np

from systolith.boards.targets import find_target
from systolith.examples.evaluate import random_inputs
from systolith.examples.zoo import find_entry
from systolith.sw import device
from systolith.sw.compiler import compile_graph
from systolith.sw.importer.load import load_model


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--target", default="ulx3s-85f")
    parser.add_argument("--network", default="resnet8")
    parser.add_argument("--images", type=int, default=4)
    options = parser.parse_args()
    graph = load_model(find_entry(options.network).path)
    program = compile_graph(graph, find_target(options.target).config)
    images: np.ndarray = random_inputs(graph, options.images)
    with device.open("sim:", program.config) as opened:
        opened.load(program)
        cycles, seconds = opened.backend.cycles, time.process_time()
        opened.run(images)
        cycles, seconds = opened.backend.cycles - cycles, time.process_time() - seconds
    print(f"{options.network} on {options.target}, {options.images} images: {cycles:,} cycles in "
          f"{seconds:.2f} s of the processor, {cycles / seconds:,.0f} a second")


if __name__ == "__main__":
    main()
