"""Tiles and their neighbourhoods: cut, put together again, and the taps of each pixel found in them."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from segearth_cli.model.tiles import TILE, banded, extend, spread, tiles, untiled

counts, radii = st.integers(1, 3), st.integers(0, 5)


@given(counts, counts, counts)
def test_putting_tiles_together_is_the_inverse_of_cutting(b, k, m):
    x = torch.randn(b, TILE * k, TILE * m, 2)
    assert torch.equal(untiled(tiles(x, 0), (b, k, m)), x)


@given(st.integers(6, 20), st.integers(6, 20), radii)
def test_an_extended_image_is_reflected_and_filled_up_to_whole_tiles(height, width, radius):
    image = torch.randn(1, 3, height, width)
    made = extend(image, radius).permute(0, 3, 1, 2)
    reflected = F.pad(image, (radius,) * 4, mode="reflect")
    assert torch.equal(made[:, :, : height + 2 * radius, : width + 2 * radius], reflected)
    assert (made.shape[2] - 2 * radius) % TILE == (made.shape[3] - 2 * radius) % TILE == 0
    assert made.abs().sum().isclose(reflected.abs().sum())


@given(radii)
def test_the_taps_of_a_pixel_are_the_neighbours_around_it(radius):
    side, taps = TILE + 2 * radius, 2 * radius + 1
    places = torch.arange(side * side).view(1, 1, -1).expand(1, TILE**2, -1).contiguous()  # each neighbour's own place
    found = banded(places, radius).view(TILE, TILE, taps, taps)
    whole = torch.arange(side * side).view(side, side)
    for y in range(TILE):
        for x in range(TILE):
            assert torch.equal(found[y, x], whole[y : y + taps, x : x + taps])


@given(radii, st.booleans())
def test_spreading_kernels_puts_every_tap_where_it_is_read_again(radius, reuse):
    side = TILE + 2 * radius
    kernels = torch.randn(2, TILE**2, (2 * radius + 1) ** 2)
    blank = torch.zeros(2, side, TILE**2, side) if reuse else None
    dense = spread(kernels, radius, blank)
    by_pixel = dense.permute(0, 2, 1, 3).reshape(2, TILE**2, side * side).contiguous()
    assert torch.equal(banded(by_pixel, radius), kernels)
    assert dense.abs().sum().isclose(kernels.abs().sum())  # nothing else
