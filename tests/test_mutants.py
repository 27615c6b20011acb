"""Changes to the source that no test used to notice: what each would break is asserted here."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
from convtimenet import files as files_
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import Windows
from convtimenet.devices import RandomNumbers
from convtimenet.files import write_whole
from convtimenet.network.kernels import native
from convtimenet.network.model import ConvTimeNet
from convtimenet.training import loop
from convtimenet.training.checkpoint import Checkpoints
from convtimenet.training.interrupt import StopRequest
from convtimenet.training.loop import train
from convtimenet.training.step import Step

CPU = torch.device("cpu")
SIZES = {"d_model": 4, "d_ff": 8, "kernel_sizes": (3,), "patch_size": 4, "patch_stride": 2}
needs_kernels = pytest.mark.skipif(native.library() is None, reason="no C++ compiler here")


def network(**settings) -> ConvTimeNet:
    torch.manual_seed(0)
    return ConvTimeNet(
        ModelConfig.forecasting(context_length=12, horizon=3, **{**SIZES, **settings})
    )


def windows(end: int = 60) -> Windows:
    values = torch.randn(2, 80, generator=torch.Generator().manual_seed(9))
    return Windows.between(values, 12, 3, 0, end)


def config_of(**given) -> TrainConfig:
    return TrainConfig(**{"batch_size": 16, "lr": 1e-2, "device": "cpu", **given})


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX")
class TestWriteWhole:
    """After a power cut a file is there whole or not at all: its content is on the disk before its
    name is, and the name is before the call returns."""

    @pytest.fixture
    def calls(self, monkeypatch, tmp_path):
        """What reaches the disk, in order: files as their size at that moment."""
        calls = []
        sync, replace = os.fsync, os.replace

        def fsync(descriptor):
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            calls.append(("sync", "folder" if path.is_dir() else path.stat().st_size, path))
            sync(descriptor)

        def moved(source, target):
            calls.append(("name", Path(source), Path(target)))
            replace(source, target)

        monkeypatch.setattr(files_.os, "fsync", fsync)
        monkeypatch.setattr(files_.os, "replace", moved)
        return calls

    @pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
    @pytest.mark.parametrize("times", [1, 400])  # within Python's buffer, and past it
    def test_content_then_name_then_folder(self, calls, tmp_path, times):
        target, data = tmp_path / "state", bytes(range(256)) * times
        write_whole(target, data)
        (first, size, partial), (second, source, named), (third, what, folder) = calls
        assert (first, second, third) == ("sync", "name", "sync")
        assert size == len(data)
        assert partial == source != target
        assert named == target
        assert (what, folder) == ("folder", tmp_path)
        assert target.read_bytes() == data

    def test_writers_with_one_process_id(self, monkeypatch, tmp_path):
        """As in two containers on a shared disk: each file is whole, the last one counts."""
        target, sync, others = tmp_path / "state", os.fsync, [b"second"]

        def fsync(descriptor):
            if others:
                write_whole(target, others.pop())
            sync(descriptor)

        monkeypatch.setattr(files_.os, "fsync", fsync)
        write_whole(target, b"first")
        assert target.read_bytes() == b"first"
        with files_.whole_file(target) as one, files_.whole_file(target) as other:
            one.write("one")
            other.write("other")
        assert target.read_bytes() == b"one"
        assert list(tmp_path.iterdir()) == [target]

    def test_a_failed_sync_leaves_what_was_there(self, monkeypatch, tmp_path):
        target = tmp_path / "state"
        target.write_bytes(b"before")

        def fails(_):
            raise OSError("the disk is full")

        monkeypatch.setattr(files_.os, "fsync", fails)
        with pytest.raises(OSError, match="full"):
            write_whole(target, b"after")
        assert target.read_bytes() == b"before"
        assert list(tmp_path.iterdir()) == [target]


class TestPatience:
    """Validation scores are played, so that it is known when to stop."""

    SCORES = (5.0, 3.0, 4.0, 3.5, 2.0, 6.0, 7.0, 8.0, 9.0, 1.0)

    @pytest.mark.parametrize(
        ("patience", "epochs", "best"), [(1, 3, 2), (2, 4, 2), (3, 8, 5), (4, 9, 5), (None, 10, 10)]
    )
    def test_training_stops_after_so_many_epochs_without_a_better_score(
        self, monkeypatch, patience, epochs, best
    ):
        left = iter(self.SCORES)
        seen = []

        def scored(model, *_, **__):
            seen.append([v.clone() for v in model.state_dict().values()])
            return {"mse": next(left)}

        monkeypatch.setattr(loop, "evaluate", scored)
        monkeypatch.setattr(loop, "fuse", lambda model: model)
        model = network()
        given = config_of(epochs=10, patience=patience)
        history = train(model, windows(), windows(40), given, device=CPU, verbose=0)
        assert [e.valid["mse"] for e in history.epochs] == list(self.SCORES[:epochs])
        assert history.best_epoch == best
        if patience is None:
            assert history.stopped == "all 10 epochs done"
        else:
            assert history.stopped == f"no better validation mse for {patience} epochs"
        kept = model.state_dict().values()
        assert all(torch.equal(a, b) for a, b in zip(kept, seen[best - 1], strict=True))

    def test_an_equal_score_is_not_better(self, monkeypatch):
        monkeypatch.setattr(loop, "evaluate", lambda *_, **__: {"mse": 2.0})
        given = config_of(epochs=10, patience=3)
        history = train(network(), windows(), windows(40), given, device=CPU, verbose=0)
        assert (history.best_epoch, len(history.epochs)) == (1, 4)


class TestRefit:
    @pytest.mark.parametrize("best", [1, 3])
    def test_it_trains_on_everything_for_the_epochs_that_were_best(self, monkeypatch, best):
        """Neither for all of them nor until patience ends: the same bits as a training on all
        cases for so many epochs."""
        X = np.random.default_rng(0).normal(size=(50, 2, 20))
        y = np.arange(50) % 2
        sizes = {"d_model": 4, "d_ff": 8, "kernel_sizes": (3,), "dropout": 0.2}
        given = {"device": "cpu", "verbose": 0, "batch_size": 16}
        given["model"] = sizes | {"random_patches": 0}
        own = {"schedule": "decay"}
        once = ConvTimeNetClassifier(
            n_epochs=best, training={"validation_fraction": 0, **own}, **given
        ).fit(X, y)
        left = iter(range(1, 7))
        monkeypatch.setattr(
            loop, "evaluate", lambda *_, **__: {"loss": abs(next(left) - best) + 0.5}
        )
        model = ConvTimeNetClassifier(n_epochs=6, training={"refit": True, **own}, **given)
        steps = []
        whole = Step.__call__
        monkeypatch.setattr(Step, "__call__", lambda s, i: (steps.append(len(i)), whole(s, i)))
        model.fit(X, y)
        assert model.history_.best_epoch == best
        assert model.history_.refitted
        chosen = model.history_.steps
        assert sum(steps[chosen:]) == best * 50
        expected = once.network_.state_dict()
        found = model.network_.state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def factor(statistics: tuple[torch.Tensor, torch.Tensor], M: int) -> torch.Tensor:
    """What kept values became, from mean and unbiased variance of values that are 0 or that."""
    mean, variance = (t.double() for t in statistics)
    return (variance * (M - 1) / M + mean.square()) / mean


@needs_kernels
class TestDropoutOfTheKernels:
    """Kept values are divided by the share that is kept, so that the mean stays: the exact factor
    of each of a block's three dropouts, read from the statistics its norms saw."""

    D, F, R, N = 8, 16, 64, 100

    def block(self, p: float, *, hidden: bool):
        """A block whose branches are constant: 0.7, and 1.3 or (through a hidden value) gelu(0.9);
        what reaches the second norm comes from its branch alone."""
        D, F, none = self.D, self.F, torch.zeros
        narrow = none(D, F)
        if hidden:
            narrow[:, 0] = 1.0
        weights = native.TrainWeights(
            kernel=none(D, 3), kernel_bias=torch.full((D,), 0.9), a1=torch.tensor(2.0),
            gamma1=none(D), beta1=none(D), widen=none(F, D), widen_bias=torch.full((F,), 0.9),
            narrow=narrow, narrow_bias=none(D) if hidden else torch.full((D,), 1.3),
            a2=torch.tensor(0.5), gamma2=torch.ones(D), beta2=none(D),
        )  # fmt: skip
        with RandomNumbers(5, CPU).in_use():
            return native.train_block(none(D, self.R, self.N), weights, p, 1e-5)[1:]

    @pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
    def test_the_factor_is_that_of_the_share_kept(self, p):
        M, inner = self.R * self.N, gelu(torch.tensor(0.9)).item()
        first, second = self.block(p, hidden=False)
        scale = 1 / (1 - p)
        for statistics, value in ((first, 2.0 * inner), (second, 0.5 * 1.3)):
            torch.testing.assert_close(
                factor(statistics, M), torch.full((self.D,), value * scale).double(),
                rtol=2e-5, atol=0,
            )  # fmt: skip
            share = statistics[0] / (value * scale)
            assert (share - (1 - p)).abs().max() < 5 * (p * (1 - p) / M) ** 0.5
        # twice dropped: the hidden value, and what it gives
        _, second = self.block(p, hidden=True)
        torch.testing.assert_close(
            factor(second, M), torch.full((self.D,), 0.5 * inner * scale**2).double(),
            rtol=2e-5, atol=0,
        )  # fmt: skip

    def test_none_is_dropped_at_zero(self):
        inner = gelu(torch.tensor(0.9))
        first, second = self.block(0.0, hidden=False)
        torch.testing.assert_close(first[0], (2.0 * inner).expand(self.D))
        torch.testing.assert_close(second[0], torch.full((self.D,), 0.65))
        assert first[1].abs().max() < 1e-9

    @pytest.mark.parametrize("p", [0.2, 0.5])
    def test_gradients_carry_the_same_factor(self, p):
        """The gradient of a branch's scale: what was kept of it, times the factor."""
        torch.manual_seed(2)
        D, R, N = self.D, 4, 30
        a1 = torch.tensor(0.8, requires_grad=True)
        weights = native.TrainWeights(
            kernel=torch.randn(D, 3) / 2, kernel_bias=torch.randn(D), a1=a1,
            gamma1=torch.ones(D), beta1=torch.zeros(D), widen=torch.randn(self.F, D) / 3,
            widen_bias=torch.randn(self.F), narrow=torch.randn(D, self.F) / 3,
            narrow_bias=torch.randn(D), a2=torch.tensor(0.6), gamma2=torch.ones(D),
            beta2=torch.zeros(D),
        )  # fmt: skip
        u, towards = torch.randn(D, R, N), torch.randn(D, R, N)

        def value(scale: torch.Tensor) -> torch.Tensor:
            with RandomNumbers(5, CPU).in_use():
                w = native.train_block(u, weights._replace(a1=scale), p, 1e-5)[0]
            return (w.double() * towards).sum()

        value(a1).backward()
        small = 1e-2
        with torch.no_grad():
            slope = (value(a1 + small) - value(a1 - small)) / (2 * small)
        assert a1.grad is not None
        assert a1.grad.item() == pytest.approx(slope.item(), rel=5e-3)


