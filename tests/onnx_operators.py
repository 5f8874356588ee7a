"""One ONNX operator with random parameters, odd ones among them, and what may stand behind it."""

import math

import numpy as np
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from tests.onnx_dice import Dice
from tests.onnx_models import reference

__all__ = ["KINDS", "random_operator"]

#: Functions whose result may stay float.
_AT_THE_END = ("Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Selu", "Celu", "Softplus",
               "Softsign", "Mish", "Gelu", "ThresholdedRelu", "Erf", "Exp", "Abs", "Neg",
               "Softmax", "LogSoftmax")
#: The opset that brought a function.
_SINCE = {"HardSwish": 14, "Celu": 12, "Mish": 18, "Gelu": 20}


# -- operators: functions of (model, kind) that return what is to be quantised --------------------

def window(m, size, kernel, pooled=False):
    """Return random attributes of a window that fits its padded map."""
    rank = len(kernel)
    fields = {"kernel_shape": list(kernel), "strides": [m.some(1, 3) for _ in kernel]}
    if not pooled and m.odds(3):
        fields["dilations"] = [m.some(1, 3) for _ in kernel]
    kind = m.pick("none", "pads", "pads", "auto")
    if kind == "auto":
        fields["auto_pad"] = m.pick("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")
    elif kind == "pads":
        fields["pads"] = [m.some(0, k - 1 if pooled else k) for k in (*kernel, *kernel)]
    pads = fields.get("pads", [0] * 2 * rank)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, fields.get("dilations", [1] * rank),
                                            strict=True)]
    fits = all(n + pads[i] + pads[i + rank] >= spans[i] for i, n in enumerate(size))
    return fields if fits else None


