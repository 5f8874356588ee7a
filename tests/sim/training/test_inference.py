"""What was learnt in fixed point runs elsewhere: as a float ONNX model, and as int8."""

import numpy as np

from systolith.sim import golden
from systolith.sim.training.golden import GoldenExecutor
from systolith.sw.importer import import_onnx
from systolith.sw.importer.check import check_model
from systolith.sw.quantize import quantize
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.model import TrainableModel
from systolith.sw.train.settings import Settings
from systolith.sw.train.trainer import Trainer
from tests.onnx_models import Model, reference
from tests.training_networks import patches


def test_a_trained_model_becomes_onnx_and_int8():
    model = Model((1, 6, 6))
    x = model.node("Relu", model.conv("x", 6, 1, (3, 3), pads=[1, 1, 1, 1]))
    x = model.node("Flatten", model.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    trainable = TrainableModel(model.finish(model.gemm(x, 3, 54)), "patches.onnx")
    plan = plan_training(trainable.network)
    (x, labels), (unseen, answers) = patches(192), patches(seed=1)
    trainer = Trainer(plan, GoldenExecutor(plan), Settings(epochs=10, batch=8, rate=0.05), x,
                      labels, validation=(unseen, answers))
    trainer.run()
    images = np.moveaxis(unseen, -1, 1).astype(np.float32)
    before = reference(trainable.updated(trainable.network.parameters), images)[0]
    learnt = trainable.updated(trainer.parameters())
    logits = reference(learnt, images)[0]
    assert (before.argmax(axis=1) == answers).mean() < 0.7
    best = max(epoch.validation for epoch in trainer.history)
    assert best > 0.95
    # 16 bits and float32 may decide differently where two logits are equal but for rounding
    assert abs((logits.argmax(axis=1) == answers).mean() - best) <= 2 / len(answers)

    checked = check_model(learnt, "learnt.onnx")
    graph = import_onnx(quantize(checked, "learnt.onnx", images[:64]), "int8.onnx")
    (int8,) = golden.run_model(graph, images)
    assert abs((int8.argmax(axis=1) == answers).mean() - best) <= 0.03
