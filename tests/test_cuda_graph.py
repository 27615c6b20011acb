"""The captured training step does what the eager one does; and when it is not used."""

import pytest
import torch
from test_guards import Poisoned, config_of, network

from convtimenet.cuda_graph import Graphed
from convtimenet.devices import seeded
from convtimenet.step import Step
from convtimenet.training import train
from convtimenet.windows import Windows

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
TASKS = ("forecast", "classify")


class OnCuda(Poisoned):
    """The same examples on the device; a batch is one gather and nothing is read back."""

    def __init__(self, task: str):
        super().__init__(task, set())
        for name, value in vars(self.clean).items():
            if isinstance(value, torch.Tensor):
                setattr(self.clean, name, value.cuda())

    def batch(self, index):
        return self.clean.batch(index)


def on_cuda(task: str, graph: bool, **settings) -> Step:
    device = torch.device("cuda")
    model = network(task, **settings).to(device).train()
    step = Step(model, OnCuda(task), config_of(), device)
    if not graph:
        step.graphed = None
    return step


def test_on_cpu_a_step_is_eager_and_reads_its_flag():
    step = Step(network("forecast"), Poisoned("forecast", set()), config_of(), CPU)
    assert step.graphed is None
    assert step.reads_back


class Stream:
    """What `Graphed` needs of a stream, on a machine without any."""

    def __init__(self, *_):
        pass

    def wait_stream(self, other):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class Generator:
    def __init__(self):
        self.restored = []

    def clone_state(self):
        return "before"

    def graphsafe_set_state(self, state):
        self.restored.append(state)


@pytest.fixture
def fake_cuda(monkeypatch):
    """torch.cuda's graph calls, played on the CPU: a capture notes the call, a replay makes it."""
    calls, generator = [], Generator()

    class Graph:
        def replay(self):
            calls.append("replay")

    class Capture:
        def __init__(self, graph, stream, capture_error_mode):
            assert capture_error_mode == "thread_local"

        def __enter__(self):
            calls.append("capture")

        def __exit__(self, kind, *_):
            calls.append("captured")
            if kind is not None:  # torch ends the capture first, and leaves its stream current
                raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda _: calls.append("back on"))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    monkeypatch.setattr(torch.cuda, "default_generators", (generator,))
    return calls, generator


class TestOrder:
    def test_warm_up_capture_replay(self, fake_cuda):
        calls, _ = fake_cuda
        graphed = Graphed(2, CPU)

        def note(index):
            calls.append(index.tolist())

        for n in range(5):
            assert graphed(note, torch.tensor([n, n + 1]))
        assert calls[:3] == [[0, 1], [1, 2], [2, 3]]
        # the call within the capture only records; its first replay does the fourth batch
        assert calls[3:] == ["capture", [3, 4], "captured", "replay", "replay"]
        assert graphed.index.tolist() == [4, 5]

    def test_other_sizes_are_left_to_the_caller(self, fake_cuda):
        calls, _ = fake_cuda
        graphed = Graphed(2, CPU)
        assert not graphed(calls.append, torch.tensor([1, 2, 3]))
        assert calls == []

    def test_a_failed_capture_is_said_once_and_not_tried_again(self, fake_cuda, caplog):
        calls, generator = fake_cuda

        def step(index):
            if calls and calls[-1] == "capture":
                raise RuntimeError("operation not permitted when stream is capturing\nmore")
            calls.append(index.tolist())

        graphed = Graphed(1, CPU)
        done = [graphed(step, torch.tensor([n])) for n in range(6)]
        assert done == [True] * 3 + [False] * 3
        assert generator.restored == ["before"]
        assert calls.count("capture") == 1
        assert calls[-1] == "back on"
        assert caplog.messages == [
            "training runs without a CUDA graph: operation not permitted when stream is capturing"
        ]


@pytest.mark.gpu
@needs_cuda
class TestOnDevice:
    @pytest.mark.parametrize("task", TASKS)
    def test_graph_and_eager_steps_agree(self, task):
        states = []
        for graph in (False, True):
            step = on_cuda(task, graph, dropout=0.0)
            for n in range(12):
                step(torch.arange(n, n + 16, device="cuda"))
                if n == 6:
                    step.set_rate(1e-3)
            if graph:
                assert step.graphed is not None
                assert step.graphed.graph is not None
            states.append({name: value.clone() for name, value in step.state().items()})
            assert step.counts.tolist() == [12 * 16, 0, 0]
        for name, value in states[0].items():
            torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-5)

    def test_every_replay_draws_other_dropout(self):
        step = on_cuda("forecast", True, dropout=0.5)
        index, losses = torch.arange(16, device="cuda"), []
        step.set_rate(0.0)
        for _ in range(8):
            step.begin_epoch()
            step(index)
            losses.append(float(step.total))
        assert len(set(losses)) == 8

    def test_a_bad_batch_changes_nothing_in_a_replay(self):
        step = on_cuda("forecast", True)
        index = torch.arange(16, device="cuda")
        for _ in range(6):
            step(index)
        before = {name: value.clone() for name, value in step.state().items()}
        assert isinstance(step.examples, OnCuda)
        assert isinstance(step.examples.clean, Windows)
        step.examples.clean.all[0, 3] = torch.nan
        step(index)
        assert all(torch.equal(value, before[name]) for name, value in step.state().items())
        assert step.counts[1:].tolist() == [1, 1]

    def test_no_step_waits_for_the_device(self):
        step = on_cuda("classify", True)
        index = torch.arange(16, device="cuda")
        for _ in range(5):
            step(index)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(5):
                step(index)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    @pytest.mark.parametrize("task", TASKS)
    def test_a_whole_training_works(self, task):
        device = torch.device("cuda")
        with seeded(1, device):
            model = network(task).to(device)
            history = train(
                model, OnCuda(task), None, config_of(epochs=6), device=device, verbose=0
            )
        assert history.steps == 24
        assert history.skipped == 0
        assert history.epochs[-1].train_loss < history.epochs[0].train_loss
