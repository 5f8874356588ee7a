"""Networks with host operations: golden model, instruction-level model and file agree."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.hw.config import Config
from systolith.sim import golden
from systolith.sim.batch import run_batch
from systolith.sim.machine_device import MachineDevice
from systolith.sw.compiler import compile_graph
from systolith.sw.device import Device
from systolith.sw.errors import CapacityError, ProgramError
from systolith.sw.importer import import_onnx
from systolith.sw.ir import HostOp
from systolith.sw.partition import compile_network, partition
from systolith.sw.pipeline import Pipeline, load_program
from systolith.sw.program import Program
from tests.compiled import CONFIGS
from tests.networks import FUSED, HOSTED, KINDS, random_graph
from tests.onnx_models import Model, quantized

SEEDS = st.integers(0, 2**32 - 1)


def hosted_graph(seed, kinds=(*KINDS, *FUSED, *HOSTED * 4), layers=6):
    """Return a random network with at least one host operation, and images for it."""
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, kinds=kinds, layers=layers, size=9, channels=8)
    while not any(isinstance(op, HostOp) for op in graph.ops):
        graph = random_graph(rng, kinds=kinds, layers=layers, size=9, channels=8)
    return graph, rng.integers(-128, 128, (5, *graph.inputs[0].shape)).astype(np.int8)


@given(SEEDS)
@settings(max_examples=60)
def test_partition(seed):
    """Every operation once, its operands before it; neighbouring segments are never both the
    device's; what crosses is exactly what is read."""
    graph, _ = hosted_graph(seed)
    stages = partition(graph)
    known = {port.tensor for port in graph.inputs}
    ran = []
    for before, stage in zip([None, *stages], stages, strict=False):
        if isinstance(stage, HostOp):
            assert set(stage.inputs) <= known
            ran.append(stage.name)
            known.add(stage.output)
            continue
        assert not any(isinstance(op, HostOp) for op in stage.ops)
        assert before is None or isinstance(before, HostOp)
        assert {port.tensor for port in stage.inputs} <= known
        ran += [op.name for op in stage.ops]
        known |= {port.tensor for port in stage.outputs}
    assert {port.tensor for port in graph.outputs} <= known
    assert len(ran) == len(set(ran))
    needed = {op.name for op in graph.ops if graph.consumers(op.output)}
    assert needed <= set(ran) <= {op.name for op in graph.ops}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(6))
def test_machine_is_golden(name, seed, tmp_path):
    config = CONFIGS[name]
    graph, x = hosted_graph([seed, len(name)])
    try:
        network = compile_network(graph, config)
    except CapacityError:
        pytest.skip("does not fit")
    expected = golden.run_model(graph, x)
    network.save(tmp_path / "net.sth")
    loaded = load_program(tmp_path / "net.sth")
    assert isinstance(loaded, Pipeline) and loaded.to_bytes() == network.to_bytes()
    with Device(MachineDevice(config)) as device:
        device.load(loaded)
        ran = device.run(x)
        alone = device.run(x[:1])
    for got, batch, want in zip(ran.outputs, run_batch(loaded, x), expected, strict=True):
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(batch, want)
    assert ran.cycles_per_image == loaded.predicted_cycles
    assert len(ran.segments) == len(loaded.programs)
    if loaded.programs:
        assert alone.cycles == (loaded.predicted_cycles,)


@pytest.mark.parametrize("seed", range(10))
def test_without_host_operations_nothing_changes(seed):
    graph = random_graph(np.random.default_rng(seed), kinds=(*KINDS, *FUSED))
    network = compile_network(graph, Config())
    assert isinstance(network, Program)
    assert network.to_bytes() == compile_graph(graph, Config()).to_bytes()


@pytest.fixture(scope="module")
def gated():
    graph, x = hosted_graph(3, kinds=("conv", "gate"), layers=4)
    return graph, compile_network(graph, Config()), x


def test_layers_and_cycles_are_sums(gated):
    graph, network, _ = gated
    assert network.predicted_cycles == sum(layer.cycles for layer in network.layers) == sum(
        program.predicted_cycles for program in network.programs)
    assert sum(layer.macs for layer in network.layers) == sum(map(graph.macs, graph.ops))
    on_host = [layer for layer in network.layers if layer.op.endswith("on the host")]
    assert [layer.name for layer in on_host] == [
        op.name for op in graph.ops if isinstance(op, HostOp)]
    assert all(layer.cycles == 0 for layer in on_host)


