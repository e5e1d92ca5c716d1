"""The training objective against the published formulas written out plainly, in float64."""

import math
import random

import plain
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from segearth_cli.model.upsampler import Upsampler
from segearth_cli.training.objective import (
    MARGIN,
    Decoder,
    Downsampler,
    Jitter,
    Objective,
    Uncertainty,
    View,
    blur,
    projections,
    transform,
)

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64, sums in another order


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def plain_jitter(maps, jitter):
    """Reflect, zoom, crop and flip as the operations of that name: maps (B, C, H, W)."""
    height, width = maps.shape[-2:]
    x = F.pad(maps, (MARGIN,) * 4, mode="reflect")
    if jitter.zoom > 1:
        x = F.interpolate(x, scale_factor=jitter.zoom, mode="bilinear", align_corners=False)
    x = x[:, :, jitter.top : jitter.top + height, jitter.left : jitter.left + width]
    return x.flip(3) if jitter.flip else x


def plain_blur(maps):
    axis = torch.arange(-2, 3, dtype=maps.dtype)
    kernel = torch.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / 2)
    kernel = (kernel / kernel.sum()).expand(maps.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(maps, (2,) * 4, mode="reflect"), kernel, groups=maps.shape[1])


def plain_pooling(maps, net):
    """Unfold the patches, score, softmax over positions, weighted sum: blurred maps (B, C, H, W) -> (B, C, h, w)."""
    b, c, height, width = maps.shape
    p = net.patch
    out = torch.zeros(b, c, height // p, width // p, dtype=maps.dtype)
    for i in range(height // p):
        for j in range(width // p):
            patch = maps[:, :, i * p : (i + 1) * p, j * p : (j + 1) * p].flatten(2)  # (B, C, p p)
            scores = torch.einsum("bcn,c->bn", patch, net.score[1].weight[0]) + net.score[1].bias
            weights = torch.softmax(scores * net.w.flatten() + net.b.flatten(), dim=1)
            out[:, :, i, j] = (patch * weights[:, None]).sum(2)
    return out


def plain_losses(objective, image, tokens, jitter, seen, project):
    maps = plain_jitter(plain.upsample(tokens, image, objective.upsampler), jitter)
    down = plain_pooling(plain_blur(maps), objective.downsampler)
    net = objective.uncertainty.net
    s = torch.exp(torch.einsum("bchw,c->bhw", seen, net.weight[0]) + net.bias + 0.1).clamp(min=1e-4)[:, None]
    error = torch.einsum("bchw,bck->bkhw", down - seen, project)
    first, (norm, _, last, _) = objective.decoder.first, objective.decoder.rest
    x = F.conv2d(maps, first.weight[:, :, None, None], first.bias)
    mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    x = (x - mean) / (variance + 1e-6).sqrt() * norm.weight[None, :, None, None] + norm.bias[None, :, None, None]
    x = 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    x = torch.tanh(F.conv2d(x, last.weight[:, :, None, None], last.bias))
    return (error**2 / (2 * s**2) + s.log()).mean(), ((x - plain_jitter(image, jitter)) ** 2).mean()


def make(channels, patch, radius=1):
    objective = Objective(Upsampler(channels, patch, radius=radius, keys=3)).double()
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return objective.eval()


def view_of(jitter, image, seen, project):
    operators = jitter.operators(*image.shape[-2:], image)
    return View(operators, transform(image.permute(0, 2, 3, 1), operators).permute(0, 3, 1, 2), seen, project)


JITTERS = [Jitter(3, 38, 1.0, True), Jitter(0, 0, 1.0), Jitter(40, 17, 1.37), Jitter(55, 80, 1.99, True)]


@pytest.mark.parametrize("jitter", JITTERS, ids=str)
def test_a_jitter_is_reflect_zoom_crop_flip(jitter):
    maps = double(2, 3, 42, 56)
    moved = transform(maps.permute(0, 2, 3, 1), jitter.operators(42, 56, maps)).permute(0, 3, 1, 2)
    torch.testing.assert_close(moved, plain_jitter(maps, jitter), **EXACT)


def test_every_drawn_jitter_stays_inside_the_reflected_image_and_reaches_its_ends():
    rng = random.Random(0)
    drawn = [Jitter.draw(42, 56, rng) for _ in range(4000)]
    for jitter in drawn[:200]:
        rows, columns = jitter.operators(42, 56, double(1))
        assert rows.shape == (42, 42)
        assert columns.shape == (56, 56)
        torch.testing.assert_close(rows.sum(1), torch.ones(42).double())  # a mean of pixels, never darker
    still = [jitter for jitter in drawn if jitter.zoom == 1.0]
    assert {jitter.top for jitter in still} == set(range(2 * MARGIN + 1))
    assert {jitter.left for jitter in still} == set(range(2 * MARGIN + 1))
    # 4000 draws: three standard deviations of a fair coin are 0.024
    assert abs(len(still) / 4000 - 0.5) < 0.024
    assert abs(sum(jitter.flip for jitter in drawn) / 4000 - 0.5) < 0.024


def test_the_blur_is_a_5_by_5_gaussian_of_sigma_1():
    maps = double(2, 3, 14, 21)
    blurred = transform(maps.permute(0, 2, 3, 1), blur(14, 21, maps)).permute(0, 3, 1, 2)
    torch.testing.assert_close(blurred, plain_blur(maps), **EXACT)


@pytest.mark.parametrize("patch", [14, 16, 32])
def test_pooling_is_a_softmax_over_the_pixels_of_each_patch(patch):
    net = Downsampler(5, patch).double().eval()
    maps, mix, constant = double(1, 4, 2 * patch, 3 * patch), double(4, 5), double(5)
    pooled = net(maps[0].permute(1, 2, 0), mix, constant)
    features = torch.einsum("brhw,rc->bchw", maps, mix) + constant[:, None, None]
    torch.testing.assert_close(pooled, plain_pooling(features, net)[0].permute(1, 2, 0), **EXACT)


def test_projections_have_unit_columns_and_are_fresh_for_each_image():
    first, second = (projections(3, 512, double(1)) for _ in range(2))
    assert first.shape == (3, 512, 30)
    torch.testing.assert_close(first.norm(dim=1), torch.ones(3, 30).double())
    drawn = [*first, *second]
    assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


@pytest.mark.parametrize("channels", [4, 9])  # fewer and more than the 6 tokens: both ways to mix
@pytest.mark.parametrize("patch", [14, 16, 32])
@pytest.mark.parametrize("jitter", JITTERS[1:], ids=str)
def test_both_losses_are_the_published_ones(channels, patch, jitter):
    objective = make(channels, patch)
    image = double(2, 3, 2 * patch, 3 * patch)
    tokens, seen = double(2, channels, 2, 3), double(2, channels, 2, 3)
    project = projections(2, channels, image)
    jitter = Jitter(min(jitter.top, MARGIN), min(jitter.left, MARGIN), jitter.zoom, jitter.flip)
    losses = objective(image, tokens, view_of(jitter, image, seen, project))
    features, reconstruction = plain_losses(objective, image, tokens, jitter, seen, project)
    torch.testing.assert_close(losses.features, features, **EXACT)
    torch.testing.assert_close(losses.image, reconstruction, **EXACT)


@pytest.mark.parametrize("channels", [4, 9])
def test_gradients_of_both_losses_are_those_of_the_published_formulas(channels):
    objective = make(channels, 14)
    image, tokens, seen = double(2, 3, 28, 42), double(2, channels, 2, 3), double(2, channels, 2, 3)
    project, jitter = projections(2, channels, image), Jitter(11, 30, 1.4, True)
    losses = objective(image, tokens, view_of(jitter, image, seen, project))
    ours = torch.autograd.grad(losses.features + losses.image, list(objective.parameters()))
    features, reconstruction = plain_losses(objective, image, tokens, jitter, seen, project)
    plain = torch.autograd.grad(features + reconstruction, list(objective.parameters()))
    for (name, _), a, b in zip(objective.named_parameters(), ours, plain, strict=True):
        torch.testing.assert_close(a, b, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


def test_gradcheck_of_the_uncertainty():
    assert gradcheck(Uncertainty(3).double(), double(2, 2, 3).requires_grad_())


@pytest.mark.parametrize("part", [Decoder(3), Downsampler(3, 2).eval()], ids=["decoder", "pooling"])
def test_gradcheck_of_the_parts_that_read_features(part):
    inputs = [x.requires_grad_() for x in (double(4, 6, 2), double(2, 3), double(3))]
    assert gradcheck(part.double(), inputs)


def test_gradcheck_of_jitter_and_blur():
    operators = Jitter(25, 3, 1.5, True).operators(21, 22, double(1))
    assert gradcheck(lambda x: transform(transform(x, operators), blur(21, 22, x)), double(21, 22, 1).requires_grad_())


def test_gradcheck_of_the_upsampler_through_its_rows_of_tiles():
    upsampler = make(2, 4).upsampler
    guidance = double(1, 3, 12, 16)
    names, values = zip(*upsampler.named_parameters(), strict=True)

    def run(tokens, *parameters):
        return torch.func.functional_call(upsampler, dict(zip(names, parameters, strict=True)), (tokens, guidance))

    inputs = [double(1, 2, 3, 4).requires_grad_(), *(v.detach().clone().requires_grad_() for v in values)]
    assert gradcheck(run, inputs, fast_mode=True)


def test_only_what_is_meant_to_learn_gets_gradients():
    objective = make(4, 14).train()
    image, tokens = double(1, 3, 28, 28).requires_grad_(), double(1, 4, 2, 2)
    view = view_of(Jitter(20, 20), image.detach(), double(1, 4, 2, 2), projections(1, 4, image))
    losses = objective(image.detach(), tokens, view)
    (losses.features + 0.1 * losses.image).backward()
    silent = [name for name, p in objective.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
    assert tokens.grad is None


def test_dropout_acts_in_training_and_never_at_inference():
    objective = make(4, 14)
    image, tokens = double(1, 3, 28, 28), double(1, 4, 2, 2)
    view = view_of(Jitter(20, 20), image, double(1, 4, 2, 2), projections(1, 4, image))
    same = {objective(image, tokens, view).features.item() for _ in range(2)}
    different = {objective.train()(image, tokens, view).features.item() for _ in range(4)}
    assert len(same) == 1
    assert len(different) == 4


def test_deviations_have_a_floor():
    net = Uncertainty(2).double()
    assert net(torch.full((1, 2), -1e9).double() * net.net.weight.sign()).item() == pytest.approx(1e-4)


def test_the_uncertainty_starts_at_a_tenth_of_a_layers_usual_weights():
    torch.manual_seed(3)
    usual = torch.nn.Linear(64, 1)
    torch.manual_seed(3)
    ours = Uncertainty(64).net
    torch.testing.assert_close(ours.weight, 0.1 * usual.weight)
    torch.testing.assert_close(ours.bias, 0.1 * usual.bias)
