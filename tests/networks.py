"""Small random networks for differential tests: graphs whose results use the whole int8 range.

``random_graph(rng)`` builds an :class:`systolith.sw.ir.Graph` directly. The rescaling factors
of every layer are fitted to its accumulators on random data, so that no layer is constant or
saturated throughout and a wrong bit anywhere shows at the output. ``random_inputs`` makes data.

With hypothesis: ``@given(st.integers(0, 2**32 - 1))`` and ``np.random.default_rng(seed)``.
"""

from dataclasses import replace

import numpy as np

from systolith.sim import golden
from systolith.sw.ir import (
    Add,
    Concat,
    Conv,
    Graph,
    Mul,
    Op,
    Pool,
    Port,
    Rearrange,
    Requant,
    Select,
    Table,
    Tensor,
    TransposedConv,
)
from systolith.sw.numerics import ADD_LEFT_SHIFT, quantize_multiplier

#: Layer kinds ``random_graph`` draws from.
KINDS = ("conv", "pointwise", "depthwise", "grouped", "dilated", "max", "average", "relu",
         "rescale", "add", "global", "dense")
#: Pairs of layers that the compiler makes one step of; ``KINDS`` hardly ever gives such a pair.
FUSED = ("pooled", "residual")
#: Layers whose results are written elsewhere than one behind the other.
PLACED = ("transposed", "select", "concat")
#: Layers that the host runs, or has a part in.
HOSTED = ("table", "product", "gate", "rearranged")
#: Standard deviation of results, in steps of the output: spread over the range, tails saturate.
SPREAD = 50


def random_graph(rng, *, kinds=KINDS, layers=4, size=12, channels=12, one_dimensional=None,
                 input_channels=None):
    """Build a random network of ``layers`` layers.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides everything; equal states give equal networks.
    kinds : sequence of str
        Which of ``KINDS``, ``FUSED``, ``PLACED`` and ``HOSTED`` may occur.
    layers : int
        Layers after the input. ``global`` and ``dense`` leave a 1 x 1 map.
    size, channels : int
        Largest height or width, and largest channel count, of the input.
    input_channels : int
        Largest channel count of the input, if not ``channels``.
    one_dimensional : bool or None
        Height 1 everywhere; None lets the dice decide (one in four).
    """
    if one_dimensional is None:
        one_dimensional = rng.random() < 0.25
    height = 1 if one_dimensional else int(rng.integers(1, size + 1))
    depth = channels if input_channels is None else input_channels
    shape = (height, int(rng.integers(1, size + 1)), int(rng.integers(1, depth + 1)))
    builder = _Builder(rng, shape, channels)
    for _ in range(layers):
        builder.layer(str(rng.choice(list(kinds))))
    return builder.finish()


def random_inputs(graph, rng, n=2):
    """Return int8[n, h, w, c] for every input tensor: noise, with the extremes present."""
    values = {}
    for port in graph.inputs:
        x = rng.integers(-128, 128, (n, *graph.tensors[port.tensor].shape)).astype(np.int8)
        x.flat[:2] = (-128, 127)[:x.size]
        values[port.tensor] = x
    return values


def requant(factors, lift=0):
    """Return the Requant of real factors, one for each channel, shifted left by ``lift`` more."""
    parts = np.array([quantize_multiplier(float(f)) for f in np.atleast_1d(factors)], np.int32)
    return Requant(*(parts + [0, lift, lift]).T)


