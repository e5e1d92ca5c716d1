"""Each row of the published tables against its formula written out, token by token (method 8)."""

from typing import get_args

import pytest
import tiny
import torch
import torch.nn.functional as F

from segearth_cli.errors import UsageError
from segearth_cli.model.attention import ATTENTIONS
from segearth_cli.model.choices import Attention
from segearth_cli.model.encoder import Encoder, resize_positions

DEPTH = 4
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # float32, sums in another order
SELF = {"clearclip": "q", "sclip": "qk", "segearth": "qkv"}


@pytest.fixture(scope="module")
def clip():
    vision = tiny.CONFIG["model_cfg"]["vision_cfg"] | {"layers": DEPTH}
    made = tiny.clip(vision_cfg=vision).eval().requires_grad_(False)
    for parameter in made.visual.parameters():  # biases and norms start at 0 and 1, which would hide a term left out
        parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def encoder(clip, attention, **options):
    return Encoder(clip, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), attention=attention, **options)


def maps(name, q, k, v, normed, grid):
    """Weights of the values, (B, heads, N, N)."""
    scale, n = q.shape[-1] ** -0.5, q.shape[-2]
    near = torch.zeros(n, n)
    for i in range(1, n):
        for j in range(1, n):
            (y, x), (y2, x2) = divmod(i - 1, grid[1]), divmod(j - 1, grid[1])
            near[i, j] = torch.exp(torch.tensor(-((y - y2) ** 2 + (x - x2) ** 2) / 2))
    far = near * scale * q.norm(dim=-1)[..., None] * k.norm(dim=-1)[..., None, :]
    parts = {"q": q, "k": k, "v": v}
    if name in SELF:
        return sum(torch.softmax(parts[p] @ parts[p].transpose(2, 3) * scale, dim=-1) for p in SELF[name])
    if name == "gem":
        heat = normed.norm(dim=-1).mean(dim=1)[:, None, None, None] * scale
        found = 0
        for x in parts.values():
            unit = F.normalize(x, dim=-1)
            again = F.normalize(torch.softmax(heat * unit @ unit.transpose(2, 3), dim=-1) @ unit, dim=-1)
            found = found + torch.softmax(heat * again @ again.transpose(2, 3), dim=-1) / 3
        return found
    return {
        "vanilla": torch.softmax(q @ k.transpose(2, 3) * scale, dim=-1),
        "maskclip": torch.eye(n).expand(len(q), 1, n, n),
        "naclip": torch.softmax(k @ k.transpose(2, 3) * scale + near, dim=-1),
        "nonly": torch.softmax(far, dim=-1),
        "gav": torch.softmax(q @ k.transpose(2, 3) * scale + far, dim=-1),
    }[name]


def attended(name, block, x, grid):
    b, n, d = x.shape
    normed = block.ln_1(x)
    projected = F.linear(normed, block.attn.in_proj_weight, block.attn.in_proj_bias).split(d, dim=-1)
    q, k, v = (part.view(b, n, block.attn.num_heads, -1).transpose(1, 2) for part in projected)
    out = maps(name, q, k, v, normed, grid) @ v
    return F.linear(out.transpose(1, 2).reshape(b, n, d), block.attn.out_proj.weight, block.attn.out_proj.bias)


