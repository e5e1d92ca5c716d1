"""The GPU kernels without a GPU: their numbers in Triton's interpreter, and that they compile for cards.

The interpreter has to be chosen before Triton is imported, so the laws run in a process of their own.
"""

import os
import subprocess
import sys
from pathlib import Path

import plain
import pytest
import tiny
import torch
from tiers import every

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
@pytest.mark.thorough
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


def off_by(share):
    """A path of PyTorch's whose first window lies `share` of its largest value away from what the kernels make."""
    return lambda *arguments: (1 + share) * stepwise(*arguments)


@law
@pytest.mark.parametrize(("share", "refused"), [(0.0, False), (0.001, False), (0.02, True), (float("nan"), True)])
def test_a_first_window_off_by_more_than_rounding_is_refused(share, refused):
    net, told = randomised(Upsampler(4, 2, radius=3, keys=4)), []
    maps, guidance = torch.randn(1, 4, 4, 5).half(), torch.randn(1, 3, 8, 8)
    kernels = fused.Fused(told.append)
    assert (kernels.attempt(steps(net, 4, 4), maps, guidance, None, off_by(share)) is None) == refused
    assert len(told) == refused


@law
@pytest.mark.parametrize(("share", "refused"), [(0.0, False), (0.0025, True)])
def test_a_first_window_of_other_winners_is_refused(share, refused):
    net = randomised(Upsampler(4, 2, radius=3, keys=4))
    maps, guidance = torch.randn(1, 20, 20, 6).half(), torch.randn(1, 3, 40, 40)
    finish = Cosines(4, torch.randn(1, 1, 6), None)

    def favouring(*arguments):  # the first phrase, by less than four roundings, which are 0.0039
        exact = stepwise(*arguments)
        return exact + share * exact.abs().max() * torch.tensor([1.0, 0.0])

    kernels = fused.Fused()
    found = kernels.attempt(steps(net, 20, 20), maps, guidance, finish, favouring)
    assert (found is None) == refused
    assert kernels.refused is None or "another best phrase" in kernels.refused


@law
def test_half_precision_stays_close_and_is_tried_first():
    net = randomised(Upsampler(4, 2, radius=5, keys=4))
    maps, guidance = torch.randn(2, 4, 4, 20), torch.randn(2, 3, 8, 8)
    exact = net.lift(maps, guidance)
    told = []
    found = fused.Fused(told.append).attempt(steps(net, 4, 4), maps.half(), guidance, None, stepwise)
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
@pytest.mark.parametrize(("capability", "precision"), every(2, [(80, "bf16"), (90, "fp16")]))
def test_every_kernel_compiles_and_fits_a_consumer_card(capability, precision, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    gpu_kernels = pytest.importorskip("benchmarks.gpu_kernels")  # not in the source distribution
    for kernel in gpu_kernels.compile_all(capability, precision, radius=5):
        assert kernel.shared_bytes <= 99 * 1024, kernel


@compiled
@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no card")
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("patch", "radius", "phrases", "same"), [(16, 5, 3, 0.999), (16, 5, 70, 0.99), (14, 3, 3, 0.999)], ids=str
)  # of 70 random phrases more lie closer together than rounding
def test_on_a_card_the_kernels_give_the_masks_of_torch(precision, patch, radius, phrases, same):
    options = {"patch": patch, "radius": radius, "phrases": phrases, "precision": precision}
    images = torch.randint(0, 256, (5, 3, 4 * patch, 3 * patch), dtype=torch.uint8, device="cuda")
    kernels = fused.Fused()
    found = tiny.segmenter(**options, fused=kernels).cuda()(images)
    plain_ = tiny.segmenter(**options).cuda()(images)
    assert kernels.refused is None
    assert (found - plain_).abs().max() <= 2 * fused.ROUNDINGS * torch.finfo(torch.float16).eps * plain_.abs().max()
    assert (found.argmax(dim=1) == plain_.argmax(dim=1)).float().mean() >= same
