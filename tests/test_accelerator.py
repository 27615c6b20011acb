"""What runs on an accelerator neither waits for it nor mixes devices, shown on one pretended; and
the step that leaves its flag there against the step that reads it."""

import itertools

import pytest
import torch
from test_guards import Poisoned, config_of, network
from timing.pretend import DEVICE, DeviceError, Kernels, accelerator
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from convtimenet.config import ModelConfig
from convtimenet.data.windows import Exogenous, LabelledCases, Windows
from convtimenet.network.inference import fuse
from convtimenet.network.model import ConvTimeNet
from convtimenet.training.step import Step

CPU = torch.device("cpu")
TASKS = ("forecast", "classify")
L, H, C, T = 48, 6, 3, 200
SIZES = {"d_model": 8, "d_ff": 16, "kernel_sizes": (7,), "patch_size": 8, "patch_stride": 4}
TWO_BLOCKS = {"kernel_sizes": (7, 19)}
COVARIATES = {"hist_exog": 1, "futr_exog": 2, "stat_exog": 1, "stat_categories": (4,)}
# What changes which operations run, by task.
OPTIONS = {
    "plain": ("forecast", TWO_BLOCKS),
    "masks": ("forecast", {}),
    "gaps": ("forecast", {"kernel_sizes": (19,)}),
    "quantiles": ("forecast", {"quantiles": (0.1, 0.5, 0.9)}),
    "affine": ("forecast", {"revin_affine_channels": C}),
    "last": ("forecast", {"revin_subtract_last": True, "small_kernel": 3}),
    "layer norm": ("forecast", {"norm": "layer"}),
    "covariates": ("forecast", COVARIATES),
    "long rows": ("forecast", {"patch_size": 2, "patch_stride": 1, "kernel_sizes": (3, 5)}),
    "classes": ("classify", TWO_BLOCKS),
    "unequal cases": ("classify", {}),
    "rigid": ("classify", {"deformable": False}),
}


def pretended(option: str) -> tuple[ConvTimeNet, Windows | LabelledCases]:
    """A network on the pretended device and examples for it; within `accelerator`."""
    task, settings = OPTIONS[option]
    given = {**SIZES, **settings}
    with DEVICE:
        if task == "classify":
            cases = LabelledCases.__new__(LabelledCases)  # whether all are known is read once
            cases.x, cases.y = torch.empty(64, C, L), torch.empty(64, dtype=torch.int64)
            cases.weight, cases.complete = torch.empty(64), option != "unequal cases"
            sizes = {"channels": C, "context_length": L, "n_classes": 4}
            return ConvTimeNet(ModelConfig.classification(**sizes, **given)), cases
        known = torch.empty(C, T, dtype=torch.bool) if option in ("masks", "gaps") else None
        exogenous = None
        if option == "covariates":
            exogenous = Exogenous(
                hist=torch.empty(1, T),
                futr=torch.empty(2, T),
                stat=torch.empty(5, 1),
                categories=torch.empty(5, 1, dtype=torch.int64),
                bounds=torch.empty(6, dtype=torch.int64),
            )
        starts = torch.arange(T - L - H)
        masks = option == "masks"
        windows = Windows(torch.empty(C, T), starts, L, H, known, masks, exogenous)
        return ConvTimeNet(ModelConfig.forecasting(context_length=L, horizon=H, **given)), windows


@pytest.mark.parametrize("option", OPTIONS)
def test_a_step_stays_on_the_device(option):
    clip = None if option == "plain" else 1.0
    with accelerator():
        model, examples = pretended(option)
        step = Step(model.train(), examples, config_of(clip_norm=clip), DEVICE)
        step.leave_flag()
        index = torch.arange(16, device=DEVICE)
        kernels = Kernels()
        with kernels:
            for _ in range(2):  # Adam's state is made in the first
                step._whole(index)
        assert all(p.grad is not None and p.grad.device == DEVICE for p in model.parameters())
    assert kernels.calls["_fused_adam_"] == 2
    assert kernels.calls["native_dropout"] > 0


