"""The sliding-window unit against NumPy: alone, and as a whole depthwise convolution."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from numpy.lib.stride_tricks import sliding_window_view

from systolith.hw.config import Config
from systolith.hw.window import Window

CONFIG = Config(rows=9, columns=2, post_lanes=2, banks=2, bank_words=64, program_words=256,
                accumulator_depth=64, window=True, window_width=16)


def windows(image, kernel, stride):
    """Return [n, kh, kw, c]: the windows of an image [h, w, c], in order."""
    view = sliding_window_view(image, kernel, axis=(0, 1))[::stride[0], ::stride[1]]
    return view.reshape(-1, image.shape[-1], *kernel).transpose(0, 2, 3, 1)


def pixels(image, kernel, stride):
    """Yield (first, tag, pixel) of an image."""
    height, width, _ = image.shape
    for y, x in np.ndindex(height, width):
        yield y == x == 0, {
            "window": 1, "row_end": int(x == width - 1), "rows": kernel[0] - 1,
            "columns": kernel[1] - 1, "stride_y": stride[0] - 1,
            "stride_x": stride[1] - 1}, image[y, x].tolist()


def run_unit(passes, bubbles, seed):
    """Send (image, kernel, stride) passes through the unit; return the taps it completed."""
    dut = Window(CONFIG)
    found = []
    work = [(image.shape[1] < Window.LATENCY, *pixel) for image, kernel, stride in passes
            for pixel in pixels(image, kernel, stride)]
    rng = random.Random(seed)

    async def feed(ctx):
        for narrow, first, tag, pixel in work:
            pause = Window.LATENCY - 1 if narrow else 0
            if rng.random() < bubbles:
                pause = rng.randint(pause, 5)
            ctx.set(dut.valid, 0)
            for _ in range(pause):
                await ctx.tick()
            ctx.set(dut.valid, 1)
            ctx.set(dut.first, first)
            ctx.set(dut.tag, tag)
            ctx.set(dut.pixel, pixel)
            await ctx.tick()
        ctx.set(dut.valid, 0)
        await ctx.tick()
        assert ctx.get(dut.busy)
        await ctx.tick().repeat(Window.LATENCY)
        assert not ctx.get(dut.busy)

    async def watch(ctx):
        while True:
            _, _, complete, passing = await ctx.tick().sample(dut.complete, dut.passing)
            assert passing or not complete
            if complete:
                taps = ctx.get(dut.taps.as_value())
                found.append([taps >> 8 * i & 0xFF for i in range(9 * CONFIG.columns)])

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(feed)
    sim.add_testbench(watch, background=True)
    sim.run()
    taps = np.array(found, np.uint8).astype(np.int8)
    return taps.reshape(-1, 3, 3, CONFIG.columns)


def check(passes, bubbles, seed):
    taps = run_unit(passes, bubbles, seed)
    start = 0
    for image, (kh, kw), stride in passes:
        expected = windows(image, (kh, kw), stride)
        np.testing.assert_array_equal(taps[start:start + len(expected), :kh, :kw], expected)
        start += len(expected)
    assert start == len(taps)


@pytest.mark.parametrize("bubbles", [0, 0.4])
@pytest.mark.parametrize("kernel", list(np.ndindex(3, 3)))
def test_kernels_and_strides(kernel, bubbles):
    """Passes follow each other with every stride, so one's rows must not leak into the next."""
    rng = np.random.default_rng(3 * kernel[0] + kernel[1])
    kernel = kernel[0] + 1, kernel[1] + 1
    passes = [(rng.integers(-128, 128, (rng.integers(kernel[0], 9), rng.integers(
        max(kernel[1], 3), 12), CONFIG.columns), np.int8), kernel, (sy + 1, sx + 1))
        for sy, sx in np.ndindex(3, 3)]
    check(passes, bubbles, 11)


@pytest.mark.parametrize("width", [1, 2, 3, CONFIG.window_width])
def test_widths(width):
    rng = np.random.default_rng(width)
    passes = [(rng.integers(-128, 128, (6, width, CONFIG.columns), np.int8),
               (kh, min(width, kw)), (1, 1)) for kh, kw in [(3, 3), (3, 1), (2, 2), (1, 3)]]
    check(passes, 0, 5)
    check(passes, 0.5, 6)