class TestResume:
    @pytest.mark.parametrize("norm", ["batch", "layer"])
    @pytest.mark.parametrize("stop", [2, 5])
    def test_dropout_goes_on_where_it_stood(self, tmp_path, monkeypatch, norm, stop):
        """The generator's state is the one of the checkpoint, not of a new training: without that
        the second half would drop other values."""
        given = config_of(epochs=3, patience=None, checkpoint_seconds=0.0)
        settings = {"dropout": 0.5, "norm": norm, "residual_init": 1.0}

        def trained(numbers, folder, steps):
            request, model = StopRequest(), network(**settings)
            left, whole = iter(range(1, 99)), Step.__call__

            def step(self, index):
                whole(self, index)
                if next(left) == steps:
                    request.signal = 2

            with monkeypatch.context() as patched:
                patched.setattr(Step, "__call__", step)
                store = None if folder is None else Checkpoints(folder, "choose", {})
                train(
                    model, windows(), None, given, device=CPU, verbose=0, numbers=numbers,
                    checkpoints=store, stop=request,
                )  # fmt: skip
            return model.state_dict()

        one = RandomNumbers(7, CPU)
        expected = trained(one, None, 0)
        trained(RandomNumbers(7, CPU), tmp_path, stop)
        again = RandomNumbers(12345, CPU)  # whatever a new process begins with
        found = trained(again, tmp_path, 0)
        assert torch.equal(again.state(), one.state())
        assert all(torch.equal(found[name], value) for name, value in expected.items())


