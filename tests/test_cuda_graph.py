"""The captured training step does what the eager one does; and when it is not used."""

import copy

import pytest
import torch
from test_accelerator import Double
from test_guards import Poisoned, config_of, network

from convtimenet.batch import Batch
from convtimenet.data.windows import Windows
from convtimenet.network.inference import fuse
from convtimenet.training.cuda_graph import Graphed
from convtimenet.training.loop import train
from convtimenet.training.step import Step

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


class DoubleOnCuda(OnCuda):
    """In float64."""

    def __init__(self, task: str):
        super().__init__(task)
        for name, value in vars(self.clean).items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                setattr(self.clean, name, value.double())


class Repeated:
    """The same few windows of noise, over and over."""

    def __init__(self, n: int):
        self.x = torch.randn(64, 8, 12, device="cuda")
        self.n = n

    def __len__(self) -> int:
        return self.n

    def batch(self, index):
        x = self.x[index % 64]
        return Batch(x, x[..., :3])


def on_cuda(
    task: str,
    graph: bool,
    *,
    double=False,
    clip_norm=None,
    precision="fp32",
    augment=False,
    **settings,
) -> Step:
    device = torch.device("cuda")
    model = network(task, **settings).to(device).train()
    examples = OnCuda(task)
    if double:
        model, examples = model.double(), DoubleOnCuda(task)
    config = config_of(clip_norm=clip_norm, precision=precision, augment=augment)
    step = Step(model, examples, config, device)
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
        def __init__(self, graph, pool, stream, capture_error_mode):
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
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        monkeypatch.setattr(torch._C, name, lambda *given, name=name: calls.append((name, *given)))
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
        ended = [(name, 0, (0, 1)) for name in ("_cuda_endAllocateToPool", "_cuda_releasePool")]
        assert calls[-3:] == ["back on", *ended]
        assert caplog.messages == [
            "training runs without a CUDA graph: operation not permitted when stream is capturing"
        ]


def cloned(step: Step) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in step.state().items()}


