"""Files appear whole or not at all."""

import hashlib
import os

import pytest

from segearth_cli import files
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
    assert files.sha256(tmp_path / "f") == hashlib.sha256(content).hexdigest()