class _Builder:
    """A graph under construction, with its values on a few random inputs."""

    def __init__(self, rng, shape, channels):
        self.rng, self.channels = rng, channels
        self.graph = Graph(name="random", tensors={}, ops=[], inputs=[], outputs=[])
        self.x = self.tensor(shape).name
        h, w, c = shape
        self.graph.inputs.append(Port(name="x", tensor=self.x, shape=(c, h, w), dtype="int8",
                                      permutation=(1, 2, 0)))
        self.values = random_inputs(self.graph, rng, 4)

    def tensor(self, shape, like=None):
        zero_point = int(self.rng.choice([-128, 0, self.rng.integers(-60, 60)]))
        scale = float(np.float32(self.rng.uniform(0.01, 0.1)))
        if like is not None:
            zero_point, scale = like.zero_point, like.scale
        name = f"t{len(self.graph.tensors)}"
        tensor = Tensor(name=name, shape=tuple(map(int, shape)), scale=scale,
                        zero_point=zero_point)
        self.graph.tensors[name] = tensor
        return tensor

    def append(self, op: Op):
        self.graph.ops.append(op)
        operands = [self.values[name] for name in op.inputs]
        self.values[op.output] = golden.run_op(self.graph, op, operands)
        self.x = op.output

    def finish(self):
        h, w, c = self.graph.tensors[self.x].shape
        self.graph.outputs.append(Port(name="y", tensor=self.x, shape=(c, h, w), dtype="int8",
                                       permutation=(1, 2, 0)))
        return self.graph

    def bounds(self, output):
        """Saturation bounds: often none, sometimes ReLU, sometimes a narrow clip."""
        choice = self.rng.integers(4)
        if choice == 0:
            return {"low": output.zero_point}
        if choice == 1:
            return {"low": -100, "high": 90}
        return {}

    def layer(self, kind):
        h, w, c = self.graph.tensors[self.x].shape
        match kind:
            case "conv" | "dilated":
                self.conv(self.window(kind == "dilated"), int(self.rng.integers(
                    1, self.channels + 1)))
            case "pointwise":
                self.conv({"kernel": (1, 1)}, int(self.rng.integers(1, self.channels + 1)))
            case "depthwise":
                self.conv(self.window(False), c, groups=c)
            case "grouped":
                groups = int(self.rng.choice([g for g in (1, 2, 3, 4) if c % g == 0]))
                self.conv(self.window(False), groups * int(self.rng.integers(1, 4)), groups)
            case "dense":
                self.conv({"kernel": (h, w)}, int(self.rng.integers(1, 2 * self.channels)))
            case "max" | "average":
                self.pool(kind)
            case "relu":
                self.pool("max", window={"kernel": (1, 1)})
            case "rescale":
                self.rescaled_average((1, 1))
            case "global":
                self.rescaled_average((h, w))
            case "add":
                self.add()
            case "pooled":
                self.pooled()
            case "residual":
                self.residual()
            case "transposed":
                self.transposed()
            case "select":
                self.select()
            case "concat":
                self.concat()
            case "table":
                self.table()
            case "product":
                self.product()
            case "gate":
                self.gate()
            case "rearranged":
                self.rearranged()
            case _:
                raise ValueError(f"unknown layer kind {kind!r}")

    def window(self, dilated):
        """Return kernel, stride, pads and dilation of a window that fits the current map."""
        axes = [self.axis(length, int(self.rng.integers(2, 4)) if dilated else 1)
                for length in self.graph.tensors[self.x].shape[:2]]
        kernel, stride, before, after, dilation = zip(*axes, strict=True)
        return {"kernel": kernel, "stride": stride, "pads": before + after, "dilation": dilation}

    def axis(self, length, dilation):
        """Return kernel, stride, padding before and after, and dilation along one axis.

        Without dilation every window meets the map, as pooling needs.
        """
        kernel = 1 if length == 1 else int(self.rng.integers(1, 6))
        before, after = (int(n) for n in self.rng.integers(0, kernel, 2))
        after = max(after, dilation * (kernel - 1) + 1 - length - before)
        return kernel, int(self.rng.integers(1, 4)), before, after, dilation

    def result_shape(self, window):
        shape = self.graph.tensors[self.x].shape[:2]
        pads = window.get("pads", (0, 0, 0, 0))
        dilation, stride = window.get("dilation", (1, 1)), window.get("stride", (1, 1))
        return tuple((length + pads[i] + pads[i + 2] - dilation[i] * (window["kernel"][i] - 1) - 1)
                     // stride[i] + 1 for i, length in enumerate(shape))

    def conv(self, window, outputs, groups=1):
        source = self.graph.tensors[self.x]
        kernel = window.pop("kernel")
        shape = (outputs, *kernel, source.shape[2] // groups)
        weights = self.rng.integers(-127, 128, shape).astype(np.int8)
        draft = Conv(name="", kind="", inputs=(self.x,), output="", weights=weights,
                     bias=np.zeros(outputs, np.int32), requant=requant(np.ones(outputs)),
                     groups=groups, **window)
        self.scaled(draft, golden.accumulate(draft, self.values[self.x], source))

    def scaled(self, draft, sums):
        """Append a convolution, its bias and rescaling made for the sums it has without."""
        outputs = len(draft.weights)
        spread = np.maximum(sums.std(axis=(0, 1, 2)), 100)
        bias = self.rng.normal(0, 0.3, outputs) * spread - sums.mean(axis=(0, 1, 2))
        output = self.tensor((*sums.shape[1:3], outputs))
        factors = SPREAD * self.rng.uniform(0.5, 1.5, outputs) / spread
        bias -= output.zero_point / factors     # centred in the int8 range
        self.append(replace(
            draft, name=f"conv{len(self.graph.ops)}", kind="Conv", output=output.name,
            bias=np.rint(bias).astype(np.int32), requant=requant(factors),
            **self.bounds(output)))

    def transposed(self):
        """Spread every pixel by a kernel; some phases may have no taps, some results no pixel."""
        source = self.graph.tensors[self.x]
        h, w, c = source.shape
        groups = int(self.rng.choice([g for g in (1, 1, 2, c) if c % g == 0]))
        outputs = groups * int(self.rng.integers(1, 1 + max(1, self.channels // groups)))
        if groups == c:
            outputs = c
        axes = []
        for length in (h, w):
            stride, dilation = int(self.rng.integers(1, 4)), int(self.rng.choice([1, 1, 2]))
            kernel, crop = int(self.rng.integers(1, 5)), int(self.rng.integers(0, 3))
            span = (length - 1) * stride + dilation * (kernel - 1) + 1
            size = max(1, span - crop + int(self.rng.integers(-2, 3)))
            axes.append((kernel, stride, crop, size, dilation))
        kernel, stride, crop, size, dilation = zip(*axes, strict=True)
        weights = self.rng.integers(-127, 128, (outputs, *kernel, c // groups)).astype(np.int8)
        draft = TransposedConv(
            name="", kind="", inputs=(self.x,), output="", weights=weights,
            bias=np.zeros(outputs, np.int32), requant=requant(np.ones(outputs)), groups=groups,
            stride=stride, crop=crop, size=size, dilation=dilation)
        self.scaled(draft, golden.scatter(draft, self.values[self.x], source))

    def select(self):
        """Slice, resize or shuffle along each axis."""
        source = self.graph.tensors[self.x]
        picked = [self.picked(length) for length in source.shape]
        output = self.tensor([len(p) for p in picked], like=source)
        self.append(Select(name=f"select{len(self.graph.ops)}", kind="Slice", inputs=(self.x,),
                           output=output.name, rows=picked[0], columns=picked[1],
                           channels=picked[2]))

    def rearranged(self):
        """Exchange axes and cut the elements anew, or pick any."""
        source = self.graph.tensors[self.x]
        places = np.arange(np.prod(source.shape)).reshape(source.shape)
        if self.rng.integers(3):
            places = places.transpose(self.rng.permutation(3))
            shape = self.rng.permutation([1, *places.shape])
            places = places.reshape(shape[0] * shape[1], *shape[2:])
        else:
            places = self.rng.integers(0, places.size, places.shape)
        output = self.tensor(places.shape, like=source)
        self.append(Rearrange(name=f"rearrange{len(self.graph.ops)}", kind="Rearrange",
                              inputs=(self.x,), output=output.name, places=places))

    def picked(self, length):
        """Return indices along an axis: all, a slice, resized by a fraction, or any."""
        match self.rng.integers(5):
            case 0 | 1:
                return tuple(range(length))
            case 2:
                begin = int(self.rng.integers(length))
                return tuple(range(begin, length, int(self.rng.integers(1, 3))))
            case 3:
                size = int(self.rng.integers(1, 2 * length + 1))
                return tuple(i * length // size for i in range(size))
            case _:
                return tuple(int(i) for i in self.rng.integers(0, length, length))

    def concat(self):
        """Join the current map and others of its height and width, along any axis."""
        shape = self.graph.tensors[self.x].shape
        axis = int(self.rng.integers(3))
        def fits(t):
            return all(t.shape[i] == shape[i] for i in range(3) if i != axis)
        others = [t.name for t in self.graph.tensors.values() if fits(t)]
        names = [self.x, *self.rng.choice(others, int(self.rng.integers(1, 3)))]
        sources = [self.graph.tensors[str(name)] for name in names]
        shape = list(shape)
        shape[axis] = sum(t.shape[axis] for t in sources)
        like = sources[0] if self.rng.integers(2) else None
        output = self.tensor(shape, like=like)
        factors = [t.scale / output.scale for t in sources]
        self.append(Concat(name=f"concat{len(self.graph.ops)}", kind="Concat",
                           inputs=tuple(t.name for t in sources), output=output.name, axis=axis,
                           requant=requant(factors), **self.bounds(output)))

    def pool(self, mode, window=None):
        source = self.graph.tensors[self.x]
        if window is None:
            window = self.window(False)
            del window["dilation"]
        output = self.tensor((*self.result_shape(window), source.shape[2]), like=source)
        self.append(Pool(name=f"pool{len(self.graph.ops)}", kind=f"{mode}pool", mode=mode,
                         inputs=(self.x,), output=output.name, **window, **self.bounds(output)))

    def rescaled_average(self, kernel):
        source = self.graph.tensors[self.x]
        window = {"kernel": kernel}
        output = self.tensor((*self.result_shape(window), source.shape[2]))
        count = int(np.prod(kernel))
        factor = self.rng.uniform(0.5, 1.5) / np.sqrt(count)
        lift = int(self.rng.integers(0, min(14, 31 - (255 * count).bit_length()) + 1))
        self.append(Pool(name=f"pool{len(self.graph.ops)}", kind="AveragePool", mode="average",
                         inputs=(self.x,), output=output.name, requant=requant(factor, lift),
                         **window, **self.bounds(output)))

    def add(self):
        """Add the current map and an earlier one of its shape (itself if there is no other)."""
        shape = self.graph.tensors[self.x].shape
        others = [t.name for t in self.graph.tensors.values() if t.shape == shape]
        self.sum(self.x, others[int(self.rng.integers(len(others)))])

    def pooled(self):
        """Convolve, then take the maximum over whole windows, which may overlap or leave gaps."""
        c = self.graph.tensors[self.x].shape[2]
        groups = int(self.rng.choice([g for g in (1, 2, c) if c % g == 0]))
        self.conv(self.window(False), groups * int(self.rng.integers(1, 4)), groups)
        h, w, _ = self.graph.tensors[self.x].shape
        self.pool("max", window={
            "kernel": tuple(int(self.rng.integers(1, min(length, 4) + 1)) for length in (h, w)),
            "stride": tuple(int(n) for n in self.rng.integers(1, 4, 2))})

    def residual(self):
        """Convolve to the same shape, then add what was there before, on either side."""
        before = self.x
        c = self.graph.tensors[before].shape[2]
        groups = int(self.rng.choice([1, c]))
        size = int(self.rng.choice([1, 3]))
        self.conv({"kernel": (size, size), "pads": (size // 2,) * 4}, c, groups)
        operands = [self.x, before]
        self.sum(*operands[::int(self.rng.choice([1, -1]))])

    def sum(self, *names):
        """Add two maps of one shape."""
        source, other = (self.graph.tensors[name] for name in names)
        output = self.tensor(source.shape)
        scale = 2 * max(source.scale, other.scale)
        factors = (source.scale / scale, other.scale / scale,
                   self.rng.uniform(0.8, 1.6) / (1 << ADD_LEFT_SHIFT))
        self.append(Add(name=f"add{len(self.graph.ops)}", kind="Add", requant=requant(factors),
                        inputs=names, output=output.name, **self.bounds(output)))

    # -- what the host runs --------------------------------------------------------------------

    def table(self):
        """Look every level up: a random function, steep or flat, rising or falling."""
        source = self.graph.tensors[self.x]
        output = self.tensor(source.shape)
        levels = np.arange(-128, 128) * self.rng.uniform(-2, 2) + self.rng.normal(0, 9, 256)
        self.append(Table(name=f"table{len(self.graph.ops)}", kind="Table", inputs=(self.x,),
                          output=output.name, **self.bounds(output),
                          levels=np.clip(np.rint(levels), -128, 127).astype(np.int8)))

    def product(self):
        """Multiply the current map by an earlier one it can be repeated to, or itself."""
        shape = self.graph.tensors[self.x].shape
        others = [t.name for t in self.graph.tensors.values() if all(
            theirs in (1, mine) for mine, theirs in zip(shape, t.shape, strict=True))]
        self.times(self.x, others[int(self.rng.integers(len(others)))])

    def gate(self):
        """Scale every channel by what an average over the map says: squeeze and excite."""
        before = self.x
        h, w, c = self.graph.tensors[before].shape
        self.rescaled_average((h, w))
        self.conv({"kernel": (1, 1)}, max(1, c // 2))
        self.conv({"kernel": (1, 1)}, c)
        self.table()
        self.times(*(before, self.x)[::int(self.rng.choice([1, -1]))])

    def times(self, *names):
        """Multiply two maps."""
        a, b = (self.graph.tensors[name] for name in names)
        output = self.tensor(np.maximum(a.shape, b.shape))
        product = np.float64(1) * (self.values[names[0]].astype(np.int64) - a.zero_point) * (
            self.values[names[1]].astype(np.int64) - b.zero_point)
        factor = SPREAD * self.rng.uniform(0.5, 1.5) / max(product.std(), 1)
        self.append(Mul(name=f"mul{len(self.graph.ops)}", kind="Mul", inputs=names,
                        requant=requant(factor), output=output.name, **self.bounds(output)))
