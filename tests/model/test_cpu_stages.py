"""The compiled kernels of a CPU against the upsampler's formulas (plain.py) and against PyTorch's path."""

import plain
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segearth_cli.model import JBU, Direct, Overlap, Upsampler

pytest.importorskip("llvmlite")

ROUNDING = 3e-6  # of the largest value: float32 with sums of 121 taps, four stages
WORSE = 3  # times as far from the formula as PyTorch's own float32, where exponents are large


@pytest.fixture(scope="module")
def direct():
    return Direct()


def randomised(net):
    """Parameters far from their gentle initial values, so that a term left out shows."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter)) if "temp" not in name else parameter.fill_(0.7)
    return net.eval()


def far(found, expected):
    """The largest difference, of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


def holds(net, direct, maps, guidance):
    """Whether the kernels of a JBU are no further from its formula than float32 by PyTorch, within WORSE."""
    made = []
    with torch.inference_mode():
        for net.direct in (None, direct):
            made.append(net(maps.permute(0, 2, 3, 1), guidance).permute(0, 3, 1, 2))
        exact = plain.jbu(maps.double(), guidance.double(), net.double())
    slow, fast = (far(found, exact) for found in made)
    return fast < max(ROUNDING, WORSE * slow)


@settings(max_examples=20, deadline=None)
@given(
    source=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    grown=st.tuples(st.integers(0, 13), st.integers(0, 13)),
    batch=st.integers(1, 3),
    channels=st.sampled_from([1, 8, 31, 32, 56, 65]),
    keys=st.sampled_from([1, 6, 32]),
)
def test_one_doubling_is_its_formula(direct, source, grown, batch, channels, keys):
    torch.manual_seed(0)
    size = [max(6, side + more) for side, more in zip(source, grown, strict=True)]
    net = randomised(JBU(5, keys=keys))
    assert holds(net, direct, torch.randn(batch, channels, *source), torch.randn(batch, 3, *size))


@pytest.mark.parametrize("sigma", [0.05, 0.2, 3.0])
@pytest.mark.parametrize("hot", [-20.0, 0.0, 3.0])
def test_narrow_and_sharp_kernels_are_those_of_the_formula(direct, sigma, hot):
    torch.manual_seed(0)
    net = randomised(JBU(5, keys=4))
    with torch.no_grad():
        net.sigma_spatial.fill_(sigma)
        net.range_temp.fill_(hot)
    assert holds(net, direct, torch.randn(1, 2, 6, 9), torch.randn(1, 3, 12, 18))


@pytest.mark.parametrize(("patch", "grid"), [(14, (3, 4)), (16, (4, 3)), (16, (3, 7))])
@pytest.mark.parametrize("shared", [True, False])
def test_all_stages_and_the_head_are_their_formula(direct, patch, grid, shared):
    torch.manual_seed(0)
    net = randomised(Upsampler(5, patch, keys=4, shared=shared)).computing(torch.float32, direct)
    tokens, guidance = torch.randn(1, 5, *grid), torch.randn(1, 3, grid[0] * patch, grid[1] * patch)
    with torch.inference_mode():
        fast = net(tokens, guidance)
        assert far(fast, plain.upsample(tokens.double(), guidance.double(), net.double())) < ROUNDING


def test_a_number_that_is_none_stays_none(direct):
    net = randomised(JBU(5, keys=4))
    net.direct = direct
    for spoiled in (0, 1):
        maps, guidance = torch.randn(1, 12, 12, 3), torch.randn(1, 3, 24, 24)
        (maps, guidance)[spoiled][0, 0, 0] = torch.nan
        with torch.inference_mode():
            assert net(maps, guidance).isnan().any()


def pair(direct, **options):
    """A segmenter by PyTorch and one by the compiled kernels, of the same weights."""
    made = [tiny.segmenter(phrases=4, radius=5, direct=way, **options) for way in (None, direct)]
    return made[0], made[1]


def noise(height, width, batch=1):
    return torch.randint(0, 256, (batch, 3, height, width), generator=torch.manual_seed(7)).to(torch.uint8)


@pytest.mark.parametrize("size", [(96, 64), (64, 144), (70, 83)], ids=str)
@pytest.mark.parametrize("adaptive", [None, range(4)])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_logits_are_those_of_pytorch(direct, size, adaptive, precision):
    plain_one, fast = pair(direct, adaptive=adaptive, precision=precision)
    chips = noise(*size)
    expected, found = plain_one(chips), fast(chips)
    away = (found - expected).abs().flatten()
    rounding = 2e-6 if precision == torch.float32 else 2e-4  # corrections in 8 bits
    assert away.quantile(0.999) < rounding
    assert away.max() < 1e-3  # a pixel of nearly no length, 1 of 30,000 of the median's, has nearly no direction
    assert not torch.equal(found, expected)  # it is not the same path


@pytest.mark.slow
@pytest.mark.parametrize("adaptive", [None, range(4)])
def test_neither_a_batch_nor_a_neighbour_changes_a_bit(direct, adaptive):
    _, fast = pair(direct, adaptive=adaptive)
    scene = noise(160, 192)
    places = [(row, col) for row in (0, 48, 96) for col in (0, 32, 64, 96, 128)]
    windows = torch.cat([scene[:, :, row : row + 64, col : col + 64] for row, col in places])
    alone = torch.cat([fast(window[None]) for window in windows])
    assert torch.equal(fast(windows), alone)
    seen = {}
    for order in (range(15), reversed(range(15)), torch.randperm(15, generator=torch.manual_seed(0)).tolist()):
        overlap = Overlap(32, 1 << 26)
        for i in order:
            found = fast(windows[i : i + 1], None, overlap)[0]
            assert torch.equal(found, seen.setdefault(i, found))
            assert (found - alone[i]).abs().max() < 2e-6  # blocks that are shared have other shapes of products


def test_gradients_double_precision_and_other_radii_are_left_to_pytorch(direct):
    net = randomised(JBU(5, keys=4))
    net.direct = direct
    maps, guidance = torch.randn(1, 6, 6, 3, requires_grad=True), torch.randn(1, 3, 12, 12)
    net(maps, guidance).sum().backward()
    assert maps.grad is not None
    with torch.inference_mode():
        assert net.double()(maps.double(), guidance.double()).dtype == torch.float64
        small = JBU(3, keys=4).eval()
        expected = small(maps, guidance)
        small.direct = direct
        assert torch.equal(small(maps, guidance), expected)
