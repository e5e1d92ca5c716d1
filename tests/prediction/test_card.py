"""What a card would wait for, counted on one that is none (tests/card.py): nothing, batch after batch."""

import numpy as np
import pytest
import rasterio
import tiny
import torch
from card import CARD, Card

from segearth_cli.model import Upsampler
from segearth_cli.prediction.decision import Decider
from segearth_cli.prediction.plan import PredictOptions, make_plan
from segearth_cli.prediction.schedule import Work
from segearth_cli.prediction.segment import segmented_rows
from segearth_cli.raster import open_scene

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a card is here, which is no stand-in's place")

SIDE, STRIDE, BATCH, QUERIES = 64, 32, 4, 3


def segmenter(precision=torch.float32):
    """The tiny model with an upsampler as gentle as a new one, whose sums stay within float16."""
    made = tiny.segmenter(phrases=QUERIES)
    torch.manual_seed(0)
    return type(made)(
        made.encoder, Upsampler(tiny.CHANNELS, tiny.PATCH, radius=2, keys=4).eval(), made.phrases, precision=precision
    )


@pytest.fixture
def card(monkeypatch):
    return Card(monkeypatch)


@pytest.fixture
def scene(tmp_path):
    pixels = np.random.default_rng(0).integers(1, 256, (3, 160, 256), dtype=np.uint8)
    pixels[:, 40:60, 100:140] = 0
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", width=256, height=160, count=3, dtype="uint8", nodata=0
    ) as ds:
        ds.write(pixels)
    return open_scene(str(tmp_path / "scene.tif"))


def masks(scene, model, work, **options):
    """The codes of a scene."""
    plan = make_plan(scene, PredictOptions(window=SIDE, stride=STRIDE, **options), SIDE)
    decide = Decider((0, 1, 1), 0.0, None)
    return np.concatenate([rows.codes for rows in segmented_rows(scene, plan, model, QUERIES, decide, work)])


def counts_of(card, scene, batch=BATCH, precision=torch.float32, **options):
    """For each batch, what was asked of the card before it and by the model, when nothing is new to the process."""
    counts = []
    with card:
        model = segmenter(precision).to("cuda")

        def call(*given):
            around = card.taken()
            made = model(*given)
            counts.append((around, card.taken()))
            return made

        masks(scene, call, Work(CARD, batch), **options)
        counts.clear()
        masks(scene, call, Work(CARD, batch), **options)
    return counts


RESOLUTIONS = [{}, {"scale": 0.7}, {"scale": 1.4, "blend": "taper"}]


@pytest.mark.slow
@pytest.mark.parametrize("options", RESOLUTIONS, ids=str)
def test_no_batch_waits_for_a_copy_and_each_pixel_is_sent_once(card, scene, options):
    counts = counts_of(card, scene, **options)
    assert sum(inside.blocking + inside.sent for _, inside in counts) == 0
    assert sum(around.blocking for around, _ in counts[1:]) == 0  # what a region needs is sent before its first batch
    if not options:
        weights = 4 * SIDE * SIDE  # of blending, once a region
        assert sum(around.sent for around, _ in counts) == 4 * scene.height * scene.width + weights  # RGB and validity


@pytest.mark.slow
def test_a_batch_takes_as_many_launches_however_many_windows_it_holds(card, scene):
    few, many = (counts_of(card, scene, batch, torch.float16) for batch in (2, 8))
    assert few[-1][1].launches == many[-1][1].launches
    assert many[-1][1].total < 260  # 1,060 with a row of tiles at a time and weights prepared for each; two blocks
    assert max(around.total for around, _ in many) < 35  # 24 more when windows were added one by one


@pytest.mark.slow
def test_the_masks_of_the_card_are_those_of_the_cpu(card, scene):
    for options in RESOLUTIONS[::2]:
        expected = masks(scene, segmenter(), Work(torch.device("cpu"), BATCH), **options)
        with card:
            found = masks(scene, segmenter().to("cuda"), Work(CARD, BATCH), **options)
        assert np.mean(found == expected) > 0.999  # axes of tokens by another factorisation: rounding
