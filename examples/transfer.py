"""The last layer of a network of the zoo, forgotten and learnt again from a few samples a class.

All other layers stay frozen. In 16-bit fixed point, and by the same procedure in float32::

    python -m systolith.examples.transfer gestures --data FOLDER --shots 5

The data sets are those of ``docs/zoo.md``; samples come from the half for training, in order, the
accuracies from the other half.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from systolith.examples.zoo import find_entry
from systolith.sim.training.golden import GoldenExecutor
from systolith.sim.training.real import RealNetwork, train_real
from systolith.sw.errors import SystolithError
from systolith.sw.importer.load import load_model
from systolith.sw.train.builder import randomise
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.graph import Conv
from systolith.sw.train.quantized import network_of, real_inputs
from systolith.sw.train.schedule import Cosine
from systolith.sw.train.settings import Settings
from systolith.sw.train.trainer import Trainer

__all__ = ["few", "main", "transfer"]

_CHUNK = 32


def few(labels: np.ndarray, shots: int) -> np.ndarray:
    """Return the indices of the first ``shots`` samples of every class."""
    return np.concatenate([np.flatnonzero(labels == label)[:shots] for label in np.unique(labels)])


def transfer(name: str, folder: Path, shots: int, epochs: int, rate: float, seed: int,
             limit: int | None = None) -> dict[str, float]:
    """Forget and learn the last layer; return accuracies by kind.

    Parameters
    ----------
    name : str
        Of the zoo's network.
    folder : Path
        Of the data sets.
    shots : int
        Samples a class.
    epochs, rate, seed : numbers
        Of the training.
    limit : int, optional
        Test samples, all if left out.

    Returns
    -------
    dict
        ``untrained``, ``fixed point`` and ``float32``: shares of the test samples.
    """
    entry = find_entry(name)
    data, graph = entry.dataset(folder), load_model(entry.path)
    network = network_of(graph)
    head = [node for node in network.nodes if isinstance(node, Conv)][-1]
    randomise(network, seed, head.parameters)
    chosen = few(data.train_y, shots)
    x, y = real_inputs(graph, data.train_x[chosen]), data.train_y[chosen].astype(np.int64)
    test = real_inputs(graph, data.test_x[:limit]), data.test_y[:limit].astype(np.int64)

    frozen = frozenset(node.name for node in network.nodes) - {head.name}
    plan = plan_training(network, frozen=frozen)
    settings = Settings(epochs=epochs, batch=min(10, len(x)), rate=rate, seed=seed,
                        schedule=Cosine(epochs))
    untrained = RealNetwork(plan)
    logits = np.concatenate([untrained.predict(test[0][start:start + _CHUNK])
                             for start in range(0, len(test[0]), _CHUNK)])
    answers = logits.reshape(len(logits), -1).argmax(axis=1)
    trainer = Trainer(plan, GoldenExecutor(plan), settings, x, y)
    trainer.run()
    *_, (_, real) = train_real(plan, settings, x, y, test)
    return {"untrained": float((answers == test[1]).mean()),
            "fixed point": trainer.evaluate(*test), "float32": real}


def main(arguments: list[str] | None = None) -> int:
    """Print the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="of the zoo: gestures, faces, lenet")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="test samples")
    options = parser.parse_args(arguments)
    try:
        found = transfer(options.network, options.data, options.shots, options.epochs,
                         options.rate, options.seed, options.limit)
    except SystolithError as error:
        print(f"transfer: {error}", file=sys.stderr)
        return error.exit_code
    for kind, accuracy in found.items():
        print(f"{kind:12} {accuracy:.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