@pytest.mark.parametrize("option", OPTIONS)
def test_predicting_stays_on_the_device(option):
    with accelerator():
        model, examples = pretended(option)
        index = torch.arange(16, device=DEVICE)
        counts = []
        for network in (model.eval(), fuse(model)):
            kernels = Kernels()
            with kernels, torch.no_grad():
                batch = examples.batch(index)
                y = network(*batch.inputs)
            assert y.device == DEVICE
            assert y.shape[0] == 16
            counts.append(sum(kernels.calls.values()))
    assert counts[1] < counts[0]


def test_the_pretended_device_notices():
    """Otherwise the tests above would show nothing."""
    with accelerator(), Kernels():
        x = torch.ones(3, device=DEVICE)
        with pytest.raises(DataDependentOutputException):
            float(x.sum())
        with pytest.raises(DynamicOutputShapeException):
            x[x > 0]
        with pytest.raises(DeviceError):
            torch.tensor([1.0, 2.0], device=DEVICE)
        with pytest.raises(DeviceError):
            x[torch.arange(2)]
        with pytest.raises(DeviceError):
            x.cpu()


def test_bytes_and_calls_are_counted():
    with accelerator():
        x, weight = torch.empty(2, 5, device=DEVICE), torch.empty(3, 2, device=DEVICE)
        bias = torch.empty(3, device=DEVICE)
        kernels = Kernels()
        with kernels:
            torch.addmm(bias[:, None], weight, x).relu().view(-1)
    assert kernels.calls == {"addmm": 1, "relu": 1}
    # bias 3, weight 6, x 10, result 15 and the bias written and read in full
    assert kernels.bytes == {"addmm": 4 * (3 + 6 + 10 + 15 + 30), "relu": 4 * 30}


class Double(Poisoned):
    """In float64: rounding moves no weight whose gradient is zero."""

    def batch(self, index):
        batch = super().batch(index)
        y = batch.y.double() if batch.y.is_floating_point() else batch.y
        return batch._replace(x=batch.x.double(), y=y)


class TestFlagOnTheDevice:
    """CUDA's way to leave a bad step out, played by the CPU's own fused Adam."""

    @pytest.mark.parametrize("clip", [None, 0.1])
    @pytest.mark.parametrize("task", TASKS)
    def test_steps_agree_with_those_that_read_their_flag(self, task, clip):
        states, counts = [], []
        for leave in (False, True):
            examples = Double(task, {2, 5})
            examples.drawn = itertools.count()
            model = network(task, dropout=0.0).double().train()
            step = Step(model, examples, config_of(clip_norm=clip), CPU)
            if leave:
                step.leave_flag()
                assert not step.reads_back
            for n in range(8):
                if n == 4:
                    step.set_rate(1e-3)
                step(torch.arange(n, n + 16))
            states.append(step.state())
            counts.append((step.counts.tolist(), float(step.total)))
        assert counts[0][0] == [6 * 16, 2, 0]
        assert counts[1][0] == counts[0][0]
        assert counts[1][1] == pytest.approx(counts[0][1], rel=1e-5)
        assert states[0].keys() == states[1].keys()
        for name, value in states[0].items():
            torch.testing.assert_close(states[1][name], value, rtol=1e-6, atol=1e-9)

    def test_a_bad_step_changes_nothing(self):
        examples = Poisoned("forecast", {2})
        examples.drawn = itertools.count()
        step = Step(network("forecast").train(), examples, config_of(), CPU)
        step.leave_flag()
        for n in range(2):
            step(torch.arange(n, n + 16))
        before = {name: value.clone() for name, value in step.state().items()}
        step(torch.arange(16))
        assert all(torch.equal(value, before[name]) for name, value in step.state().items())
        assert step.counts[1:].tolist() == [1, 1]
        step(torch.arange(16))
        assert step.counts[1:].tolist() == [1, 0]
        assert not torch.equal(step.state()["adam.0.exp_avg"], before["adam.0.exp_avg"])
