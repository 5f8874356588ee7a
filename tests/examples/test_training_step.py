"""A step of training LeNet-5: its cycles by the model now, by the RTL when there is time."""

import numpy as np
import pytest

from systolith.boards.targets import find_config
from systolith.examples import training_step
from systolith.examples.benchmark import grown, predictions
from systolith.examples.fixed_point import lenet
from systolith.sim.training.compared import Compared, Difference
from systolith.sim.training.golden import GoldenExecutor
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.scales import Scales
from tests.training_networks import small

CONFIG = find_config("ulx3s-85f-train")


def test_multiply_accumulates_of_an_image():
    assert plan_training(lenet(1)).macs == 758_520


def test_a_step_has_not_become_slower():
    (name, cycles), = predictions(CONFIG)
    assert name == training_step.NETWORK and grown(CONFIG.name, name, cycles) is None


def test_executors_that_differ_are_told():
    plan = plan_training(small())
    scales = Scales(plan, 1.0)
    first, second = GoldenExecutor(plan), GoldenExecutor(plan)
    both = Compared(rtl=first, golden=second)
    both.upload(scales.stored())
    x = np.full((2, 6, 6, 1), 1000, np.int16)
    both.accumulate(x, np.array([0, 1]), scales.exponents, 1)
    assert both.predict(x, scales.exponents).shape == (2, 1, 1, 3)
    second.arrays["conv2.weights"][:] = -5000
    for call, message in ((lambda: both.predict(x, scales.exponents), "logits differ between rtl"),
                          (lambda: both.accumulate(x, np.array([0, 1]), scales.exponents, 2),
                           "different ranges or losses of accumulate"),
                          (both.download, "conv2.weights differs between rtl and golden")):
        with pytest.raises(Difference, match=message):
            call()
