"""The fused CPU kernels against the plain torch code they stand for."""

import copy
import os
import platform
import subprocess
import sys
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convtimenet.config import ModelConfig
from convtimenet.network.inference import FusedBlock, fuse
from convtimenet.network.kernels import native
from convtimenet.network.kernels.build import fitting
from convtimenet.network.model import Block, ConvTimeNet
from convtimenet.network.patches import interpolate
from convtimenet.network.revin import RevIN

pytestmark = pytest.mark.skipif(native.library() is None, reason="no C++ compiler here")


def mix(x: torch.Tensor) -> torch.Tensor:
    """The kernels' hash, in 64-bit whole numbers kept to 32 bits."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return x ^ (x >> 16)


def mask(seed: int, rows: int, columns: int, p: float) -> torch.Tensor:
    """What the kernels multiply with: 0 or 1 / (1 - p), (rows, columns)."""
    row = torch.arange(rows)[:, None]
    first = mix((row + mix(torch.tensor(seed & 0xFFFFFFFF))) & 0xFFFFFFFF)
    second = mix(first ^ (seed >> 32))
    x = ((torch.arange(columns) + first) * 0x9E3779B1) & 0xFFFFFFFF
    bits = mix(((x ^ (x >> 15)) + second) & 0xFFFFFFFF)
    threshold = int(p * 2**32)
    return (bits >= threshold) / (1 - threshold / 2**32)


class Masked(nn.Module):
    """Dropout with a given mask."""

    def __init__(self, values: torch.Tensor):
        super().__init__()
        self.values = values

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.values.view_as(x).to(x.dtype)


def make(D=8, hidden=24, k=5, small=3, dropout=0.2, residual="learnable", init=0.5) -> Block:
    config = ModelConfig.forecasting(
        context_length=96, horizon=4, d_model=D, d_ff=hidden, kernel_sizes=(k,), small_kernel=small,
        dropout=dropout, residual=residual, residual_init=init,
    )  # fmt: skip
    block = Block(config, k)
    for name, parameter in block.named_parameters():
        if "norm" in name:
            nn.init.normal_(parameter, 1.0, 0.3)
    return block


def plain(block: Block, R: int, N: int, seeds: list[int]) -> Block:
    """The same block in float64 torch code, with the masks the kernels draw from `seeds`."""
    twin = copy.deepcopy(block).double()
    twin.native = False
    D, hidden = block.pointwise.narrow.weight.shape
    p = block.pointwise.dropout.p
    twin.add_conv.dropout = Masked(mask(seeds[0], D, R * N, p))  # type: ignore[assignment]
    twin.pointwise.dropout = Masked(mask(seeds[1], hidden, R * N, p))  # type: ignore[assignment]
    twin.add_pointwise.dropout = Masked(mask(seeds[2], D, R * N, p))  # type: ignore[assignment]
    return twin


def assert_close(
    found: torch.Tensor, expected: torch.Tensor, what: str, scale: float | None = None
):
    largest = expected.abs().max().item() if scale is None else scale
    assert (found.double() - expected).abs().max().item() <= 2e-5 * largest + 1e-7, what


@settings(max_examples=25, deadline=None)
@given(
    R=st.integers(1, 9),
    N=st.integers(1, 70),
    k=st.integers(1, 45),
    dropout=st.sampled_from([0.0, 0.1, 0.5]),
    residual=st.sampled_from(["learnable", "plain"]),
    masked=st.booleans(),
    threads=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**20),
)
def test_training_block(R, N, k, dropout, residual, masked, threads, seed):
    if R * N < 12:  # too few values for a BatchNorm that one can compare
        R = 12
    torch.manual_seed(seed)
    block = make(k=k, small=min(3, k), dropout=dropout, residual=residual)
    counted = None
    if masked:
        counted = torch.rand(R, N) > 0.4
        counted.view(-1)[:12] = True
    u = torch.randn(8, R, N)
    u = (u if counted is None else u * counted).requires_grad_()
    state = torch.get_rng_state()
    numbers = torch.randint(2**62, (3,)).tolist()
    torch.set_rng_state(state)
    twin = plain(block, R, N, numbers)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        w = block(u, counted)
        weight = torch.randn_like(w)
        (w * weight).sum().backward()
    finally:
        torch.set_num_threads(before)
    v = u.detach().double().requires_grad_()
    expected = twin(v, counted)
    (expected * weight).sum().backward()
    assert_close(w, expected.detach(), "output")
    assert u.grad is not None
    assert v.grad is not None
    assert_close(u.grad, v.grad, "input gradient")
    gradients = {name: p.grad for name, p in twin.named_parameters() if p.grad is not None}
    largest = max(g.abs().max().item() for g in gradients.values())
    assert {n for n, p in block.named_parameters() if p.grad is not None} == set(gradients)
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None
        # biases before a BatchNorm have gradient 0 but for rounding in the sums
        assert_close(parameter.grad, gradients[name], name, scale=largest)
    for name, buffer in block.named_buffers():
        assert_close(buffer, twin.get_buffer(name).double(), name)


@settings(max_examples=30, deadline=None)
@given(
    C=st.integers(1, 4),
    N=st.integers(1, 6),
    P=st.integers(2, 9),
    S=st.integers(1, 9),
    wild=st.sampled_from([0.0, 1.0, 30.0]),
    seed=st.integers(0, 2**20),
)
def test_interpolation(C, N, P, S, wild, seed):
    torch.manual_seed(seed)
    T = (N - 1) * S + P
    x = torch.randn(3, C, T)
    first = torch.arange(N) * S
    edges = []
    for at in (0, P - 1):
        edge = at + wild * torch.randn(3, N)
        edges.append(torch.minimum(torch.maximum(edge, -first), T - 1 - first))
    quick = [edge.clone().requires_grad_() for edge in edges]
    slow = [edge.double().requires_grad_() for edge in edges]
    weight = torch.randn(3, N, P, C)
    found = native.interpolate(x, quick[0], quick[1], P, S)
    expected = interpolate(x.double(), slow[0], slow[1], P, S)
    assert_close(found, expected.detach(), "points")
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    # where a position is a whole number the two may take neighbouring slopes: both are right
    offset = edges[0][..., None] + (edges[1] - edges[0])[..., None] * torch.arange(P) / (P - 1)
    clear = ((offset - offset.round()).abs() > 1e-3).all(-1)
    for a, b in zip(quick, slow, strict=True):
        assert a.grad is not None
        assert b.grad is not None
        difference = (a.grad.double() - b.grad)[clear].abs()
        assert (difference < 2e-5 * weight.abs().max() * P * x.abs().max()).all()


def test_rounding_never_moves_a_position_past_the_start():
    """3.917... + (-3 - 3.917...) is a little below -3 in float32."""
    x, left, right = torch.arange(9.0).view(1, 1, 9), [[0.0, 3.917266607284546]], [[5.0, -3.0]]
    edges = torch.tensor(left), torch.tensor(right)
    for way in (native.interpolate, interpolate):
        assert way(x, *edges, 6, 3)[0, 1, -1].abs().item() < 1e-6


def test_interpolation_of_positions_that_are_no_numbers():
    x, edge = torch.randn(2, 1, 20), torch.full((2, 3), torch.nan)
    assert native.interpolate(x, edge, edge, 4, 2).isnan().all()


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_dropout_keeps_its_share(p):
    kept = mask(123456789012345, 64, 4096, p)
    share = (kept > 0).double().mean().item()
    assert abs(share - (1 - p)) < 5 * (p * (1 - p) / kept.numel()) ** 0.5 + 1e-12
    assert abs((kept > 0).double().mean(0).std().item() - (p * (1 - p) / 64) ** 0.5) < 0.005


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize(("length", "patch", "width"), [(96, 16, 16), (700, 8, 20), (40, 16, 5)])
def test_fused_network(length, patch, width, rows):
    torch.manual_seed(0)
    config = ModelConfig.forecasting(
        context_length=length, horizon=7, patch_size=patch, patch_stride=patch // 2, d_model=width,
        d_ff=300, kernel_sizes=(5, 39), residual_init=0.3,
    )  # fmt: skip
    model = ConvTimeNet(config).eval()
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    fused, x = fuse(model), torch.randn(rows, 3, length)
    known = torch.rand(rows, 3, length) > 0.1
    known[0, :, : length // 2] = False
    with torch.no_grad():
        quick = fused(x), fused(x, known)
        model.double()
        slow = model(x.double()), model(x.double(), known)
    for a, b in zip(quick, slow, strict=True):
        assert_close(a, b, "fused output")


def coarse(x):
    """Columns as the eight-bit kernel reads them: 256 levels over each column's own range."""
    low, high = x.amin(0), x.amax(0)
    step = (high - low).clamp(min=1e-30) / 255
    return low + step * torch.floor((x - low) / step + 0.5)