def plain_features(clip, name, x, blocks, keep=False):
    """Global and patch tokens (B, 1 + h w, C) after ln_post and the projection."""
    visual, grid = clip.visual, (x.shape[2] // 16, x.shape[3] // 16)
    patches = visual.conv1(x).flatten(2).transpose(1, 2)
    tokens = torch.cat([visual.class_embedding.expand(len(x), 1, -1), patches], dim=1)
    tokens = visual.ln_pre(tokens + resize_positions(visual.positional_embedding, (4, 4), grid))
    ordinary = [tokens]
    for block in visual.transformer.resblocks:
        ordinary.append(block(ordinary[-1]))
    total = ordinary[DEPTH - blocks] if name == "gem" else 0
    for block, given in zip(visual.transformer.resblocks[-blocks:], ordinary[DEPTH - blocks :], strict=False):
        out = attended(name, block, given, grid)
        if keep:
            out = given + out
            out = out + block.mlp(block.ln_2(out))
        total = total + out
    return visual.ln_post(total) @ visual.proj


def assert_features(found, expected, grid):
    token, patches = found
    torch.testing.assert_close(token, expected[:, 0], **CLOSE)
    torch.testing.assert_close(patches, expected[:, 1:].transpose(1, 2).reshape(len(token), -1, *grid), **CLOSE)


def chips(size):
    return torch.randn(2, 3, *size, generator=torch.manual_seed(1))


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("size", [(64, 64), (48, 80), (16, 96)], ids=str)
@torch.inference_mode()
def test_a_row_is_its_formula_on_any_grid_and_nothing_else(clip, attention, size):
    x = chips(size)
    blocks = DEPTH if attention == "gem" else 1  # gem takes six, or all there are
    expected = plain_features(clip, attention, x, blocks)
    assert_features(encoder(clip, attention)(x), expected, (size[0] // 16, size[1] // 16))


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("blocks", [1, 2, DEPTH])
@torch.inference_mode()
def test_several_last_blocks_are_summed_each_from_the_ordinary_one_before(clip, attention, blocks):
    x = chips((48, 80))
    found = encoder(clip, attention, last_blocks=blocks)(x)
    assert_features(found, plain_features(clip, attention, x, blocks), (3, 5))


@pytest.mark.parametrize("attention", [name for name in ATTENTIONS if name != "gem"])
@pytest.mark.parametrize("blocks", [1, 2])
@torch.inference_mode()
def test_a_kept_residual_brings_the_mlp_with_it(clip, attention, blocks):
    x = chips((64, 64))
    found = encoder(clip, attention, last_blocks=blocks, keep_residual=True)(x)
    assert_features(found, plain_features(clip, attention, x, blocks, keep=True), (4, 4))


@torch.inference_mode()
def test_vanilla_with_its_residual_is_the_clip_that_was_given(clip):
    x = chips((64, 64))
    token, _ = encoder(clip, "vanilla", keep_residual=True)(x)
    torch.testing.assert_close(token, clip.visual(x), **CLOSE)


@pytest.mark.parametrize("attention", ATTENTIONS)
@torch.inference_mode()
def test_every_row_runs_in_half_precision(clip, attention, monkeypatch):
    monkeypatch.setattr("segearth_cli.model.encoder.NARROW", 0)
    x = chips((48, 80))
    exact = encoder(clip, attention)(x)[1]
    for precision in (torch.bfloat16, torch.float16):
        found = encoder(clip, attention).in_precision(precision)(x)[1]
        assert found.dtype == torch.float32
        assert (found - exact).abs().max() < 0.1 * exact.abs().max()  # 8 bits of mantissa


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=str)
@torch.inference_mode()
def test_a_kept_residual_runs_in_half_precision(clip, precision, monkeypatch):
    monkeypatch.setattr("segearth_cli.model.encoder.NARROW", 0)
    x = chips((48, 80))
    exact = encoder(clip, "segearth", keep_residual=True)(x)[1]
    found = encoder(clip, "segearth", keep_residual=True).in_precision(precision)(x)[1]
    assert (found - exact).abs().max() < 0.1 * exact.abs().max()


def test_the_command_line_offers_every_row_and_no_other():
    assert set(get_args(Attention)) == set(ATTENTIONS)


def test_an_unknown_attention_is_told(clip):
    with pytest.raises(UsageError, match="--attention none: unknown; choose one of segearth, clearclip, sclip"):
        encoder(clip, "none")


@pytest.mark.parametrize("blocks", [0, DEPTH + 1])
def test_more_blocks_than_the_model_has_are_told(clip, blocks):
    with pytest.raises(UsageError, match=f"--last-blocks {blocks}: the model has {DEPTH} blocks; choose 1 to {DEPTH}"):
        encoder(clip, "sclip", last_blocks=blocks)


def test_gem_keeps_no_second_residual(clip):
    with pytest.raises(UsageError, match="--keep-residual: gem has a residual of its own"):
        encoder(clip, "gem", keep_residual=True)
