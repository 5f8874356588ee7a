"""From Keras to the accelerator: train, convert to TFLite in both usual ways, run, compare.

    pip install tensorflow ai-edge-litert
    python examples/from_keras/convert.py

writes the two files beside this script anew. Nothing but ``train`` and
``convert`` needs TensorFlow.
"""

from pathlib import Path

import numpy as np

import systolith
from systolith.boards.targets import find_config
from systolith.examples.reference import reference_outputs
from systolith.examples.stripes import CLASSES, stripes
from systolith.sw.importer.load import load_model
from systolith.sw.partition import compile_network

__all__ = ["FILES", "main", "run"]

_FOLDER = Path(__file__).parent
#: int8 inside and at the ends, and what the converter makes by default: float at the ends.
FILES = {"int8": _FOLDER / "stripes_int8.tflite", "float": _FOLDER / "stripes_float_int8.tflite"}


def train(x: np.ndarray, labels: np.ndarray):
    """Return a small Keras model, fitted: batch norm, depthwise, a residual, a softmax."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    picture = layers.Input((16, 16, 1))
    y = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(picture)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    z = layers.SeparableConv2D(8, 3, padding="same", activation="relu")(y)
    y = layers.Add()([y, z])
    y = layers.Conv2D(16, 3, padding="same", activation="relu")(y)
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(picture, layers.Dense(len(CLASSES), activation="softmax")(y))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(x, labels, batch_size=64, epochs=10, verbose=0)
    return model


def convert(model, typical: np.ndarray, ends: str) -> bytes:
    """Return the model as TFLite, quantised with typical inputs [n, ...], int8 or float ends."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[None]] for x in typical)
    if ends == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def run(path: Path) -> tuple[float, bool]:
    """Run a file on the instruction-level model of the accelerator.

    Returns
    -------
    accuracy : float
        Share of 200 pictures it had not been trained on.
    equal : bool
        The answers are those of TFLite's reference kernels in every bit.
    """
    graph = load_model(path)
    program = compile_network(graph, find_config("ulx3s-85f"))
    x, labels = stripes(200, seed=2)
    x = x[..., None]
    if graph.inputs[0].dtype == "int8":
        tensor = graph.tensors[graph.inputs[0].tensor]
        x = np.clip(np.rint(x / tensor.scale) + tensor.zero_point, -128, 127).astype(np.int8)
    with systolith.open("machine:", program.config) as device:     # sim: is the RTL itself
        device.load(program)
        answers = device.run(x).outputs[0]
    equal = np.array_equal(answers, reference_outputs(path, x))
    return float((answers.argmax(axis=1) == labels).mean()), equal


def main() -> None:
    """Do it all."""
    x, labels = stripes(2000, seed=1)
    model = train(x[..., None], labels)
    for ends, path in FILES.items():
        path.write_bytes(convert(model, x[:200, ..., None], ends))
        accuracy, equal = run(path)
        print(f"{path.name}: {accuracy:.1%} of 200 pictures right, answers "
              f"{'equal' if equal else 'DIFFERENT from'} those of TFLite's reference kernels")


if __name__ == "__main__":
    main()