def one_block(D=24, hidden=72) -> ConvTimeNet:
    torch.manual_seed(0)
    config = ModelConfig.forecasting(
        context_length=64, horizon=7, patch_size=8, patch_stride=4, d_model=D, d_ff=hidden,
        kernel_sizes=(5,), residual_init=0.3,
    )  # fmt: skip
    return ConvTimeNet(config).eval()


@pytest.mark.parametrize(("rows", "D", "hidden"), [(1, 24, 72), (3, 64, 256), (40, 40, 104)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_pointwise_pair_in_eight_bits(rows, D, hidden, scale):
    network = one_block(D, hidden)
    plain, eight = (cast(FusedBlock, fuse(network, p).blocks[0]) for p in ("fp32", "int8"))
    assert eight.eight is not None
    u = scale * torch.randn(D, rows, network.config.n_tokens)
    with torch.no_grad():
        v = plain.convolved(u).flatten(1)
        widen, narrow = (m.values * m.scale[:, None] for m in eight.eight)
        hidden = F.gelu(widen @ coarse(v) + plain.widen_bias)
        expected = narrow @ coarse(hidden) + plain.s2 * v + plain.narrow_bias
        found = native.encode([eight.kernel_weights()], u).flatten(1)
        exact = plain(u).flatten(1)
    near, lost = (found - expected).abs(), (found - exact).abs()
    size = (exact - plain.s2 * v).abs().max()
    # some values lie halfway between two levels and may fall to either side
    assert near.max() < 6e-3 * size
    assert near.mean() < 0.3 * lost.mean()
    assert lost.max() < 0.03 * size
    assert lost.mean() < 0.003 * size


def test_eight_bits_are_of_each_token_alone():
    """What one series holds does not change the precision of another's answer."""
    fused = fuse(one_block(), "int8")
    u = torch.randn(24, 40, fused.config.n_tokens)
    u[:, 1:] *= 1e6
    with torch.no_grad():
        together, alone = fused.blocks(u)[:, :1], fused.blocks(u[:, :1].contiguous())
    torch.testing.assert_close(together, alone, atol=2e-3, rtol=0)


def test_widths_that_eight_bits_do_not_take():
    for D, hidden in ((20, 72), (24, 76)):
        block = cast(FusedBlock, fuse(one_block(D, hidden), "int8").blocks[0])
        assert block.eight is None


def test_values_that_are_no_numbers_stay_so_in_eight_bits():
    fused = fuse(one_block(), "int8")
    for strange in (torch.nan, torch.inf):
        u = torch.randn(24, 3, fused.config.n_tokens)
        u[3, 1, 4] = strange
        with torch.no_grad():
            assert not fused.blocks(u)[:, 1].isfinite().all()


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX is of x86")
@pytest.mark.parametrize("level", fitting()[-2:], ids=lambda level: level.name)
def test_on_a_processor_with_less(tmp_path, level):
    """The tests of this file with kernels built for AVX2, whose vectors and tiles are shorter, and
    for AVX-512 without VNNI."""
    compiler = tmp_path / "c++"
    compiler.write_text(f'#!/bin/bash\nexec c++ "${{@/-march=native/{level.flags[0]}}}"\n')
    compiler.chmod(0o700)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", __file__, "-m", "not slow"],
        env=os.environ | {"CXX": str(compiler), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert list(tmp_path.rglob("kernels-*.so"))


def test_gelu_without_gradient():
    x = torch.cat([torch.linspace(-9, 9, 5001), torch.tensor([0.0, -80.0, 1e30, torch.inf])])
    expected = F.gelu(x.double())
    assert (native.gelu(x.clone())[:-2] - expected[:-2]).abs().max() < 3e-6
    assert native.gelu(x.clone())[-2:].tolist() == pytest.approx(x[-2:].tolist(), rel=4e-7)
    assert native.gelu(torch.tensor([torch.nan])).isnan().all()
    rows, scale, shift = torch.randn(3, 5, 7), torch.randn(3, 1, 1), torch.randn(3, 1, 1)
    expected = scale * F.gelu(rows) + shift
    assert (native.gelu(rows, scale, shift) - expected).abs().max() < 1e-5
    assert native.gelu(torch.empty(0, 4)).shape == (0, 4)


@pytest.mark.parametrize("subtract_last", [False, True])
def test_instance_normalisation_without_gradient(subtract_last):
    x = 1e3 + torch.randn(5, 3, 337)
    revin = RevIN(subtract_last)
    expected, statistics = revin(x.double())
    with torch.no_grad():
        found, quick = revin(x)
    for a, b in zip((found, *quick), (expected, *statistics), strict=True):
        assert (a - b).abs().max() < 2e-4 * b.abs().max()


def test_strides_do_not_matter():
    """Windows of a table come as views whose channels lie next to one another."""
    table = torch.randn(3, 400)
    views = table.unfold(1, 96, 7).transpose(0, 1)
    assert not views.is_contiguous()
    revin = RevIN()
    config = ModelConfig.forecasting(context_length=96, horizon=7, residual_init=0.3)
    network = fuse(ConvTimeNet(config))
    tokens = torch.randn(5, 64, 7).permute(1, 0, 2)
    with torch.no_grad():
        for a, b in zip(revin(views)[0], revin(views.contiguous())[0], strict=True):
            assert torch.equal(a, b)
        assert torch.equal(network(views), network(views.contiguous()))
        assert torch.equal(network.blocks(tokens), network.blocks(tokens.contiguous()))


@pytest.mark.parametrize("threads", [1, 2])
def test_same_seed_same_bits(threads):
    block, u = make(D=16, hidden=64), torch.randn(16, 40, 21)
    results = []
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for _ in range(2):
            torch.manual_seed(3)
            twin, v = copy.deepcopy(block), u.clone().requires_grad_()
            twin(v).square().sum().backward()
            results.append([v.grad, *(p.grad for p in twin.parameters())])
    finally:
        torch.set_num_threads(before)
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)


SHORT = """
import ctypes, resource, sys
import numpy as np, torch
from convtimenet import ConvTimeNetForecaster
from convtimenet.network.kernels import native

torch.set_num_threads(1)
whole, failed = native._call, []
native.library()

class Heap(ctypes.Structure):
    _fields_ = [(str(n), ctypes.c_size_t) for n in range(10)]  # mallinfo2; 3: blocks from mmap

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Heap
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def fill_holes():
    # what was freed within the heap would do for the kernel
    for size in (2**k for k in range(25, 12, -1)):
        while True:
            mapped = getattr(libc.mallinfo2(), "3")
            block = libc.malloc(size)
            if getattr(libc.mallinfo2(), "3") > mapped:
                libc.free(block)
                break

def call(kernel, *arguments):
    if kernel != name or failed:
        return whole(kernel, *arguments)
    fill_holes()
    pages = int(open("/proc/self/statm").read().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(), before[1]))
    try:
        return whole(kernel, *arguments)
    except MemoryError as error:
        failed.append(str(error))
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)

def interpolated():
    x, edge = torch.arange(60_000.0).expand(2, 1, -1), torch.zeros(2, 1)
    for _ in range(2):
        try:
            found = native.interpolate(x, edge, edge + 39_999, 40_000, 1)
        except MemoryError:
            pass
    torch.testing.assert_close(found[:, 0, :, 0], x[:, 0, :40_000], rtol=0, atol=0.01)
    return 0

waves = np.sin(np.arange(700)[:, None] / (2.0 + np.arange(8)))

def trained():
    model = ConvTimeNetForecaster(
        h=4, input_size=96, n_epochs=1, batch_size=256, device="cpu", verbose=0,
        model={"d_model": 16, "d_ff": 16, "kernel_sizes": (5,), "patch_size": 8, "patch_stride": 4},
    )
    if name == "encode":
        native._call = whole
        expected = model.fit(waves).evaluate(waves).scores["mse"]
        native._call = call
        np.testing.assert_allclose(model.evaluate(waves).scores["mse"], expected, rtol=1e-4)
    else:
        model.fit(waves)
        assert np.isfinite(model.predict()).all()
    return model.history_.parts

for name in sys.argv[1:]:
    native._call = call
    failed.clear()
    parts = interpolated() if name == "interpolate" else trained()
    print(failed, parts)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS, and glibc's malloc")
def test_a_kernel_without_memory_says_so_and_goes_on_in_parts():
    """The first call of the kernel may take no more memory from the system, which is asked for
    everything from some size on; before, the process ended."""
    parts = {"encode": 1, "conv_forward": 2, "conv_backward": 2, "interpolate": 0}
    found = subprocess.run(
        [sys.executable, "-c", SHORT, *parts],
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "8192", "MALLOC_TOP_PAD_": "0"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [
        f"['memory ran out in the kernel {kernel}'] {n}" for kernel, n in parts.items()
    ]
