"""Files appear whole or not at all."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import pytest
from faulty import Died, Faults

from segearth_cli import cache, files
from segearth_cli.errors import SegEarthError


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "a.tif"
    with files.replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.suffix == ".tif"
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("name", ["a.tif", "[1] a*b?.tif", "noending", ".hidden.tif"])
def test_a_failure_leaves_the_old_file_and_no_side_files(tmp_path, name):
    path = tmp_path / name
    path.write_text("old")

    def fail():
        with files.replacing(path) as temporary:
            temporary.write_text("new")
            temporary.with_name(temporary.name + ".aux.xml").write_text("side")
            if path.suffix:  # as drivers of several files name them
                temporary.with_suffix(".dbf").write_text("side")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {name: "old"}


def test_files_written_at_the_same_time_do_not_meet(tmp_path):
    names = ["a.tif", "a.tiff", "a.b.tif", "a", "ab.tif"]
    with files.replacing(tmp_path / names[0]) as one, files.replacing(tmp_path / names[1]) as two:
        one.write_text("1")
        two.write_text("2")
        for name in names[2:]:
            with files.replacing(tmp_path / name) as other:
                other.write_text(name)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)


def test_a_folder_that_is_absent_or_locked_is_told(tmp_path):
    with pytest.raises(SegEarthError, match="does not exist; make it"), files.replacing(tmp_path / "no" / "a.tif"):
        pass
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(SegEarthError, match="not writable"), files.replacing(tmp_path / "a.tif"):
            pass


def test_the_hash_is_that_of_the_content(tmp_path):
    content = os.urandom((1 << 20) + 7)
    (tmp_path / "f").write_bytes(content)
    assert cache.sha256(tmp_path / "f") == hashlib.sha256(content).hexdigest()


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real.tif").write_text("old")
    (tmp_path / "link.tif").symlink_to("far/real.tif")
    files.write_text(tmp_path / "link.tif", "new")
    assert (tmp_path / "link.tif").is_symlink()
    assert (tmp_path / "far" / "real.tif").read_text() == "new"


SETS = [
    ("a.tif", ["a.tif.msk", "a.tif.ovr", "a.tif.aux.xml", "a.tfw"], ["a.tif.aux.xml"]),
    ("a.gpkg", ["a.gpkg-wal", "a.gpkg-shm", "a.gpkg-journal"], []),
    ("a.shp", ["a.shx", "a.dbf", "a.prj", "a.cpg", "a.qix"], ["a.shx", "a.dbf"]),
    ("a.csv", [], []),
]


def write_set(folder, name, made):
    with files.replacing(folder / name) as temporary:
        temporary.write_text("new")
        for side in made:
            ending = side.removeprefix(name) if side.startswith(name) else side.removeprefix(Path(name).stem)
            place = (
                temporary.with_suffix(ending) if name.endswith(".shp") else temporary.with_name(temporary.name + ending)
            )
            place.write_text("new")


@pytest.mark.parametrize(("name", "sides", "made"), SETS)
def test_a_data_set_is_replaced_with_its_side_files(tmp_path, name, sides, made):
    for old in [name, *sides, "a.txt", "b.tif.msk"]:
        (tmp_path / old).write_text("old")
    write_set(tmp_path, name, made)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        **dict.fromkeys([name, *made], "new"),
        **dict.fromkeys(["a.txt", "b.tif.msk"], "old"),
    }


@pytest.mark.parametrize(
    ("other", "side", "kept"),
    [("a.jpg", "a.wld", True), ("a.PNG", "a.wld", True), ("a.tiff", "a.tfw", True), ("a.jpg", "a.tfw", False),
     ("a.txt", "a.wld", False), ("b.jpg", "a.wld", False), ("a.jpg", "a.tif.msk", False)],
)  # fmt: skip
def test_a_world_file_that_another_raster_is_read_with_stays(tmp_path, other, side, kept):
    for name in ("a.tif", other, side):
        (tmp_path / name).write_text("old")
    write_set(tmp_path, "a.tif", [])
    assert (tmp_path / side).exists() == kept
    assert (tmp_path / "a.tif").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", other, *([side] if kept else [])}


def test_what_a_dead_process_left_of_one_file_is_never_given_to_another(tmp_path):
    names = ["x" * 50 + f"{end}.shp" for end in "ab"]
    sides = [".shx", ".dbf"]

    def begin(number):
        for name in names:
            for old in (name, *(name.replace(".shp", end) for end in sides)):
                (tmp_path / old).write_text(f"old {old[50]}")
        with pytest.MonkeyPatch.context() as patch, suppress(Died):
            faults = Faults(patch, tmp_path, number, dies=number is not None)
            write_set(tmp_path, names[0], [names[0].replace(".shp", end) for end in sides])
        return faults.count

    for number in range(1, begin(None) + 1):
        begin(number)
        files.recover([tmp_path / names[1]])
        assert {(tmp_path / names[1]).with_suffix(end).read_text() for end in (".shp", *sides)} == {"old b"}
        files.recover([tmp_path / names[0]])
        assert sorted(path.suffix for path in tmp_path.iterdir()) == sorted([".shp", *sides] * 2)


@pytest.mark.parametrize("length", [100, 200, 251])
@pytest.mark.parametrize("letter", ["a", "水", "\udcff"])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, length, letter):
    path = tmp_path / (letter * (length // len(os.fsencode(letter))) + ".tif")
    files.write_text(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
