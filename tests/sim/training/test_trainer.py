"""The training loop on the golden executor: it learns, stops, resumes exactly, refuses."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.sim.training.golden import GoldenExecutor
from systolith.sw.errors import CapacityError, DataError, TrainingError, UnsupportedError
from systolith.sw.train.builder import NetworkBuilder
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.graph import Node
from systolith.sw.train.schedule import Cosine, Steps
from systolith.sw.train.settings import Settings
from systolith.sw.train.steps import gradient_of
from systolith.sw.train.trainer import Trainer
from tests.training_networks import patches, small


def trainer(settings=None, *, net=None, loss="cross-entropy", frozen=frozenset(), data=None,
            **options):
    net = net or small()
    plan = plan_training(net, loss, frozen)
    x, labels = data or patches()
    return Trainer(plan, GoldenExecutor(plan), settings or Settings(epochs=4, batch=8, rate=0.05),
                   x, labels, **options)


def arrays_equal(a, b):
    assert a.keys() == b.keys()
    return all((a[name] == b[name]).all() for name in a)


def test_it_learns():
    steps, epochs = [], []
    run = trainer(Settings(epochs=12, batch=8, rate=0.05), validation=patches(seed=1),
                  on_step=steps.append, on_epoch=epochs.append)
    history = run.run()
    assert run.stopped == "12 epochs" and epochs == history and len(steps) == 12 * 12
    assert history[-1].loss < 0.2 * history[0].loss
    assert history[-1].validation > 0.95
    assert history[-1].validation == run.evaluate(*patches(seed=1))


def test_it_learns_the_squared_error():
    x, labels = patches()
    targets = np.eye(3)[labels]
    history = trainer(Settings(epochs=12, batch=8, rate=0.05), loss="mse",
                      data=(x, targets)).run()
    assert history[-1].loss < 0.4 * history[0].loss
    assert history[-1].validation is None


@pytest.mark.parametrize("epochs, every", [(2, None), (1, 5)])
def test_a_resumed_run_is_the_run(tmp_path, epochs, every):
    """After whole epochs, and from a checkpoint in the middle of one."""
    path = tmp_path / "run.npz"
    options = {"batch": 8, "micro_batch": 3, "rate": 0.1, "decay": 1e-3,
               "schedule": Cosine(4), "checkpoint_steps": every}
    whole = trainer(Settings(epochs=4, **options), validation=patches(seed=1))
    whole.run()

    class Cut(Exception):
        """The power fails."""

    def fail(step):
        if every and step.number == 19:
            raise Cut

    first = trainer(Settings(epochs=4 if every else epochs, **options),
                    validation=patches(seed=1), checkpoint=path, on_step=fail)
    if every:
        with pytest.raises(Cut):
            first.run()
    else:
        first.run()
    second = trainer(Settings(epochs=4, **options), validation=patches(seed=1))
    second.resume(path)
    assert second.stopped is None
    second.run()
    assert second.history == whole.history
    assert arrays_equal(second.executor.download(), whole.executor.download())
    assert second.scales.exponents == whole.scales.exponents
    for best in (True, False):
        assert arrays_equal(second.parameters(best=best), whole.parameters(best=best))


def test_the_seed_decides_everything():
    runs = [trainer(Settings(epochs=1, batch=8, rate=0.05, seed=seed)) for seed in (5, 5, 6)]
    for run in runs:
        run.run()
    first, same, other = (run.executor.download() for run in runs)
    assert arrays_equal(first, same) and not arrays_equal(first, other)


def test_micro_batches_add_up_to_the_batch():
    """But for one rounding each."""
    run = trainer(Settings(batch=8))
    x, labels = run.samples.at(np.arange(8), 0)
    run.executor.accumulate(x, labels, run.scales.exponents, 1)
    whole = {name: g.astype(int) for name, g in run.executor.gradients.items()}
    run.executor.upload(run.scales.stored())
    for start in (0, 3, 6):
        part = slice(start, start + 3)
        run.executor.accumulate(x[part], labels[part], run.scales.exponents, 1 + start)
    for name, gradient in run.executor.gradients.items():
        assert np.abs(gradient - whole[name]).max() <= 4, name
        assert np.abs(whole[name]).max() > 100


def test_chunks_of_a_gradient_are_rounded_one_by_one():
    """As micro-batches are, but for the random numbers; other parameters know nothing of it."""
    run = trainer(Settings(batch=8))
    x, labels = run.samples.at(np.arange(8), 0)
    stored, found = run.scales.stored(), []
    for chunks in ({}, {"conv0.weights": 3}):
        executor = GoldenExecutor(run.plan, chunks=chunks)
        executor.upload(stored)
        executor.accumulate(x, labels, run.scales.exponents, 1)
        found.append(executor.gradients)
    whole, parts = found
    cut = gradient_of("conv0.weights")
    assert 0 < np.abs(whole[cut].astype(int) - parts[cut]).max() <= 4
    assert all((whole[name] == parts[name]).all() for name in whole if name != cut)


@pytest.mark.parametrize("criterion, reason", [
    ({"loss_threshold": 0.5}, "loss 0."), ({"accuracy": 0.9}, "validation accuracy 0.9"),
    ({"patience": 2}, "no improvement for 2 epochs")])
def test_it_stops_when_it_is_enough(criterion, reason):
    run = trainer(Settings(epochs=60, batch=8, rate=0.05, **criterion),
                  validation=patches(seed=1))
    history = run.run()
    assert run.stopped.startswith(reason) and 1 < len(history) < 60


def test_the_best_weights_are_kept():
    run = trainer(Settings(epochs=4, batch=8, rate=0.05), validation=patches(seed=1))
    seen = []
    run.on_epoch = lambda epoch: seen.append((epoch.validation, run.parameters(best=False)))
    run.run()
    best = max(seen, key=lambda entry: entry[0])[1]
    assert arrays_equal(run.parameters(), best)


def test_frozen_parameters_stay():
    net = small()
    run = trainer(net=net, frozen={net.nodes[0].name})
    assert run.plan.trained == ("conv2.weights", "conv2.bias")
    assert gradient_of(net.nodes[0].output) not in {item.result for item in run.plan.items}
    before = run.executor.download()
    run.run()
    after = run.executor.download()
    assert (before["conv0.weights"] == after["conv0.weights"]).all()
    assert (before["conv2.weights"] != after["conv2.weights"]).any()


class Swish(Node):
    """An operation without a gradient."""


def test_an_operation_without_gradient_is_named():
    builder = NetworkBuilder("strange.onnx", (6, 6, 1))
    builder.conv(2, (3, 3))
    builder.dense(2)
    network = builder.network
    first, last = network.nodes
    network.shapes["odd.y"] = network.shapes[first.output]
    network.nodes[1:] = [Swish(name="odd", inputs=last.inputs, output="odd.y"),
                         replace(last, inputs=("odd.y",))]
    with pytest.raises(UnsupportedError, match=r"strange.onnx.*odd \(Swish\) has no gradient"):
        plan_training(network)
    frozen = plan_training(network, frozen={"conv0"})
    assert {item.node for item in frozen.backward} == {network.nodes[-1]}
    with pytest.raises(ValueError, match="no operation 'conv9' to freeze"):
        plan_training(network, frozen={"conv9"})
    with pytest.raises(ValueError, match="nothing to train"):
        plan_training(small(), frozen={"conv0", "conv2"})


def test_bad_samples_are_refused():
    x, labels = patches()
    with pytest.raises(DataError, match=r"label 3 of sample 7 is outside 0..2"):
        trainer(data=(x, np.where(np.arange(96) == 7, 3, labels)))
    with pytest.raises(DataError, match=r"5 x 6 x 1, the network reads 6 x 6 x 1"):
        trainer(data=(x[:, :5], labels))
    with pytest.raises(DataError, match="input 4 holds NaN"):
        trainer(data=(np.where(np.arange(96)[:, None, None, None] == 4, np.nan, x), labels))
    with pytest.raises(DataError, match="5 samples do not fill a batch of 8"):
        trainer(data=(x[:5], labels[:5]))
    with pytest.raises(DataError, match="inputs are of type <U"):
        trainer(data=(x.astype(str), labels))
    with pytest.raises(DataError, match="there are no samples"):
        trainer(data=(x[:0], labels[:0]))
    with pytest.raises(DataError, match="96 inputs with 95 targets"):
        trainer(data=(x, labels[:95]))
    with pytest.raises(DataError, match="one whole number a sample"):
        trainer(data=(x, labels / 2))


def test_a_rate_that_does_not_fit_and_one_that_diverges():
    with pytest.raises(TrainingError, match="learning rate 1e.12 does not fit 16 bits.*lower"):
        trainer(Settings(epochs=1, batch=8, rate=1e12)).run()
    with pytest.raises(TrainingError, match="diverged"):
        trainer(Settings(epochs=50, batch=8, rate=30.0), loss="mse",
                data=(patches()[0], np.eye(3)[patches()[1]])).run()


def test_a_batch_too_large_for_the_accumulators():
    builder = NetworkBuilder("wide", (1, 300, 1))
    builder.conv(1, (1, 1))
    builder.dense(2)
    x, labels = np.zeros((300, 1, 300, 1)), np.zeros(300, int)
    with pytest.raises(CapacityError, match="the largest micro-batch is 218"):
        trainer(Settings(batch=256), net=builder.network, data=(x, labels))


@pytest.mark.parametrize("option, message", [
    ({"epochs": 0}, "epochs must be at least 1"), ({"rate": -1.0}, "learning rate"),
    ({"rate": float("nan")}, "learning rate"), ({"momentum": 1.0}, "momentum"),
    ({"decay": -0.1}, "weight decay"), ({"seed": 0}, "seed")])
def test_settings_without_sense(option, message):
    with pytest.raises(TrainingError, match=message):
        Settings(**option)


def test_settings_that_do_not_go_with_the_samples():
    with pytest.raises(TrainingError, match="to stop at an accuracy of 0.9 there must be val"):
        trainer(Settings(accuracy=0.9))
    x, labels = patches()
    with pytest.raises(TrainingError, match="which only the cross-entropy has"):
        trainer(loss="mse", data=(x, np.eye(3)[labels]), validation=(x, np.eye(3)[labels]))


def test_schedules():
    assert [Steps(2, 0.5).factor(e) for e in (0, 1.9, 2, 4.5)] == [1, 1, 0.5, 0.25]
    assert Cosine(4, 0.1).factor(0) == 1 and Cosine(4, 0.1).factor(4) == pytest.approx(0.1)
    assert Cosine(4).factor(2) == pytest.approx(0.5)


def test_checkpoints_are_whole_or_refused(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    run = trainer(checkpoint=path)
    run.run()
    content = path.read_bytes()

    def fail(*_):
        raise OSError("the power fails")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(DataError, match="cannot be written: the power fails"):
        run.save()
    monkeypatch.undo()
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]

    torn = tmp_path / "torn.npz"
    for size in (0, 100, len(content) // 2, len(content) - 1):
        torn.write_bytes(content[:size])
        with pytest.raises(DataError, match="not a whole checkpoint"):
            trainer().resume(torn)
    with torn.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="not a whole checkpoint"):
        trainer().resume(torn)
    with pytest.raises(DataError, match="cannot be written: the folder of the output file"):
        run.save(tmp_path / "nowhere" / "run.npz")
    with pytest.raises(DataError, match="no such checkpoint"):
        trainer().resume(tmp_path / "missing.npz")
    with pytest.raises(DataError, match="another network"):
        trainer(net=small(classes=4)).resume(path)
    with pytest.raises(DataError, match="batch = 8, this one has 16"):
        trainer(Settings(batch=16)).resume(path)
