"""The GPU kernels without a GPU: their numbers in Triton's interpreter, and that they compile for cards.

The interpreter has to be chosen before Triton is imported, so the laws run in a process of their own.
"""

import os
import subprocess
import sys
from pathlib import Path

import plain
import pytest
import torch

from segearth_cli.model import gpu_stages as fused
from segearth_cli.model.cosines import Cosines
from segearth_cli.model.jbu import JBU
from segearth_cli.model.upsampler import Upsampler, stepwise

pytest.importorskip("triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
law = pytest.mark.skipif(not INTERPRETED, reason="runs in the interpreter's process")
compiled = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
CLOSE = {"rtol": 1e-4, "atol": 2e-5}  # float32, sums of some hundred terms in another order


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def randomised(net):
    """Parameters far from their gentle initial values, so that a term left out shows."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter)) if "temp" not in name else parameter.fill_(0.7)
    return net.eval().requires_grad_(False)


def steps(net, h, w):
    sizes = [*((h << i, w << i) for i in range(1, net.stages)), (h * net.patch, w * net.patch)]
    return [(net.up if net.shared else getattr(net, f"up{i}"), size) for i, size in enumerate(sizes, 1)]


@compiled
@pytest.mark.slow
@pytest.mark.timeout(900)  # half a minute where nothing else runs; the interpreter has no hurry
def test_the_laws_hold_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n0", __file__]
    chosen = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}  # threads only wait for one another here
    done = subprocess.run(command, env=chosen, capture_output=True, text=True, timeout=880)
    assert done.returncode == 0, done.stdout + done.stderr


@law
@pytest.mark.parametrize(
    ("radius", "size", "sigma"),
    [(5, (9, 11), 1.0), (5, (8, 16), 0.2), (3, (9, 17), 1.0), (3, (12, 12), 0.05), (1, (8, 8), 0.25)],
    ids=str,
)
def test_one_doubling_is_its_formula(radius, size, sigma):
    jbu = randomised(JBU(radius, keys=6))
    jbu.sigma_spatial.fill_(sigma)
    source, guidance = torch.randn(2, 16, 7, 5), torch.randn(2, 3, *size)
    found = fused.stage(fused.operands(jbu, torch.float32), source.permute(0, 2, 3, 1).contiguous(), guidance)
    torch.testing.assert_close(found.permute(0, 3, 1, 2), plain.jbu(source, guidance, jbu), **CLOSE)


@law
@pytest.mark.parametrize(
    ("patch", "radius", "shared", "grid"), [(4, 5, True, (4, 3)), (3, 3, False, (2, 3)), (7, 2, False, (2, 3))], ids=str
)
def test_all_stages_are_those_of_torch(patch, radius, shared, grid):
    net = randomised(Upsampler(5, patch, radius=radius, keys=4, shared=shared))
    maps, guidance = torch.randn(2, *grid, 5), torch.randn(2, 3, grid[0] * patch, grid[1] * patch)
    torch.testing.assert_close(fused.lift(steps(net, *grid), maps, guidance), net.lift(maps, guidance), **CLOSE)


@law
@pytest.mark.parametrize(
    ("span", "queries"), [(30, 2), (250, 30), (270, 1), (20, 65)], ids=str
)  # within a block of channels, across two, in the second alone, more products than are fused
def test_finished_pixels_are_those_of_torch(span, queries):
    net = randomised(Upsampler(4, 2, radius=3, keys=4))
    maps, guidance = torch.randn(2, 4, 5, span + queries), torch.randn(2, 3, 8, 10)
    finish = Cosines(span, torch.randn(2, 3, span + queries)[:, -1:], None)  # no whole tensor, as the model's
    found = fused.lift(steps(net, 4, 5), maps, guidance, finish)
    assert found.shape == (2, 8, 10, queries)
    torch.testing.assert_close(found, net.lift(maps, guidance, finish), **CLOSE)


@law
def test_products_with_many_phrases_are_those_of_torch():
    net = randomised(Upsampler(4, 2, radius=3, keys=4))
    maps, guidance = torch.randn(1, 4, 4, 7), torch.randn(1, 3, 8, 8)
    finish = Cosines(7, torch.randn(1, 1, 7), torch.randn(9, 7))
    found = fused.lift(steps(net, 4, 4), maps, guidance, finish)
    torch.testing.assert_close(found, net.lift(maps, guidance, finish), **CLOSE)


@law
def test_a_window_does_not_see_how_many_are_taken_at_once(monkeypatch):
    net = randomised(Upsampler(4, 2, radius=3, keys=4))
    maps, guidance = torch.randn(3, 4, 4, 20), torch.randn(3, 3, 8, 8)
    finish = Cosines(18, torch.randn(3, 1, 20), None)
    whole = fused.lift(steps(net, 4, 4), maps, guidance, finish)
    monkeypatch.setattr(fused, "CHUNK_BYTES", 1)
    torch.testing.assert_close(fused.lift(steps(net, 4, 4), maps, guidance, finish), whole, **CLOSE)


@law
def test_half_precision_stays_close_and_is_tried_first():
    net = randomised(Upsampler(4, 2, radius=5, keys=4))
    maps, guidance = torch.randn(2, 4, 4, 20), torch.randn(2, 3, 8, 8)
    exact = net.lift(maps, guidance)
    told = []
    found = fused.Fused(told.append).attempt(steps(net, 4, 4), maps.half(), guidance, None, lambda *_: exact[:1])
    assert told == []
    assert (found.float() - exact).abs().max() < 0.01 * exact.abs().max()  # 11 bits of mantissa, sums of 121 terms


@compiled
def test_a_machine_that_cannot_is_told_once():
    lines = []
    kernels = fused.Fused(lines.append)
    net = randomised(Upsampler(4, 2, radius=3, keys=4))
    arguments = steps(net, 4, 4), torch.randn(1, 4, 4, 5).half(), torch.randn(1, 3, 8, 8), None, stepwise
    assert kernels.attempt(*arguments) is None  # tensors of a CPU are none that a card can read
    assert kernels.attempt(*arguments) is None
    assert len(lines) == 1
    assert lines[0].startswith("the upsampler's GPU kernels do not run here (")


@compiled
def test_float32_and_wide_radii_are_left_to_torch():
    for radius, dtype in ((3, torch.float32), (6, torch.float16)):
        net = Upsampler(4, 2, radius=radius, keys=4).eval()
        maps = torch.zeros(1, 4, 4, 5, dtype=dtype)
        assert fused.Fused().attempt(steps(net, 4, 4), maps, None, None, None) is None


@compiled
@pytest.mark.slow
@pytest.mark.parametrize(("capability", "precision"), [(80, "bf16"), (90, "fp16")])
def test_every_kernel_compiles_and_fits_a_consumer_card(capability, precision, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    gpu_kernels = pytest.importorskip("benchmarks.gpu_kernels")  # not in the source distribution
    for kernel in gpu_kernels.compile_all(capability, precision, radius=5):
        assert kernel.shared_bytes <= 99 * 1024, kernel