def convolution(m, kind):
    c, *size = m.lengths(m.some(2, 3), 8)
    kernel = m.lengths(len(size), 4)
    groups = m.pick(1, 1, *(n for n in range(1, c + 1) if c % n == 0))
    fields = window(m, size, kernel)
    if fields is None:
        return None
    x, outputs = m.map((c, *size)), groups * m.some(1, 3)
    if kind == "Conv":
        w = m.weights((outputs, c // groups, *kernel), 0)
    else:
        fields = {**fields, "output_padding": [m.some(0, s - 1) for s in fields["strides"]]}
        w = m.weights((c, outputs // groups, *kernel), 1)
    bias = [m.bias(outputs)] if m.odds(2) else []
    return m.node(kind, x, w, *bias, group=groups, **fields)


def dense(m, kind):
    size, outputs = m.lengths(1 if kind == "Gemm" else None, 20), m.some(1, 20)
    x, turned = m.map(size), kind == "Gemm" and m.some(0, 1)
    w = m.weights((outputs, size[-1]) if turned else (size[-1], outputs), 1 - turned)
    if kind == "MatMul":
        return m.node("MatMul", x, w)
    bias = [m.bias(m.pick((outputs,), (1, outputs), (1,)))] if m.odds(2) else []
    return m.node("Gemm", x, w, *bias, transB=int(turned), alpha=m.pick(1.0, 0.5),
                  beta=m.pick(1.0, 2.0) if bias else 1.0)


def joint(m, kind):
    """Return an operator of two maps, or of one and a constant."""
    size = m.lengths()
    a = m.map(size)
    case = m.pick("other", "same", "smaller", "constant", "channels") if kind != "Div" else m.pick(
        "constant", "channels")
    b = {"other": lambda: m.map(size), "same": lambda: a,
         "smaller": lambda: m.map([m.pick(1, n) for n in size]),
         "constant": lambda: m.constant(np.full(m.pick((), (1,), (1,) * len(size)), 0.7)),
         "channels": lambda: m.constant(m.rng.uniform(0.3, 2, (size[0], *[1] * (len(size) - 1)))),
         }[case]()
    return m.node(kind, *[a, b][::m.pick(1, -1) if kind != "Div" else 1])


def normalised(m, kind):
    size = m.lengths()
    fields = {"epsilon": 1e-3} if m.odds(2) else {}
    numbers = [m.rng.normal(0, 1, size[0]), m.rng.normal(0, 1, size[0]),
               m.rng.normal(0, 1, size[0]), m.rng.uniform(0.1, 3, size[0])]
    return m.node(kind, m.map(size), *map(m.constant, numbers), **fields)


def by_statistics(m, kind):
    """Return a normalisation by the map's own mean and deviation."""
    size = m.lengths(3 if kind.startswith("Instance") else None)
    m.opset = max(m.opset, 17) if kind.startswith("Layer") else m.opset
    axis, fields = m.some(0, len(size) - 1), {"epsilon": 1e-3} if m.odds(2) else {}
    if kind.startswith("Layer"):
        shape, fields = size[axis:], {**fields, "axis": m.axis(size, axis)}
    else:
        shape = size[:1]
    numbers = [m.rng.normal(0, 1, shape) for _ in range(2)]
    return m.node(kind, m.map(size), *map(m.constant, numbers), **fields)


def pool(m, kind):
    c, *size = m.lengths(m.some(2, 3), 8)
    if kind.startswith("Global"):
        m.exact = kind == "GlobalMaxPool"
        m.ties = not m.exact
        return m.node(kind, m.map((c, *size)))
    fields = window(m, size, m.lengths(len(size), 4), pooled=True)
    if fields is None:
        return None
    fields["ceil_mode"] = int(m.odds(4))
    m.exact = kind == "MaxPool"
    if not m.exact:
        fields["count_include_pad"], m.ties = m.some(0, 1), True
    return m.node(kind, m.map((c, *size)), **fields)


def reduced(m, kind):
    size = m.lengths()
    axes = sorted(int(n) for n in m.rng.permutation(len(size))[:m.some(1, len(size))])
    m.ties, m.exact = kind == "ReduceMean", kind == "ReduceMax"
    return m.listed(kind, m.map(size), 18, keepdims=m.some(0, 1),
                    axes=[m.axis(size, axis) for axis in axes])


def bounded(m, kind):
    x, m.exact = m.map(m.lengths()), m.odds(2)
    if kind == "Relu":
        return m.node(kind, x)
    bounds = [m.constant(m.pick(-1.0, -0.3, 0.0)), m.constant(m.pick(0.2, 0.5, 6.0))]
    return m.node(kind, x, *m.pick(bounds, bounds[:1], ["", bounds[1]], []))


def slopes(m, kind):
    size = m.lengths()
    x = m.map(size)
    if kind == "LeakyRelu":
        return m.node(kind, x, alpha=float(m.pick(0.01, 0.3, 1.7, 0, -0.4)))
    return m.node(kind, x, m.constant(m.rng.uniform(-1, 1, m.pick(
        (1,), (size[0], *[1] * (len(size) - 1))))))


def function(m, kind):
    size = m.lengths()
    alpha = {"alpha": m.pick(0.5, 1.3)}
    fields = {"HardSigmoid": {"alpha": m.pick(0.2, 0.5), "beta": m.pick(0.5, 0.1)},
              "Gelu": {"approximate": m.pick("none", "tanh")}, "Selu": alpha | {"gamma": 1.1},
              "Elu": alpha, "Celu": alpha, "ThresholdedRelu": alpha}.get(kind, {})
    if kind.endswith("Softmax"):
        fields = {"axis": m.axis(size, m.some(0, len(size) - 1))}
    elif m.odds(2):
        fields = {}
    m.opset, x = max(m.opset, _SINCE.get(kind, 0)), m.map(size)
    if m.odds(3) and not kind.endswith("Softmax"):
        x = m.node(m.pick("Neg", "Softsign"), x)
    return m.node(kind, x, **fields)


def concatenation(m, kind):
    size, m.exact = m.lengths(), m.odds(2)
    axis, parts = m.some(0, len(size) - 1), []
    for _ in range(m.some(1, 3)):
        part = list(size)
        part[axis] = m.some(1, 4)
        parts.append(m.map(part, m.last if m.exact and parts else None))
    return m.node(kind, *parts, parts[0], axis=m.axis(size, axis))


def resized(m, kind):
    c, *size = m.lengths(m.some(2, 3), 7)
    x, linear = m.map((c, *size)), m.odds(3)
    modes = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    if m.opset < 13:
        modes.append("tf_half_pixel_for_nn")
    fields = {"mode": "linear" if linear else "nearest",
              "coordinate_transformation_mode": m.pick(*modes[:4] if linear else modes)}
    if linear:
        m.ties = True
    else:
        fields["nearest_mode"] = m.pick("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        m.exact = True
    roi = m.constant([]) if m.opset < 13 else ""
    if m.odds(2):
        factors = [m.some(1, 3) if linear else m.rng.uniform(0.5, 3) for _ in size]
        return m.node(kind, x, roi, m.constant([1, 1, *factors]), **fields)
    lengths = [m.some(1 + linear, 15) for _ in size]
    if m.batch == "n":
        return None         # the batch would have to be known
    return m.node(kind, x, roi, m.constant([]) if m.opset < 13 else "",
                  m.integers(m.batch, c, *lengths), **fields)


def padded(m, kind):
    size = m.lengths()
    mode = m.pick("constant", "constant", "reflect", "edge", *(["wrap"] if m.opset >= 19 else []))
    pads = m.rng.integers(-1 if m.odds(3) else 0, 3, (2, len(size) + 1))
    pads[:, 0] = 0
    if mode == "reflect":
        pads = np.minimum(pads, [0, *(n - 1 for n in size)])
    if (pads.sum(0) + [1, *size] < 1).any() or (mode != "constant" and (pads < 0).any()):
        return None
    m.exact = True
    zero = [m.constant(0.0)] if m.odds(2) else []
    return m.node(kind, m.map(size), m.integers(*pads.ravel()), *zero, mode=mode)


def selected(m, kind):
    size = m.lengths()
    x, axis, m.exact = m.map(size), m.some(0, len(size) - 1), True
    named, length = m.axis(size, axis), size[axis]
    if kind == "Gather":
        indices = m.rng.integers(-length, length, m.some(1, 5))
        return m.node(kind, x, m.integers(*indices), axis=named)
    if kind == "Split":
        lengths = [m.some(1, 3), length]
        lengths[1] -= lengths[0]
        if lengths[1] < 1:
            return None
        names = ["first", "second"]
        fields = {"split": lengths} if m.opset < 13 else {}
        operands = [] if fields else [m.integers(*lengths)]
        m.nodes.append(helper.make_node(kind, [x, *operands], names, axis=named, **fields))
        return names
    step = m.pick(1, 2, -1, -2)
    bounds = [m.some(-length, length - 1), m.pick(length, 99) if step > 0 else -99]
    return m.node(kind, x, *(m.integers(n) for n in (*bounds, named, step)))


def rearranged(m, kind):
    """Return an operator that only changes the shape, and often another one behind it."""
    size, m.exact = list(m.lengths()), True
    y = m.map(size) if kind != "Squeeze" else None
    match kind:
        case "Reshape":
            total = math.prod(size)
            first = m.pick(*(n for n in range(1, total + 1) if total % n == 0))
            target = m.pick([first, -1], [first, total // first], [total], [0, -1])
            y = m.node(kind, y, m.integers(0 if m.batch == "n" else m.batch, *target))
        case "Flatten":
            y = m.node(kind, y, axis=m.pick(1, 1, -len(size)))
        case "Transpose":
            order = [int(n) + 1 for n in m.rng.permutation(len(size))]
            y = m.node(kind, y, perm=[0, *order])
        case "Squeeze":
            size.insert(axis := m.some(0, len(size)), 1)
            y = m.listed(kind, m.map(size), 13, axes=[m.axis(size, axis)])
        case "Unsqueeze":
            axis = m.some(0, len(size))
            y = m.listed(kind, y, 13, axes=[m.axis([*size, 1], axis)])
        case "Identity" | "Dropout":
            y = m.node(kind, y)
        case "Shape":
            batch = m.node("Slice", m.node(kind, y), m.integers(0), m.integers(1))
            y = m.node("Reshape", y, m.node("Concat", batch, m.integers(-1), axis=0))
    return y


def blocks(m, kind):
    h, w, c, n = m.lengths(4, 3)
    m.exact = True
    if kind == "SpaceToDepth":
        return m.node(kind, m.map((c, h * n, w * n)), blocksize=n)
    return m.node(kind, m.map((c * n * n, h, w)), blocksize=n, mode=m.pick("DCR", "CRD"))


def rescaled(m, kind):
    """Return something between two changes of scale, lest onnxruntime makes them one."""
    return m.node("MaxPool", m.map(m.lengths(3)), kernel_shape=[1, 1])


def quantised(m, kind):
    """Return an operator with quantisation inside, of levels; the result's grid is a guess."""
    core, (a, grid) = kind.removeprefix("QLinear").removeprefix("Q"), (None, None)
    low = np.iinfo(m.dtype).min
    fields = {"domain": "com.microsoft"}
    if core in ("Conv", "AveragePool", "GlobalAveragePool"):
        c, *size = m.lengths(3, 8)
    else:
        size = m.lengths(1 if core == "Gemm" else None)
    scale, zero = m.rng.uniform(0.01, 0.04), low + m.some(60, 190)
    if core in ("Sigmoid", "Softmax"):
        scale, zero = 1 / 256, low
    result = m.grid(scale, zero)
    match core:
        case "Conv":
            kernel = m.lengths(2, 3)
            given = window(m, size, kernel)
            if given is None:
                return None
            (a, grid), outputs = m.levels((c, *size)), m.some(1, 9)
            w = m.weights((outputs, c, *kernel), 0, quantised=False)
            bias = [m.constant(m.rng.integers(-5000, 5000, outputs), np.int32)] if m.odds(2) else []
            m.result = result
            return m.node(kind, a, *grid, *w, *result, *bias, **given)
        case "MatMul" | "Gemm":
            (a, grid), outputs = m.levels(size), m.some(1, 20)
            turned = core == "Gemm" and m.some(0, 1)
            w = m.weights((outputs, size[-1]) if turned else (size[-1], outputs), 1 - turned, False)
            if core == "MatMul":
                y = m.node(kind, a, *grid, *w, *result)
            else:
                bias = m.constant(m.rng.integers(-5000, 5000, outputs), np.int32)
                y = m.node(kind, a, *grid, *w, m.pick(bias, ""), *result, transB=int(turned),
                           **fields)
        case "Add" | "Mul":
            a, grid = m.levels(size)
            other = m.levels([m.pick(1, n) for n in size]) if m.odds(2) else m.levels(size)
            pair = [(a, *grid), (other[0], *other[1])][::m.pick(1, -1)]
            y = m.node(kind, *pair[0], *pair[1], *result, **fields)
        case "Concat":
            axis, parts = m.some(0, len(size) - 1), []
            for _ in range(m.some(1, 3)):
                part = list(size)
                part[axis] = m.some(1, 4)
                name, grid = m.levels(part)
                parts += [name, *grid]
            y = m.node(kind, *result, *parts, axis=axis + 1, **fields)
        case "AveragePool":
            given = window(m, size, m.lengths(2, 4), pooled=True)
            if given is None or "auto_pad" in given and max(given["strides"]) > min(
                    given["kernel_shape"]):
                return None     # onnxruntime reads numbers beside the map
            (a, grid), m.ties = m.levels((c, *size)), True
            y = m.node(kind, a, *grid, *result, **given, **fields, count_include_pad=m.some(0, 1))
        case "GlobalAveragePool":
            (a, grid), m.ties = m.levels((c, *size)), True
            y = m.node(kind, a, *grid, *result, **fields)
        case _:
            a, grid = m.levels(size)
            fields |= {"LeakyRelu": {"alpha": float(m.pick(0.01, 0.3, 1.7, -0.4))},
                       "Softmax": {"axis": len(size), "opset": m.opset}}.get(core, {})
            y = m.node(kind, a, *grid, *result, **fields)
    m.result = result
    return y


KINDS = {
    **dict.fromkeys(("Conv", "ConvTranspose"), convolution),
    **dict.fromkeys(("Gemm", "MatMul"), dense),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), joint),
    "BatchNormalization": normalised,
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool"), pool),
    **dict.fromkeys(("InstanceNormalization", "LayerNormalization"), by_statistics),
    "GlobalMaxPool": pool, "ReduceMean": reduced, "ReduceMax": reduced,
    **dict.fromkeys(("Relu", "Clip"), bounded), **dict.fromkeys(("LeakyRelu", "PRelu"), slopes),
    **dict.fromkeys(_AT_THE_END, function),
    "Concat": concatenation, "Resize": resized, "Pad": padded,
    **dict.fromkeys(("Slice", "Split", "Gather"), selected),
    **dict.fromkeys(("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity",
                     "Dropout", "Shape"), rearranged),
    **dict.fromkeys(("SpaceToDepth", "DepthToSpace"), blocks),
    "QuantizeLinear and DequantizeLinear": rescaled,
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm", "QLinearAdd", "QLinearMul",
                     "QLinearConcat", "QLinearAveragePool", "QLinearGlobalAveragePool",
                     "QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax"), quantised),
}


def follow(m, y, kind):
    """Return a result, or that of a layer behind what only moves numbers."""
    size = reference(m.finish(y), m.data())[0].shape[1:]
    # bounds and joints between levels need some of their own
    case = m.pick("nothing", "quantised", *(["layer"] if kind not in ("Clip", "Concat") else []))
    if case == "nothing" or not size:
        return y
    if case == "quantised":
        y = m.node("DequantizeLinear", m.node("QuantizeLinear", y, *m.last), *m.last)
    m.exact = False
    if len(size) > 1:
        return m.node("Conv", y, m.weights((3, size[0], *[1] * (len(size) - 1)), 0), m.bias(3))
    return m.node("Gemm", y, m.weights((size[0], 4), 1), m.bias(4))


def random_operator(kind, seed):
    """Return a Dice, and its model; None if there is no such operator, or onnxruntime has none."""
    try:
        return _operator(kind, seed)
    except (failures.Fail, failures.InvalidArgument, failures.InvalidGraph,
            failures.NotImplemented, failures.RuntimeException):
        return None


def _operator(kind, seed):
    m = Dice(seed)
    made = KINDS[kind](m, kind)
    if made is None:
        return None
    names = []
    for y in made if isinstance(made, list) else [made]:
        if m.result:
            y = m.node("DequantizeLinear", y, *m.result) if m.odds(2) else y
        elif kind in _AT_THE_END and m.odds(3):
            pass                                # float to the end
        else:
            y = m.tell(follow(m, y, kind) if m.exact and not isinstance(made, list) else y)
        names.append(y)
    if kind in ("MaxPool", "AveragePool"):      # ONNX and onnxruntime may differ with ceil_mode
        return m, m.finish(*names)
    found = reference(m.finish(*names), m.data())
    return m, m.finish(*names, shapes=[(m.batch, *array.shape[1:]) for array in found])
