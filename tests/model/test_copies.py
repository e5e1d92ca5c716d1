"""What the model is given stays as it was, to the bit."""

import pytest
import tiny
import torch

from segearth_cli.model.copies import own
from segearth_cli.model.encoder import Encoder
from segearth_cli.model.segmenter import Segmenter

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def state(*modules):
    """All that can be seen of modules: text of their parts, tensors, dtypes, gradients wanted, mode."""
    return [
        (
            repr(module),
            module.training,
            {name: (value.clone(), value.dtype) for name, value in module.state_dict().items()},
            {name: (id(value), value.requires_grad) for name, value in module.named_parameters()},
            {name: getattr(part, "correcting", None) for name, part in module.named_modules()},
        )
        for module in modules
    ]


def assert_same(before, after):
    for (text, mode, tensors, wanted, rest), (text2, mode2, tensors2, wanted2, rest2) in zip(
        before, after, strict=True
    ):
        assert (text, mode, wanted, rest) == (text2, mode2, wanted2, rest2)
        assert all(torch.equal(t, tensors2[k][0]) and d == tensors2[k][1] for k, (t, d) in tensors.items())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_building_and_running_leaves_clip_encoder_and_upsampler_as_they_were(precision, monkeypatch):
    monkeypatch.setattr("segearth_cli.model.encoder.NARROW", 0)  # bfloat16 is used as in wide towers
    clip = tiny.clip().train()
    upsampler = tiny.upsampler(channels=32, patch=16, radius=2, keys=4).train()
    before = state(clip, upsampler)
    encoder = Encoder(clip, MEAN, STD)
    of_encoder = state(encoder)
    made = Segmenter(encoder, upsampler, torch.eye(3, 32), precision=precision)
    made(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    made.requires_grad_(False).to(torch.float64)
    assert_same(before, state(clip, upsampler))
    assert_same(of_encoder, state(encoder))


def test_an_encoder_in_another_precision_is_another_one(monkeypatch):
    monkeypatch.setattr("segearth_cli.model.encoder.NARROW", 0)
    encoder = Encoder(tiny.clip().eval(), MEAN, STD)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = encoder(x)[1]
        rounded = encoder.in_precision(torch.bfloat16)(x)[1]
        assert not torch.equal(rounded, before)
        assert torch.equal(encoder(x)[1], before)


def test_values_are_shared_until_they_are_replaced():
    given = torch.nn.Linear(3, 2)
    mine = own(given)
    assert mine.weight.data_ptr() == given.weight.data_ptr()
    mine.to(torch.float64)
    assert given.weight.dtype == torch.float32
