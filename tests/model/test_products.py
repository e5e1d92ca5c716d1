"""Products with weights are PyTorch's own up to rounding, whichever library makes them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segearth_cli.model.products import Packed, act_of, linear

ACTS = {"none": lambda x: x, "gelu": F.gelu, "swish": F.silu}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("shape", [(1, 197, 48), (5, 64, 124), (3, 7)], ids=str)
@pytest.mark.parametrize(
    ("dtype", "far"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2), (torch.float64, 1e-12)], ids=str
)  # some units of the last place
def test_a_product_with_its_activation_is_that_of_pytorch(act, shape, dtype, far):
    torch.manual_seed(0)
    x = torch.randn(shape).to(dtype)
    weight, bias = torch.randn(33, shape[-1]).div(shape[-1] ** 0.5).to(dtype), torch.randn(33).to(dtype)
    with torch.inference_mode():
        for given in (bias, None):
            made = linear(x, weight, given, act)
            plain = ACTS[act](F.linear(x.double(), weight.double(), None if given is None else given.double()))
            assert made.dtype == dtype
            assert ((made.double() - plain).abs() / plain.abs().clamp(min=1)).max() < far


def test_weights_that_are_packed_change_no_bit_and_follow_their_weight():
    torch.manual_seed(0)
    threads, packed = torch.get_num_threads(), Packed()
    torch.set_num_threads(1)  # as windows are computed
    try:
        for rows, across, out in ((197, 384, 1536), (197, 1536, 384), (50, 384, 1152)):
            weight, bias = torch.randn(out, across), torch.randn(out)
            for x in (torch.randn(1, rows, across), torch.randn(1, 65, across), torch.randn(1, rows, across)):
                with torch.inference_mode():
                    assert torch.equal(linear(x, weight, bias, "gelu", packed), linear(x, weight, bias, "gelu"))
                    weight.mul_(2)
    finally:
        torch.set_num_threads(threads)


def test_a_product_does_not_depend_on_the_number_of_threads():
    torch.manual_seed(0)
    x, weight = torch.randn(1, 197, 1536), torch.randn(384, 1536)
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with torch.inference_mode():
                made.append(linear(x, weight))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(made[0], other) for other in made[1:])


def test_gradients_pass_through_a_product():
    x, weight = torch.randn(2, 5, requires_grad=True), torch.randn(3, 5)
    linear(x, weight, act="gelu").sum().backward()
    (expected,) = torch.autograd.grad(F.gelu(F.linear(x, weight)).sum(), x)
    assert torch.equal(x.grad, expected)


def test_only_activations_that_are_meant_have_a_name():
    assert [act_of(m) for m in (nn.SiLU(), nn.GELU(), nn.GELU("tanh"), nn.ReLU())] == ["swish", "gelu", None, None]
