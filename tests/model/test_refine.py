"""The last stage where it matters: which tiles, that they are exact, and that nothing else changes them."""

import pytest
import tiny
import torch

from segearth_cli.model import refine
from segearth_cli.model.window_cache import Overlap


def logits(height, width, *, ahead):
    """Two classes, the first one ahead by so much everywhere."""
    return torch.stack([torch.full((height, width), ahead), torch.zeros(height, width)])


TWO = torch.tensor([0, 1])


def test_a_tile_is_undecided_where_two_classes_come_close_and_only_there():
    found = logits(20, 30, ahead=1.0)
    assert not refine.undecided(found, TWO).any()
    assert refine.undecided(found, TWO).shape == (3, 4)  # the last ones are parts of tiles
    found[0, 17, 9] = found[1, 17, 9] - refine.CLOSE / 2
    assert refine.undecided(found, TWO).nonzero().tolist() == [[2, 1]]


def test_phrases_of_one_class_may_come_close():
    found = torch.cat([logits(8, 8, ahead=1.0)[:1], logits(8, 8, ahead=1.0)])
    assert refine.undecided(found, torch.tensor([0, 1, 2])).all()
    assert not refine.undecided(found, torch.tensor([0, 0, 1])).any()


def test_one_class_leaves_nothing_to_decide():
    assert not refine.undecided(torch.zeros(2, 8, 9), torch.tensor([0, 0])).any()


def pair(**options):
    """An exact segmenter and an adaptive one of the same weights."""
    return tiny.segmenter(phrases=4, **options), tiny.segmenter(phrases=4, adaptive=range(4), **options)


def noise(height, width, batch=1):
    return torch.randint(0, 256, (batch, 3, height, width), generator=torch.manual_seed(7)).to(torch.uint8)


@pytest.mark.parametrize("patch", [8, 14, 16])
def test_where_every_tile_is_undecided_all_is_exact(patch, monkeypatch):
    exact, adaptive = pair(patch=patch)
    monkeypatch.setattr(refine, "CLOSE", 10.0)
    chips = noise(5 * patch, 4 * patch)
    assert torch.allclose(adaptive(chips), exact(chips), rtol=0, atol=2e-6)  # other shapes of products round otherwise


def test_tiles_are_exact_where_classes_come_close_and_bilinear_elsewhere(monkeypatch):
    exact, adaptive = pair()
    chips, chosen = noise(96, 64), []

    def undecided(found, classes):
        chosen.append(found)
        return tiles

    tiles = torch.zeros(12, 8, dtype=torch.bool)
    monkeypatch.setattr("segearth_cli.model.segmenter.undecided", undecided)
    bilinear = adaptive(chips)
    tiles[3, 2] = tiles[11, 7] = True
    mixed, whole = adaptive(chips), exact(chips)
    inside = tiles.repeat_interleave(8, 0).repeat_interleave(8, 1)
    assert torch.equal(mixed[..., ~inside], bilinear[..., ~inside])
    assert (mixed[..., inside] - whole[..., inside]).abs().max() < 2e-6
    assert (bilinear[..., inside] - whole[..., inside]).abs().max() > 1e-3  # the last stage does something


def test_a_tile_does_not_depend_on_which_others_are_undecided(monkeypatch):
    _, adaptive = pair()
    chips = noise(96, 96)
    found = []
    for more in (0, 5, 60):
        tiles = torch.zeros(144, dtype=torch.bool)
        tiles[77] = True
        tiles[torch.randperm(144, generator=torch.manual_seed(more))[:more]] = True
        monkeypatch.setattr("segearth_cli.model.segmenter.undecided", lambda *_, t=tiles: t.view(12, 12))
        found.append(adaptive(chips)[..., 48:56, 40:48])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_neither_other_windows_nor_a_batch_change_a_bit():
    _, adaptive = pair()
    chips = noise(64, 64, batch=3)
    alone = torch.cat([adaptive(chip[None]) for chip in chips])
    assert torch.equal(adaptive(chips), alone)
    assert torch.equal(adaptive(chips, None, Overlap(32, 1 << 20)), alone)


def test_other_vectors_are_asked_exactly():
    exact, adaptive = pair()
    chips, axes = noise(64, 64), torch.eye(tiny.CHANNELS)
    assert torch.equal(adaptive.asking(axes)(chips), exact.asking(axes)(chips))