class TestLastWindow:
    @pytest.mark.parametrize(("L", "H", "end"), [(12, 3, 60), (5, 1, 6), (4, 4, 80)])
    def test_it_ends_with_the_last_row(self, L, H, end):
        values = torch.arange(160.0).view(2, 80)
        found = Windows.between(values, L, H, 0, end)
        assert len(found) == end - L - H + 1
        last = found.batch(torch.tensor([len(found) - 1]))
        assert torch.equal(last.y[0], values[:, end - H : end])
        assert torch.equal(last.x[0], values[:, end - H - L : end - H])
        first = found.batch(torch.tensor([0]))
        assert torch.equal(first.x[0], values[:, :L])

    def test_every_series_has_its_own_last_window(self):
        values = torch.arange(40.0)[None]
        found = Windows.between(
            values, 4, 2, np.array([0, 20]), np.array([20, 40]), np.array([0, 20])
        )
        ends = [found.batch(torch.tensor([n])).y[0, 0, -1].item() for n in range(len(found))]
        assert ends == [*range(5, 20), *range(25, 40)]

    def test_training_reads_it(self):
        """The last row of the training split counts: another value there, other weights."""
        rows = np.sin(np.arange(80)[:, None] / np.array([2.0, 3.0]))
        given = {"h": 3, "input_size": 12, "n_epochs": 1, "batch_size": 16, "device": "cpu"}
        settings = {"model": SIZES, "scale": False, "verbose": 0}
        split, states = (50, 80), []
        for last in (0.0, 1.0):
            values = rows.copy()
            values[49] += last
            model = ConvTimeNetForecaster(**given, **settings)
            model.fit(values, split=split)
            assert model.n_examples_ == {"fitted": 50 - 12 - 3 + 1, "held_back": 30 - 3 + 1}
            states.append(model.network_.state_dict())
        assert any(not torch.equal(states[1][name], value) for name, value in states[0].items())

    def test_every_window_is_in_an_epoch_where_none_is_left_out(self, monkeypatch):
        seen, whole = [], Step.__call__

        def step(self, index):
            seen.extend(index.tolist())
            whole(self, index)

        monkeypatch.setattr(Step, "__call__", step)
        found = windows()
        train(network(), found, None, config_of(epochs=1), device=CPU, verbose=0)
        assert sorted(seen) == list(range(60 - 12 - 3 + 1))