def test_progress_counts_images(gated):
    _, network, x = gated
    calls = []
    with Device(MachineDevice(network.config)) as device:
        device.load(network)
        device.run(x, progress=lambda *call: calls.append(call))
    assert calls == sorted(calls) and calls[-1] == (len(x), len(x))


def test_loading_again_starts_anew():
    """A network of one program gets it loaded again, also if the device seems to hold it."""
    graph, x = hosted_graph(3, kinds=("conv", "table"), layers=2)
    network = compile_network(graph, Config())
    assert len(network.programs) == 1
    with Device(MachineDevice(network.config)) as device:
        loads = []
        write_program = device.backend.write_program
        device.backend.write_program = lambda words: (loads.append(words), write_program(words))
        device.load(network)
        device.run(x)
        device.run(x)
        assert len(loads) == 1
        device.load(network)
        device.run(x)
        assert len(loads) == 2


def test_one_program_cannot_have_host_operations(gated):
    graph, network, _ = gated
    op = next(op for op in graph.ops if isinstance(op, HostOp))
    with pytest.raises(ValueError, match=rf"{op.name} .* runs on the host: .*compile_network"):
        compile_graph(graph, network.config)


def test_streams_are_refused(gated):
    _, network, x = gated
    with Device(MachineDevice(network.config)) as device:
        device.load(network)
        with pytest.raises(ValueError, match="runs in batches"):
            next(device.stream([[x[0]]]))


def test_program_says_what_it_is_not(gated, tmp_path):
    gated[1].save(tmp_path / "net.sth")
    with pytest.raises(ProgramError, match="is a network in segments"):
        Program.load(tmp_path / "net.sth")


def test_damaged_file(gated, tmp_path):
    image = gated[1].to_bytes()
    rng = np.random.default_rng(1)
    for place in rng.integers(6, len(image), 50).tolist():
        damaged = bytearray(image)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "net.sth").write_bytes(damaged)
        with pytest.raises(ProgramError, match="is damaged"):
            load_program(tmp_path / "net.sth")


def fully_connected(channels=24):
    """Return a network whose larger fully connected layer has 576 inputs, and images for it."""
    m = Model((1, 14, 14))
    x = m.node("Flatten", m.node("Relu", m.conv("x", 4, 1, (3, 3))))
    x = m.gemm(m.node("Relu", m.gemm(x, channels, 576)), 10, channels)
    images = m.data(5)
    return import_onnx(quantized(m.finish(x), images), "m.onnx"), images


@pytest.mark.parametrize("name", ["tall", "steps", "odd", "wide"])
@pytest.mark.parametrize("batch", [1, 2])
def test_what_memory_cannot_hold_is_divided(name, batch, tmp_path):
    """All weights take 14,300 bytes; of the first layer's 576 x 24 no program holds more."""
    config = dataclasses.replace(CONFIGS[name], banks=3, bank_words=512)
    graph, x = fully_connected()
    with pytest.raises(CapacityError, match="--divide"):
        compile_network(graph, config)
    network = compile_network(graph, config, batch, divide=True)
    assert isinstance(network, Pipeline) and len(network.programs) >= 3
    assert all(program.constant_elements + program.map_elements <= config.memory_elements
               for program in network.programs)
    names = {layer.name for layer in network.layers}
    assert names >= {op.name for op in graph.ops}
    assert batch > 1 or len(names) == len(graph.ops)
    assert sum(layer.macs for layer in network.layers) == batch * sum(map(graph.macs, graph.ops))
    network.save(tmp_path / "net.sth")
    with Device(MachineDevice(config)) as device:
        device.load(load_program(tmp_path / "net.sth"))
        ran = device.run(x)
    np.testing.assert_array_equal(ran.outputs[0], golden.run_model(graph, x)[0])


def test_what_fits_is_not_divided():
    graph, _ = fully_connected()
    network = compile_network(graph, Config(), divide=True)
    assert network.to_bytes() == compile_network(graph, Config()).to_bytes()


def test_a_map_that_does_not_fit_cannot_be_divided():
    graph, _ = fully_connected()
    config = dataclasses.replace(CONFIGS["tall"], bank_words=64)
    with pytest.raises(CapacityError, match="does not fit .* bytes of feature maps"):
        compile_network(graph, config, divide=True)
