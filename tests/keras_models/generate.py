"""Random Keras CNNs as a stranger would bring them, converted to int8 by TensorFlow.

    pip install tensorflow
    python tests/keras_models/generate.py FOLDER --seeds 0 48

writes a file for each seed (every eighth is a network of one dimension). Some are kept here; for
all files beside it ``tests/sw/test_tflite_keras.py`` compares the answers with the reference
kernels'. Made with TensorFlow 2.21.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import tensorflow as tf

L = tf.keras.layers
UNIFORM, NORMAL = tf.keras.initializers.RandomUniform, tf.keras.initializers.RandomNormal


def conv(r, x, channels, size=3, **options):
    """Add a convolution with a random bias, half of the time with batch normalisation."""
    options = {"padding": "same", "bias_initializer": NORMAL(0, 0.2)} | options
    x = L.Conv2D(channels, size, **options)(x)
    if r.random() < 0.5:
        x = L.BatchNormalization(
            gamma_initializer=UNIFORM(0.5, 1.5), beta_initializer=NORMAL(0, 0.3),
            moving_mean_initializer=NORMAL(0, 0.3), moving_variance_initializer=UNIFORM(0.5, 2))(x)
    return x


def activate(r, x):
    """Add an activation, or none."""
    return r.choice([
        L.ReLU(), L.ReLU(), L.ReLU(6.0), L.LeakyReLU(negative_slope=r.choice([0.01, 0.3])),
        L.PReLU(shared_axes=[1, 2], alpha_initializer=UNIFORM(0, 0.5)), L.Softmax(),
        *map(L.Activation, ("linear", "hard_swish", "silu", "sigmoid", "tanh", "hard_sigmoid",
                            "gelu"))])(x)


def convolution(r, x):
    """Add a convolution of any kind."""
    stride, dilation = r.choice([(1, 1), (1, 1), (2, 1), (1, 2)])
    return activate(r, conv(
        r, x, r.choice([3, 4, 8, 12]), (r.choice([1, 2, 3]), r.choice([1, 3, 5])),
        strides=stride, dilation_rate=dilation, use_bias=r.random() < 0.8,
        padding="same" if min(x.shape[1:3]) < 8 else r.choice(["same", "valid"])))


def depthwise(r, x):
    """Add a depthwise or separable convolution."""
    if r.random() < 0.4:
        return activate(r, L.SeparableConv2D(r.choice([4, 10]), 3, padding="same")(x))
    return activate(r, L.DepthwiseConv2D(3, strides=r.choice([1, 2]), padding="same",
                                         depth_multiplier=r.choice([1, 1, 2]))(x))


def residual(r, x):
    """Add a residual block, its ends joined in one of Keras' ways."""
    y = conv(r, activate(r, conv(r, x, x.shape[-1])), x.shape[-1])
    join = r.choice([L.Add, L.Add, L.Subtract, L.Multiply, L.Maximum, L.Minimum, L.Average])
    return activate(r, join()([x, y]))


def branches(r, x):
    """Add parallel branches, joined."""
    if x.shape[-1] % 2 == 0 and r.random() < 0.5:
        half = x.shape[-1] // 2
        return L.Concatenate()([x[..., half:], conv(r, x[..., :half], half)])
    return L.Concatenate()([activate(r, conv(r, x, 4, 1)), activate(r, conv(r, x, 6)), x])


def pool(r, x):
    """Add a pool."""
    return r.choice([L.MaxPooling2D, L.AveragePooling2D])(
        r.choice([2, 3]), strides=r.choice([1, 2]), padding="same")(x)


def upsample(r, x):
    """Add an upsampling."""
    if x.shape[1] * x.shape[2] > 150:
        return x
    return r.choice([L.UpSampling2D(2), L.UpSampling2D(2, interpolation="bilinear"),
                     L.Conv2DTranspose(4, r.choice([2, 3]), strides=2, padding="same")])(x)


def gate(r, x):
    """Add a squeeze-and-excite."""
    squeeze = r.choice([L.GlobalAveragePooling2D, L.GlobalMaxPooling2D])(keepdims=True)(x)
    squeeze = L.Conv2D(max(1, x.shape[-1] // 2), 1, activation="relu")(squeeze)
    scale = L.Conv2D(x.shape[-1], 1, activation=r.choice(["sigmoid", "hard_sigmoid"]))(squeeze)
    return L.Multiply()([x, scale])


def move(r, x):
    """Add what only moves or scales elements."""
    layers = [L.ZeroPadding2D(((0, 1), (1, 2))), L.Permute((2, 1, 3)),
              L.Rescaling(1 / 2.0, offset=-0.5)]
    if min(x.shape[1:3]) > 5:
        layers.append(L.Cropping2D(1))
    return r.choice(layers)(x)


def finish(r, x):
    """Add a classifier, or nothing."""
    if r.random() < 0.2:
        return x
    if x.shape[1] * x.shape[2] * x.shape[3] > 1000:
        x = r.choice([L.GlobalAveragePooling2D, L.GlobalMaxPooling2D])()(x)
    else:
        x = L.Flatten()(x)
    if r.random() < 0.5:
        x = L.Dense(16, activation=r.choice(["relu", "tanh", "hard_swish"]))(x)
    x = L.Dense(r.choice([2, 5, 10]))(x)
    return L.Softmax()(x) if r.random() < 0.6 else x


def sequence(r):
    """Return a network of one dimension."""
    x = start = L.Input((r.choice([16, 32]), r.choice([1, 4])))
    for _ in range(r.randint(1, 3)):
        y = L.Conv1D(8, 3, padding=r.choice(["same", "causal"]), dilation_rate=r.choice([1, 2]),
                     activation=r.choice(["relu", "tanh", None]))(x)
        x = L.MaxPooling1D(2)(y) if y.shape[-1] != x.shape[-1] else L.Add()([x, y])
    return tf.keras.Model(start, L.Dense(4)(r.choice([L.GlobalAveragePooling1D, L.Flatten])()(x)))


BLOCKS = (convolution, convolution, depthwise, residual, branches, pool, upsample, gate, move)


def build(seed):
    """Return a random model; every eighth is one of sequences."""
    r = random.Random(seed)
    if seed % 8 == 7:
        return sequence(r)
    x = start = L.Input((r.choice([8, 9, 12]), r.choice([8, 10]), r.choice([1, 3, 4])))
    for block in [convolution, *r.choices(BLOCKS, k=r.randint(1, 4))]:
        x = block(r, x)
    return tf.keras.Model(start, finish(r, x))


def convert(model, seed):
    """Return the model as TFLite: int8, uint8 and float ends in turn."""
    rng = np.random.default_rng(seed)
    shape = model.inputs[0].shape[1:]
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [rng.normal(0, 1, (1, *shape)).astype(np.float32)] for _ in range(20))
    if seed % 3 < 2:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        ends = (tf.int8, tf.uint8)[seed % 3]
        converter.inference_input_type = converter.inference_output_type = ends
    return converter.convert()


def main():
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 48))
    arguments = parser.parse_args()
    for seed in range(*arguments.seeds):
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(seed)
        (arguments.folder / f"{seed}.tflite").write_bytes(convert(build(seed), seed))


if __name__ == "__main__":
    main()
