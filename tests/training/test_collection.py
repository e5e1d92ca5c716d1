"""What is trained on: every image of folders, links and archives, no label, no mask of our own."""

import itertools
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segearth_cli.classes import parse, to_tag
from segearth_cli.errors import TrainingError
from segearth_cli.raster import ReadOptions
from segearth_cli.training import collect
from segearth_cli.training.windows import Windows

READ = ReadOptions()
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def picture(name, bands=3, *, palette=False):
    shape = (40, 50, bands) if bands > 1 else (40, 50)
    image = Image.fromarray(RNG.integers(0, 4 if bands == 1 else 256, shape, np.uint8))
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    (image.convert("P") if palette else image).save(name)
    return name


def names(*given, tars=()):
    return [one.name for one in collect(given, tars, READ).pictures]


def test_folders_are_searched_recursively_and_other_files_passed_over():
    found = [picture(f"set/part{i % 2}/{i}.png") for i in range(4)]
    Path("set/notes.txt").write_text("not an image")
    assert names("set") == sorted(found)


def test_linked_folders_are_followed_and_loops_end():
    picture("far/a.png")
    Path("set/sub").mkdir(parents=True)
    Path("set/link").symlink_to("../far")
    Path("set/sub/loop").symlink_to("..")
    assert names("set") == ["set/link/a.png"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("absolute", [True, False])
def test_an_archive_gives_the_pixels_of_its_files(kind, absolute):
    files = [picture(f"set/{i}.png") for i in range(3)]
    path = Path(f"set.{kind}").absolute() if absolute else f"set.{kind}"
    with tarfile.open(path, "w") if kind == "tar" else zipfile.ZipFile(path, "w") as archive:
        for file in files:
            (archive.add if kind == "tar" else archive.write)(file, f"in side/{file}")
    inside, outside = (Windows(collect([str(place)], [], READ).pictures, 16, 0, READ) for place in (path, "set"))
    for number in range(12):
        np.testing.assert_array_equal(inside[number][0].image, outside[number][0].image)


def test_unreadable_files_are_named_and_do_not_stop_the_others():
    picture("set/a.png")
    Path("set/broken.png").write_bytes(b"\x89PNG nothing more")
    for name in ("no.tar", "no.zip"):
        Path(name).write_bytes(b"no archive")
    found = collect(["set", "absent.tif", "no.zip"], ["no.tar"], READ)
    assert len(found.pictures) == 1
    for name in ("broken.png", "absent.tif", "no.tar", "no.zip"):
        assert sum(name in line for line in found.unreadable) == 1


def test_nothing_readable_is_an_error_that_says_where(tmp_path):
    with pytest.raises(TrainingError, match=str(tmp_path)):
        collect([str(tmp_path)], [], READ)


LAYOUTS = {
    "beside": ("{image}", "{image}_label"),
    "folders": ("img/{image}", "masks/{image}"),
    "folders of a set": ("Train/images_png/{image}", "Train/masks_png/{image}"),
    "numbered": ("images/{image}", "labels_2/{image}"),
    "same stems": ("a/{image}", "b/{image}"),
}


TOLD = [*itertools.product(LAYOUTS, ["grey", "palette", "colour"])]
TOLD.remove(("same stems", "colour"))  # nothing tells such a picture from an image


@pytest.mark.parametrize(("layout", "label"), TOLD)
def test_labels_beside_images_are_left_out_and_told(layout, label):
    image, other = (f"set/{pattern}" for pattern in LAYOUTS[layout])
    images = [picture(image.format(image=f"s{i}") + ".png") for i in range(2)]
    labels = [
        picture(other.format(image=f"s{i}") + ".png", 3 if label == "colour" else 1, palette=label == "palette")
        for i in range(2)
    ]
    found = collect(["set"], [], READ)
    assert [one.name for one in found.pictures] == images
    (line,) = found.left_out
    assert line.startswith("2 left out, labels: ")
    assert all(name in line for name in labels)


@pytest.mark.parametrize("place", ["sar/{}.png", "labels/{}.png"])
def test_one_band_is_imagery_where_there_is_no_other(place):
    files = [picture(place.format(i), 1) for i in range(2)]
    found = collect(["."], [], READ)
    assert sorted(one.name for one in found.pictures) == files
    assert found.left_out == ()


def test_grey_images_among_others_stay():
    files = [picture("set/a.png"), picture("set/panchromatic.png", 1)]
    assert names("set") == files


def test_what_segearth_wrote_is_left_out(write_raster, noise):
    import rasterio

    picture("set/a.png")
    for name in ("a.mask.tif", "a.scores.tif"):
        with rasterio.open(write_raster(f"set/{name}", noise(3, 40, 50)), "r+") as ds:
            ds.update_tags(SEGEARTH_CLASSES=to_tag(parse("a,b")))
    found = collect(["set"], [], READ)
    assert [one.name for one in found.pictures] == ["set/a.png"]
    assert found.left_out == ("2 left out, written by segearth: set/a.mask.tif, set/a.scores.tif",)
