"""Bicubic resizing as a matrix is PyTorch's, whole and in the parts that tiles need."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from segearth_cli.model.resizing import pullback, resizing
from segearth_cli.model.tiles import TILE

sizes = st.tuples(st.integers(2, 24), st.integers(2, 60), st.integers(0, 5)).filter(lambda s: s[1] > s[2])
EXACT = {"rtol": 1e-9, "atol": 1e-9}  # float64; weights are rounded at 2^-40


def resized(x, target, radius):
    """Maps (n, channels) resized along the first axis and reflected at both ends."""
    made = F.interpolate(x.T[None, :, :, None], size=(target, 1), mode="bicubic", align_corners=False)
    return F.pad(made, (0, 0, radius, radius), mode="reflect")[0, :, :, 0].T


@given(sizes)
def test_the_matrix_resizes_as_pytorch_does(size):
    source, target, radius = size
    x = torch.randn(source, 3, dtype=torch.float64)
    torch.testing.assert_close(resizing(*size) @ x, resized(x, target, radius), **EXACT)


@given(sizes)
def test_each_tile_gets_its_part_with_its_margins(size):
    source, target, radius = size
    made = pullback(*size, torch.device("cpu"), torch.float64)
    x = torch.randn(source, 3, dtype=torch.float64)
    whole = F.pad(resized(x, target, radius), (0, 0, 0, -target % TILE))
    needed = made.windows(F.pad(x, (0, 0, *made.margins))[None, :, None])[0, :, :, 0]  # (tiles, length, 3)
    for tile, part in enumerate(made.operators @ needed):
        torch.testing.assert_close(part, whole[tile * TILE : tile * TILE + TILE + 2 * radius], **EXACT)


@given(sizes)
def test_tiles_of_one_kind_have_one_operator(size):
    made = pullback(*size, torch.device("cpu"), torch.float64)
    for tile, kind in enumerate(made.kinds):
        assert kind <= tile
        assert torch.equal(made.operators[tile], made.operators[kind])
