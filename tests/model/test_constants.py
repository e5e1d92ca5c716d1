"""What is made of weights is kept while they stay, and never a step behind them."""

import copy

import pytest
import torch
from torch import nn

from segearth_cli.model.constants import OfWeights


def doubled(kept, weight):
    return kept.get("doubled", [weight], lambda: 2 * weight)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_is_made_once_and_again_when_a_weight_changes(mode):
    layer, kept = nn.Linear(2, 2), OfWeights()
    with mode():
        first = doubled(kept, layer.weight)
        assert doubled(kept, layer.weight) is first
    with torch.no_grad():
        layer.weight.add_(1)
    with mode():
        assert torch.equal(doubled(kept, layer.weight), 2 * layer.weight)
        layer.to(torch.float64)
        assert torch.equal(doubled(kept, layer.weight), 2 * layer.weight)


def test_in_training_nothing_is_kept_so_that_gradients_flow():
    layer, kept = nn.Linear(2, 2), OfWeights()
    with torch.inference_mode():
        doubled(kept, layer.weight)
    doubled(kept, layer.weight).sum().backward()
    assert torch.equal(layer.weight.grad, torch.full((2, 2), 2.0))


def test_a_copy_of_a_module_has_constants_of_its_own():
    kept, weight = OfWeights(), torch.ones(2)
    with torch.no_grad():
        doubled(kept, weight)
        assert torch.equal(doubled(copy.deepcopy(kept), torch.zeros(2)), torch.zeros(2))
