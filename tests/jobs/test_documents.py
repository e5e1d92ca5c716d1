"""run.json and records: they survive JSON, and what is wrong with them is told by key, value and what is accepted."""

import json
import math
from dataclasses import replace

import pytest

from segearth_cli.jobs import typed
from segearth_cli.jobs.documents import FORMAT, Record, Run, SceneFile, differences
from segearth_cli.raster import Window

FRAME = {
    "height": 4, "width": 5, "crs": None, "transform": [1.0, 0.0, 3.0, 0.0, -1.0, 9.0],
    "gcps": [[0.0, 1.0, 7.5, 50.5, 0.0, "a", None]], "gcps_crs": "LOCAL_CS[]", "rpcs": {"err_bias": math.nan},
}  # fmt: skip
RUN = Run(
    FORMAT, SceneFile("scene.tif", 12, None, "ab"), {"threshold": 0.0, "stretch": [[0.0, math.inf]]},
    ({"name": "water"},), 512, ("mask", "scores"), FRAME,
)  # fmt: skip
RECORD = Record("r0", "ab", "done", Window(0, 0, 2, 3), {"r0.mask.tif": "cd"}, {"0": 6}, 2, 0.5, 0.0)


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("document", [RUN.sealed(), RECORD.sealed()], ids=["run", "record"])
def test_a_document_survives_json_that_any_program_reads(document):
    text = typed.write(document)
    assert typed.plain(typed.parse(type(document), text)) == strict(text)
    assert typed.parse(type(document), text).sealed() == typed.parse(type(document), text)


@pytest.mark.parametrize("seconds", [0.25, math.nan, math.inf, -math.inf])
def test_a_number_that_json_lacks_survives_as_text(seconds):
    found = typed.parse(Record, typed.write(replace(RECORD, seconds=seconds))).seconds
    assert found == seconds or math.isnan(found) == math.isnan(seconds) is True


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        (Run, {"shard_size": "512"}, 'shard_size: "512"; need a whole number'),
        (Run, {"shard_size": True}, "shard_size: true; need a whole number"),
        (Run, {"shard_size": 0}, "shard_size: 0; need a multiple of 512 px"),
        (Run, {"shard_size": 700}, "shard_size: 700; need a multiple of 512 px"),
        (Run, {"facts": {"stride": -3}}, "facts.stride: -3; need a whole number from 1"),
        (Run, {"facts": {"stride": None}}, "facts.stride: null; need a whole number from 1"),
        (Run, {"facts": {"window": 64.5}}, "facts.window: 64.5; need a whole number from 1"),
        (Run, {"facts": {"blend": "foo"}}, 'facts.blend: "foo"; need one of mean, taper'),
        (Run, {"facts": {"threshold": 1.5}}, "facts.threshold: 1.5; need a number from 0 to 1"),
        (Run, {"facts": {"global_bias": "much"}}, 'facts.global_bias: "much"; need a finite number'),
        (Run, {"facts": {"attention": "none"}}, 'facts.attention: "none"; need one of segearth, '),
        (Run, {"facts": {"nodata": "empty"}}, 'facts.nodata: "empty"; need a number'),
        (Run, {"facts": {"antialias": 1}}, "facts.antialias: 1; need true or false"),
        (Run, {"facts": {"bands": [1, "red"]}}, 'facts.bands[1]: "red"; need a whole number'),
        (Run, {"facts": {"working_size": [5]}}, "facts.working_size: [5]; need a list of 2 values"),
        (Run, {"facts": {"precision": "fp8"}}, 'facts.precision: "fp8"; need one of float32, bfloat16, float16'),
        (Run, {"outputs": ["mask", "map"]}, 'outputs[1]: "map"; need one of mask, confidence, scores'),
        (Run, {"outputs": ["scores"]}, "outputs: scores; need a list with mask in it"),
        (Run, {"scene": {"path": "x", "bytes": 1.5, "modified": None, "fingerprint": ""}},
         "scene.bytes: 1.5; need a whole number or null"),
        (Run, {"scene": {"path": "x"}}, "scene.bytes: is missing; need a whole number or null"),
        (Run, {"frame": {"width": 5}}, "frame.height: is missing; need a whole number"),
        (Run, {"frame": FRAME | {"height": 0}}, "frame.height: 0; need a whole number from 1"),
        (Run, {"frame": FRAME | {"transform": [1, 0, 3]}}, "frame.transform: [1, 0, 3]; need a list of 6 values"),
        (Run, {"frame": FRAME | {"crs": 4326}}, "frame.crs: 4326; need text or null"),
        (Run, {"facts": []}, "facts: []; need an object"),
        (Run, {"more": 1}, "more: is no key that is known; need one of format, scene"),
        (Record, {"state": "finished"}, 'state: "finished"; need one of done, empty, failed'),
        (Record, {"window": [0, 0, 2]}, "window: [0, 0, 2]; need a list of 4 numbers (row, col, height, width)"),
        (Record, {"files": {"a": 1}}, "files.a: 1; need text"),
        (Record, {"seconds": "long"}, 'seconds: "long"; need a number'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_key_value_and_what_is_accepted(kind, changes, told):
    values = typed.plain(RUN if kind is Run else RECORD) | typed.plain(changes)
    with pytest.raises(ValueError, match="need") as caught:
        typed.parse(kind, json.dumps(values))
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("text", ["", "{", "NaN", "[]", '"run"', "[" * 100_000, "\x00"])
def test_what_is_no_document_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - any text; the reader of the file tells it
        typed.parse(Run, text)


def test_the_seal_covers_all_but_where_the_scene_is():
    sealed = RUN.sealed()
    assert replace(RUN, scene=replace(RUN.scene, path="elsewhere.tif")).sealed().run == sealed.run
    for name, value in {
        "shard_size": 1024,
        "facts": {},
        "frame": FRAME | {"height": 9},
        "outputs": ("mask",),
        "format": 9,
    }.items():
        assert replace(RUN, **{name: value}).sealed().run != sealed.run


def test_differences_are_told_value_by_value():
    there, now = replace(RUN, facts={"threshold": 0.0}), replace(RUN, facts={"threshold": 0.3}, shard_size=1024)
    assert differences(there, now) == ["threshold: 0.0 there, 0.3 now", "shard_size: 512 there, 1024 now"]


def test_what_stands_in_a_run_twice_is_told_once():
    runs = [replace(RUN, facts={"classes": [[word]]}, classes=({"name": word},)) for word in ("water", "roof")]
    assert differences(*runs) == ['classes: [["water"]] there, [["roof"]] now']
