"""The fast upsampler against its formulas, unfolded in float64 (plain.py)."""

import copy

import plain
import pytest
import torch

from segearth_cli.errors import WeightsError
from segearth_cli.model.jbu import JBU
from segearth_cli.model.upsampler import Upsampler

EXACT = {"rtol": 1e-9, "atol": 1e-9}  # float64, sums in another order


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def randomised(net):
    """Parameters far from their gentle initial values, so that a term left out shows."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter)) if "temp" not in name else parameter.fill_(0.7)
    return net.double().eval()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("radius", [1, 3, 5])
@pytest.mark.parametrize("size", [(28, 28), (16, 24), (13, 31)], ids=str)
def test_one_doubling_is_its_formula(radius, size):
    net = randomised(JBU(radius, keys=6))
    source, guidance = double(2, 3, 7, 9), double(2, 3, *size)
    fast = net(source.permute(0, 2, 3, 1), guidance).permute(0, 3, 1, 2)
    torch.testing.assert_close(fast, plain.jbu(source, guidance, net), **EXACT)


@pytest.mark.parametrize(
    ("patch", "radius", "shared", "grid"),
    [
        (14, 5, True, (3, 4)),
        (16, 5, True, (4, 3)),
        (32, 3, True, (2, 3)),
        (16, 3, False, (3, 5)),
        (14, 3, False, (2, 2)),
    ],
)
def test_all_stages_and_the_head_are_their_formula(patch, radius, shared, grid):
    net = randomised(Upsampler(5, patch, radius=radius, keys=4, shared=shared))
    tokens, guidance = double(1, 5, *grid), double(1, 3, grid[0] * patch, grid[1] * patch)
    with torch.inference_mode():
        torch.testing.assert_close(net(tokens, guidance), plain.upsample(tokens, guidance, net), **EXACT)


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.25, 3.0])
def test_a_narrow_spatial_kernel_keeps_the_published_clamp(sigma):
    net = randomised(JBU(3, keys=4))
    with torch.no_grad():
        net.sigma_spatial.fill_(sigma)
    source, guidance = double(1, 2, 6, 6), double(1, 3, 12, 12)
    with torch.inference_mode():
        fast = net(source.permute(0, 2, 3, 1), guidance).permute(0, 3, 1, 2)
        torch.testing.assert_close(fast, plain.jbu(source, guidance, net), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_are_those_of_the_formula(shared):
    net = randomised(Upsampler(3, 4, radius=2, keys=4, shared=shared))
    other = copy.deepcopy(net)
    tokens, guidance = double(2, 3, 4, 5).requires_grad_(), double(2, 3, 16, 20)
    same = tokens.detach().clone().requires_grad_()
    weight = double(2, 3, 16, 20)
    (net(tokens, guidance) * weight).sum().backward()
    (plain.upsample(same, guidance, other) * weight).sum().backward()
    torch.testing.assert_close(tokens.grad, same.grad, **EXACT)
    theirs = dict(other.named_parameters())
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-8, atol=1e-8, msg=name)


def test_features_pass_through_linearly():
    net = randomised(Upsampler(4, 16, radius=3, keys=4))
    one, two, guidance = double(1, 4, 2, 3), double(1, 4, 2, 3), double(1, 3, 32, 48)

    def up(tokens):
        return net.lift(tokens.permute(0, 2, 3, 1), guidance)

    torch.testing.assert_close(up(2 * one - 3 * two), 2 * up(one) - 3 * up(two), **EXACT)


def test_folding_the_head_first_changes_nothing():
    net = randomised(Upsampler(4, 16, radius=3, keys=4))
    tokens, guidance = double(1, 4, 3, 2), double(1, 3, 48, 32)
    folded, constant = net.fold(tokens.flatten(2).transpose(1, 2))
    late = net.lift(folded.view(1, 3, 2, 4), guidance) + constant
    torch.testing.assert_close(late.permute(0, 3, 1, 2), net(tokens, guidance), **EXACT)


def test_what_does_not_fit_is_told():
    net = Upsampler(4, 16, radius=5).eval()
    with pytest.raises(WeightsError, match="does not fit 2 x 2 tokens of 16 px"):
        net(torch.zeros(1, 4, 2, 2), torch.zeros(1, 3, 32, 33))
    with pytest.raises(WeightsError, match="smaller than the upsampler's radius"):
        net(torch.zeros(1, 4, 1, 1), torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize(("patch", "radius"), [(14, 5), (16, 5), (32, 3), (16, 1), (1, 3)])
def test_the_smallest_grid_that_is_promised_works(patch, radius):
    net = Upsampler(2, patch, radius=radius, keys=2).eval()
    side = net.minimum
    assert net(torch.zeros(1, 2, side, side), torch.zeros(1, 3, side * patch, side * patch)).shape[-1] == side * patch
