"""Cosines made in a basis of the tokens' span are those of whole features."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st

from segearth_cli.model.cosines import Cosines

CLOSE = {"rtol": 1e-3, "atol": 1e-4}  # float32; a length is made from squares that may cancel


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 5), st.integers(0, 99))
def test_cosines_are_those_of_pixels_and_phrases(windows, pixels, channels, queries, seed):
    torch.manual_seed(seed)
    maps, offset = torch.randn(windows, pixels, channels), torch.randn(windows, 1, channels)
    assume((maps + offset).norm(dim=-1).min() > 0.3)
    phrases = F.normalize(torch.randn(queries, channels), dim=-1)
    expected = F.normalize(maps + offset, dim=-1) @ phrases.T
    torch.testing.assert_close(Cosines(channels, offset, phrases)(maps), expected, **CLOSE)
    both = [torch.cat([x, x @ phrases.T], dim=-1) for x in (maps, offset)]  # products that were lifted with the maps
    torch.testing.assert_close(Cosines(channels, both[1], None)(both[0]), expected, **CLOSE)


def test_a_part_is_that_of_its_windows():
    maps, offset = torch.randn(3, 2, 6), torch.randn(3, 1, 6)
    finish = Cosines(4, offset, None)
    assert torch.equal(finish.part(1, 3)(maps[1:]), finish(maps)[1:])


def test_a_pixel_of_length_zero_has_a_finite_cosine():
    offset = torch.tensor([[[1.0, 2.0, 3.0]]])
    assert Cosines(2, offset, None)(-offset).isfinite().all()


@pytest.mark.parametrize(("phrases", "ready"), [(None, 2), (torch.zeros(5, 6), 0)])
def test_how_many_products_are_ready(phrases, ready):
    assert Cosines(4, torch.zeros(1, 1, 6), phrases).ready == ready