@pytest.mark.gpu
@needs_cuda
class TestOnDevice:
    @pytest.mark.parametrize("clip", [None, 0.1])
    @pytest.mark.parametrize("task", TASKS)
    def test_graph_and_eager_steps_agree(self, task, clip):
        """In float64, where rounding moves no weight whose gradient is zero."""
        states = []
        for graph in (False, True):
            step = on_cuda(task, graph, clip_norm=clip, double=True, dropout=0.0)
            for n in range(12):
                # a batch of another size goes between two replays
                step(torch.arange(n, n + (10 if n == 8 else 16), device="cuda"))
                if n == 6:
                    step.set_rate(1e-3)
            if graph:
                assert step.graphed is not None
                assert step.graphed.graph is not None
            states.append(cloned(step))
            assert step.counts.tolist() == [11 * 16 + 10, 0, 0]
        for name, value in states[0].items():
            torch.testing.assert_close(states[1][name], value, rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("task", TASKS)
    def test_the_device_does_what_the_cpu_does(self, task):
        states = []
        for device in ("cpu", "cuda"):
            model = network(task, dropout=0.0).double().to(device).train()
            examples = Double(task, set()) if device == "cpu" else DoubleOnCuda(task)
            step = Step(model, examples, config_of(clip_norm=1.0), torch.device(device))
            for n in range(8):
                step(torch.arange(n, n + 16, device=device))
            states.append({name: value.cpu() for name, value in step.state().items()})
        for name, value in states[0].items():
            torch.testing.assert_close(states[1][name], value, rtol=1e-5, atol=1e-7)

    @pytest.mark.parametrize(
        ("task", "settings"),
        [
            ("forecast", {"quantiles": (0.1, 0.5, 0.9)}),
            ("forecast", {"revin_affine_channels": 2}),
            ("forecast", {"norm": "layer"}),
            ("classify", {"deformable": False}),
            ("classify", {"augment": True}),
        ],
    )
    def test_every_kind_of_network_is_captured(self, task, settings, caplog):
        step = on_cuda(task, True, **settings)
        for n in range(6):
            step(torch.arange(n, n + 16, device="cuda"))
        assert caplog.messages == []
        assert step.graphed is not None
        assert step.graphed.graph is not None
        assert all(value.isfinite().all() for value in step.state().values())

    @pytest.mark.parametrize("task", TASKS)
    def test_bf16_steps_are_captured_and_close(self, task, caplog):
        losses = []
        for precision in ("fp32", "bf16"):
            step = on_cuda(task, True, precision=precision, dropout=0.0)
            index = torch.arange(16, device="cuda")
            own = []
            for _ in range(30):
                step.begin_epoch()
                step(index)
                own.append(float(step.total) / 16)
            assert step.graphed is not None
            assert step.graphed.graph is not None
            assert all(p.dtype == torch.float32 for p in step.parameters)
            assert own[-1] < own[0]
            losses.append(own)
        assert caplog.messages == []
        assert losses[1][0] == pytest.approx(losses[0][0], rel=0.02)

    def test_every_replay_draws_other_dropout(self):
        # with the scale that residuals start with, the blocks hardly count
        step = on_cuda("forecast", True, dropout=0.5, residual_init=1.0)
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
        before = cloned(step)
        assert isinstance(step.examples, OnCuda)
        assert isinstance(step.examples.clean, Windows)
        step.examples.clean.all[0, 3] = torch.nan
        step(index)
        assert all(torch.equal(value, before[name]) for name, value in step.state().items())
        assert step.counts[1:].tolist() == [1, 1]

    def test_going_back_reaches_the_captured_weights(self):
        step = on_cuda("forecast", True, double=True, dropout=0.0)
        index = torch.arange(16, device="cuda")
        for _ in range(6):
            step(index)
        before = cloned(step)
        step(index)
        after = cloned(step)
        step.load(before)
        step(index)
        for name, value in step.state().items():
            torch.testing.assert_close(value, after[name], rtol=1e-9, atol=1e-12)

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

    def test_a_capture_that_breaks_leaves_training_as_it_was(self, caplog, monkeypatch):
        """The loss is read back, which no capture allows: all steps are plain, none is lost."""
        states = []
        for graph in (False, True):
            torch.cuda.manual_seed(1)
            step = on_cuda("forecast", graph, double=True, dropout=0.2)
            whole, run = step._whole, step.run
            monkeypatch.setattr(
                step, "_whole", lambda index, do=whole, run=run: (do(index), float(run))
            )
            for n in range(8):
                step(torch.arange(n, n + 16, device="cuda"))
            states.append(cloned(step))
            assert torch.cuda.current_stream() == torch.cuda.default_stream()
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("training runs without a CUDA graph: ")
        for name, value in states[0].items():
            torch.testing.assert_close(states[1][name], value, rtol=1e-6, atol=1e-9)

    def test_too_little_memory_cuts_batches_and_drops_the_graph(self, caplog):
        size = 4096
        examples = Repeated(size)
        used = []
        for share in (None, 0.7):
            torch.cuda.empty_cache()
            before = torch.cuda.memory_reserved()
            torch.cuda.reset_peak_memory_stats()
            model = network("forecast", d_model=32, d_ff=128).cuda().train()
            step = Step(model, examples, config_of(batch_size=size), torch.device("cuda"))
            total = torch.cuda.get_device_properties(0).total_memory
            if share is not None:
                limit = before + share * (used[0] - before)
                torch.cuda.set_per_process_memory_fraction(limit / total)
            try:
                for _ in range(2):
                    step(torch.arange(size, device="cuda"))
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0)
            used.append(torch.cuda.max_memory_reserved())
            assert step.counts.tolist() == [2 * size, 0, 0]
            assert step.parts.count in ((1,) if share is None else (2, 4))
            assert (step.graphed is None) == (share is not None)
            del step, model
        assert "memory ran out: training continues with batches in 2 parts" in caplog.messages

    @pytest.mark.parametrize("task", TASKS)
    def test_a_whole_training_works_and_gives_its_memory_back(self, task):
        device = torch.device("cuda")
        examples, kept = OnCuda(task), []
        for _ in range(2):
            model = network(task).to(device)
            history = train(model, examples, None, config_of(epochs=6), device=device, verbose=0)
            assert history.steps == 24
            assert history.skipped == 0
            assert history.epochs[-1].train_loss < history.epochs[0].train_loss
            del model
            kept.append(torch.cuda.memory_allocated())
        assert kept[1] == kept[0]

    @pytest.mark.parametrize("task", TASKS)
    def test_predictions_are_those_of_the_cpu(self, task):
        model = network(task).eval()
        x = Poisoned(task, set()).clean.batch(torch.arange(16)).x
        known = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)) > 0.2
        fused = fuse(model.double())
        for mask in (None, known):
            with torch.inference_mode():
                expected = fused(x.double(), mask)
                on_device = copy.deepcopy(fused).cuda()
                mask = None if mask is None else mask.cuda()
                found = on_device(x.double().cuda(), mask)
                torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-10)
                with torch.autocast("cuda", torch.bfloat16):
                    coarse = on_device.float()(x.cuda(), mask)
            error = (coarse.cpu().double() - expected).abs().max()
            assert error < 0.05 * expected.abs().max()

    def test_positions_stay_float32_under_autocast(self):
        patch = network("forecast").cuda().embedding.patch
        x = torch.randn(4, 1, 14, device="cuda")
        seen = []
        assert patch.predict is not None
        patch.predict.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
        with torch.autocast("cuda", torch.bfloat16):
            assert patch.sample(x).dtype == torch.float32
        assert seen == [torch.float32]
