"""The fast cosines against plain ones: every pixel's feature upsampled whole, normalised, multiplied."""

import open_clip
import plain
import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from segearth_cli.model.encoder import Encoder
from segearth_cli.model.segmenter import Segmenter, coordinates, pad
from segearth_cli.model.upsampler import Upsampler

CLOSE = {"rtol": 1e-4, "atol": 2e-5}  # float32 through a Gram matrix


def encoder(channels=32, patch=16):
    torch.manual_seed(0)
    vision = tiny.CONFIG["model_cfg"]["vision_cfg"] | {"patch_size": patch, "image_size": 4 * patch}
    clip = open_clip.CLIP(**tiny.CONFIG["model_cfg"] | {"embed_dim": channels, "vision_cfg": vision}).eval()
    return Encoder(clip, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def segmenter(phrases=3, channels=32, patch=16, upsampler=True, **options):
    torch.manual_seed(1)
    made = Upsampler(channels, patch, radius=2, keys=4).requires_grad_(False).eval() if upsampler else None
    if made:
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    phrases = F.normalize(torch.randn(phrases, channels), dim=-1)
    return Segmenter(encoder(channels, patch), made, phrases, **options)


def chips(height, width, batch=1):
    return torch.randint(0, 256, (batch, 3, height, width), generator=torch.manual_seed(7)).to(torch.uint8)


@torch.inference_mode()
def plain_logits(net, images, valid=None):
    """Method 2-5.1 with nothing saved: features of every pixel in C channels, in float64 from the tokens on."""
    patch = net.encoder.patch
    x = net.encoder.normalise(images, valid)
    height, width = x.shape[-2:]
    smallest = net.upsampler.minimum if net.upsampler else 1
    more = [max(-(-side // patch), smallest) * patch - side for side in (height, width)]
    top, left = more[0] // 2, more[1] // 2  # the odd pixel goes right and bottom
    x = F.pad(x, (left, more[1] - left, top, more[0] - top))
    token, tokens = net.encoder(x)
    if net.upsampler is None:
        cosines = torch.einsum("bchw,qc->bqhw", F.normalize(tokens, dim=1), net.phrases)
        logits = F.interpolate(cosines, size=x.shape[-2:], mode="bilinear", align_corners=False)
    else:
        up = net.upsampler.double()
        features = F.normalize(plain.upsample(tokens.double(), x.double(), up), dim=1).float()
        up.float()
        logits = torch.einsum("bchw,qc->bqhw", features, net.phrases)
    logits = logits[:, :, top : top + height, left : left + width]
    return logits - net.global_bias * (F.normalize(token, dim=-1) @ net.phrases.T)[:, :, None, None]


@pytest.mark.parametrize(
    ("channels", "phrases", "size"),
    [
        (32, 3, (64, 64)),  # 16 tokens and 3 phrases: fewer than channels
        (16, 3, (64, 64)),  # as many tokens as channels
        (8, 20, (64, 64)),  # more phrases than channels
        (32, 14, (64, 64)),  # tokens alone are fewer, with phrases more
        (32, 2, (48, 48)),
        (32, 5, (61, 35)),  # sides that are no multiple of the patch
        (32, 2, (7, 90)),  # smaller than a patch one way
    ],
)
def test_fast_cosines_are_plain_ones(channels, phrases, size):
    net = segmenter(phrases, channels)
    images = chips(*size)
    torch.testing.assert_close(net(images), plain_logits(net, images), **CLOSE)


@pytest.mark.parametrize("patch", [14, 32])
def test_other_patches(patch):
    net = segmenter(patch=patch)
    images = chips(3 * patch, 2 * patch + 5)
    torch.testing.assert_close(net(images), plain_logits(net, images), **CLOSE)


@pytest.mark.parametrize("size", [(64, 64), (50, 33)], ids=str)
def test_without_an_upsampler_token_logits_are_resized(size):
    net = segmenter(upsampler=False)
    torch.testing.assert_close(net(chips(*size)), plain_logits(net, chips(*size)), **CLOSE)


@pytest.mark.parametrize("options", [{}, {"patch": 14}, {"upsampler": False}, {"phrases": 40}], ids=str)
@pytest.mark.parametrize("size", [(64, 64), (61, 35)], ids=str)
def test_pixels_asked_for_alone_are_those_of_the_whole_window(options, size):
    net, images = segmenter(**options), chips(*size)
    pixels = torch.tensor([[0, 0], [size[0] - 1, size[1] - 1], [30, 7], [30, 8], [31, 7]])
    whole = net(images)[:, :, pixels[:, 0], pixels[:, 1]]
    torch.testing.assert_close(net(images, pixels=pixels), whole, rtol=0, atol=1e-6)  # of float32, in other groups


@pytest.mark.parametrize("image", [0, 255])
def test_an_image_of_one_colour_has_finite_logits(image):
    net = segmenter()
    images = torch.full((1, 3, 64, 64), image, dtype=torch.uint8)
    torch.testing.assert_close(net(images), plain_logits(net, images), rtol=1e-3, atol=1e-4)  # tokens nearly dependent


def test_the_global_bias_is_a_constant_per_window_and_phrase():
    torch.manual_seed(3)
    net, images = segmenter(global_bias=0.0), chips(64, 64)
    without = net(images)
    net.global_bias = 0.5
    shift = without - net(images)
    assert shift.std(dim=(2, 3)).max() < 1e-6
    token, _ = net.encoder(net.encoder.normalise(images))
    torch.testing.assert_close(shift[0, :, 0, 0], 0.5 * (F.normalize(token, dim=-1) @ net.phrases.T)[0], **CLOSE)


def test_a_chip_does_not_see_its_batch():
    net, images = segmenter(), chips(64, 64, batch=3)
    valid = torch.ones(3, 64, 64, dtype=torch.bool)
    valid[1, :30] = False
    together = net(images, valid)
    for i in range(3):
        assert torch.equal(together[i], net(images[i : i + 1], valid[i : i + 1])[0])


def test_values_under_nodata_do_not_matter():
    net, images = segmenter(), chips(64, 64)
    valid = torch.rand(1, 64, 64, generator=torch.manual_seed(2)) > 0.4
    other = torch.where(valid.unsqueeze(1), images, 255 - images)
    assert torch.equal(net(images, valid), net(other, valid))


def test_half_precision_stays_close():
    images = chips(64, 64)
    exact = segmenter()(images)
    assert (segmenter(precision=torch.bfloat16)(images) - exact).abs().max() < 0.05  # 8 bits of mantissa


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([7, 14, 16]), st.integers(1, 4))
def test_padding_is_cut_off_again(height, width, patch, minimum):
    x = torch.rand(1, 3, height, width)
    padded, (rows, cols) = pad(x, patch, minimum)
    assert torch.equal(padded[:, :, rows, cols], x)
    assert padded.sum() == pytest.approx(x.sum().item(), rel=1e-4)  # zeros around
    for side, given_side, inner in zip(padded.shape[-2:], (height, width), (rows, cols), strict=True):
        assert side % patch == 0
        assert side >= minimum * patch
        after = side - given_side - inner.start
        assert after - inner.start in (0, 1)  # split evenly, the odd pixel right and bottom


@given(st.integers(20, 80), st.integers(20, 80), st.integers(1, 12), st.integers(0, 99))
def test_coordinates_of_vectors_that_are_alike_are_few(n, channels, rank, seed):
    torch.manual_seed(seed)
    exact = torch.randn(1, n, rank) @ torch.randn(1, rank, channels)
    rows = exact + 1e-5 * torch.randn(1, n, channels)
    made = coordinates(rows, at_most=16)
    assert made.shape == (1, n, 16)
    longest = rows.norm(dim=-1).max()
    assert (made @ made.transpose(1, 2) - rows @ rows.transpose(1, 2)).abs().max() < 1e-4 * longest**2


def test_vectors_that_differ_in_more_ways_than_allowed_have_no_coordinates():
    rows = torch.randn(1, 60, 70, generator=torch.manual_seed(0))
    assert coordinates(rows, at_most=48) is None
    assert coordinates(rows, at_most=64).shape[-1] <= 64


@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 99))
def test_coordinates_keep_lengths_and_angles(n, channels, seed):
    rows = torch.randn(1, n, channels, generator=torch.manual_seed(seed))
    made = coordinates(rows, at_most=n)
    torch.testing.assert_close(made @ made.transpose(1, 2), rows @ rows.transpose(1, 2), rtol=1e-4, atol=1e-4)
