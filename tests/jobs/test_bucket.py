"""Runs kept in a bucket, on an S3 server of this machine: the same masks, and claims that outlive no process."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import forked
import noise
import pytest
import rasterio
import s3_server

boto3 = pytest.importorskip("boto3")
pytest.importorskip("moto.server")
pytest.importorskip("obstore")

from segearth_cli.jobs import bucket  # noqa: E402
from segearth_cli.jobs.objects import Objects  # noqa: E402
from segearth_cli.jobs.place import Prefix, parse_place  # noqa: E402
from segearth_cli.jobs.run_folder import open_ledger  # noqa: E402
from segearth_cli.jobs.store import open_store  # noqa: E402

SECRET = "wJalrXUtnFEMI"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """An S3 server that this process and those that it starts use, with an empty bucket: a client, its requests."""
    requests = tmp_path_factory.mktemp("s3") / "requests"
    with requests.open("w") as log, pytest.MonkeyPatch.context() as patch:
        words = [sys.executable, s3_server.__file__]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.DEVNULL)
        while not requests.read_text().endswith("\n"):
            assert process.poll() is None
            time.sleep(0.05)
        for name, value in KEYS.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", requests.read_text().strip())
        yield SimpleNamespace(client=with_bucket(), requests=requests)
        process.stdin.close()
        process.wait()


def with_bucket():
    """A client of the server of now, which has the bucket `maps` then."""
    client = boto3.client("s3")
    client.create_bucket(Bucket="maps")
    return client


@pytest.fixture
def other(s3, monkeypatch):
    """A server of this process in place of that of the session: its application, after a change to it."""

    @contextmanager
    def serve(change):
        backend = s3_server.backend()
        with s3_server.serving(lambda environ, respond: change(environ, respond) or backend(environ, respond)) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            yield

    return serve


def twice(*words):
    """A run in a folder, and the same in the bucket, by one process."""
    from segearth_cli import cli

    for work, mask, sure in (("run", "mask.tif", "sure.tif"), ("s3://maps/all", "far.tif", "far.sure.tif")):
        sys.argv = ["segearth", *map(str, words), "--work", work, "-o", mask, "--confidence", sure]
        assert cli.run() == 0


@pytest.fixture(scope="session")
def made(s3, model_dir, tmp_path_factory):
    """A scene of six shards, one without data, and its masks: of a run in a folder, and far.* of one in the bucket."""
    folder = tmp_path_factory.mktemp("made")
    noise.save_scene(folder / "scene.tif", 1100, 900, nodata=0, holes=[(0, 0, 512, 512)])
    done = forked.Process(twice, *words(folder, model_dir), cwd=folder).finish()
    assert (done.returncode, done.stderr) == (0, "")
    return folder


SURE = ("--confidence", "sure.tif")
MODEL = ("--upsampler", "none", "--precision", "fp32", "-d", "cpu", "--stride", "64", "-q")


def words(made, model_dir, *more):
    """The words of a run of the scene, but for where it goes."""
    named = ("-c", "water,roof,road", "-m", f"local-dir:{model_dir}", *MODEL, "--shard-size", 512, *more)
    return ("predict", made / "scene.tif", *named)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def predict(segearth, made, model_dir, here):
    """Runs `segearth predict` of the scene in this process."""
    return lambda *more: segearth(*words(made, model_dir), *more)


@pytest.fixture
def run(request):
    """A place for a run of this test alone."""
    return f"s3://maps/{request.node.name.replace('[', '-').rstrip(']')}"


def keys(s3, place):
    """What lies below a place."""
    pages = s3.client.get_paginator("list_objects_v2").paginate(Bucket="maps", Prefix=f"{parse_place(place).prefix}/")
    return {one["Key"]: one["LastModified"] for page in pages for one in page.get("Contents", ())}


def same(made, *names):
    return [Path(name).read_bytes() == (made / name).read_bytes() for name in names] == [True] * len(names)


def computed(s3, place):
    """How often masks of shards were sent."""
    prefix = parse_place(place).prefix
    asked = s3.requests.read_text().splitlines()
    return sum(line.startswith(f"PUT /maps/{prefix}/") and line.endswith(".mask.tif") for line in asked)


FINISHED = "s3://maps/all"


def test_a_run_in_a_bucket_gives_the_mask_of_one_in_a_folder(made):
    assert (made / "far.tif").read_bytes() == (made / "mask.tif").read_bytes()
    assert (made / "far.sure.tif").read_bytes() == (made / "sure.tif").read_bytes()


def test_a_run_in_a_bucket_is_merged_to_the_bytes_of_a_local_one(made, segearth, here):
    done = segearth("merge", FINISHED, "-o", "mask.tif", *SURE)
    assert (done.code, done.out) == (0, "mask.tif\n"), done.err
    assert "6 of 6 parts joined: mask.tif, sure.tif" in done.err
    assert same(made, "mask.tif", "sure.tif")
    for name, place in (("far.tif", FINISHED), ("near.tif", made / "run")):
        assert segearth("merge", place, "-o", name, "--format", "cog", "-q").err == ""
    assert Path("far.tif").read_bytes() == Path("near.tif").read_bytes()
    for name, place in (("far", FINISHED), ("near", made / "run")):
        assert segearth("merge", place, "-o", name, "--format", "stac").code == 0
    files = {path.relative_to("far") for path in Path("far").rglob("*") if path.is_file()}
    assert len(files) > 12
    assert {path.relative_to("near") for path in Path("near").rglob("*") if path.is_file()} == files
    assert [name for name in files if ("far" / name).read_bytes() != ("near" / name).read_bytes()] == []


def test_what_holds_masks_takes_a_run_in_a_bucket(made, segearth, here):
    done = segearth("merge", FINISHED)
    assert (done.code, done.out) == (0, "s3://maps/all/mask.vrt\n"), done.err
    with (
        rasterio.Env(AWS_S3_ENDPOINT=os.environ["AWS_ENDPOINT_URL"][7:], AWS_HTTPS="NO", AWS_VIRTUAL_HOSTING="FALSE"),
        rasterio.open("/vsis3/maps/all/mask.vrt") as mosaic,
        rasterio.open(made / "mask.tif") as mask,
    ):
        assert (mosaic.read() == mask.read()).all()
    for place, folder in ((FINISHED, "far"), (made / "run", "near")):
        Path(folder).mkdir()
        assert segearth("vectorize", place, "-o", f"{folder}/a.geojson", "-q").code == 0
    assert Path("far/a.geojson").read_bytes() == Path("near/a.geojson").read_bytes()
    done = segearth("evaluate", FINISHED, made / "mask.tif", "-c", "background,water,roof,road", "-q")
    assert done.code == 0, done.err


def listings(s3):
    """How often the bucket was listed."""
    return sum(line.rstrip("/") == "GET /maps" for line in s3.requests.read_text().splitlines())


def test_shares_in_any_order_give_the_same_mask_and_no_shard_is_sent_twice(s3, made, predict, run, segearth):
    before = listings(s3)
    for index in (2, 0, 1, 1):
        done = predict("--work", run, *SURE, "--shard-index", index, "--shard-count", 3)
        assert (done.code, done.out) == (0, f"{run}\n"), done.err
        if index == 2:
            missing = segearth("merge", run, "-o", "mask.tif")
            assert (missing.code, len(missing.lines)) == (1, 1)
            assert f"{run}: 4 of 6 shards are missing: r00000c00000 (not computed yet)" in missing.err
    assert segearth("merge", run, "-o", "mask.tif", *SURE).code == 0
    assert same(made, "mask.tif", "sure.tif")
    assert computed(s3, run) == 5  # one has no data
    assert listings(s3) == before
    assert not [key for key in keys(s3, run) if "/temporary/" in key]


def test_resume_sends_what_is_missing_or_changed_and_nothing_else(s3, made, predict, run):
    there, prefix = keys(s3, FINISHED), parse_place(run).prefix
    for key in there:
        source = {"Bucket": "maps", "Key": key}
        s3.client.copy_object(Bucket="maps", CopySource=source, Key=key.replace("all/", f"{prefix}/", 1))
    s3.client.delete_object(Bucket="maps", Key=f"{prefix}/shards/r00001/r00001c00000.json")
    s3.client.put_object(Bucket="maps", Key=f"{prefix}/shards/r00001/r00001c00001.mask.tif", Body=b"other")
    s3.client.delete_object(Bucket="maps", Key=f"{prefix}/shards/r00002/r00002c00000.sure.tif")
    s3.client.delete_object(Bucket="maps", Key=f"{prefix}/shards/r00002/r00002c00000.confidence.tif")
    done = predict("--work", run, "-o", "mask.tif", *SURE)
    assert (done.code, len(done.lines)) == (1, 1)
    assert f"--work {run}: holds this run already; go on with --resume" in done.err
    before = computed(s3, run)
    done = predict("--work", run, "-o", "mask.tif", *SURE, "--resume")
    assert done.code == 0, done.err
    assert same(made, "mask.tif", "sure.tif")
    assert computed(s3, run) - before == 3
    done = predict("--work", run, "-o", "other.tif", *SURE, "--resume", "--threshold", "0.3")
    assert (done.code, len(done.lines)) == (1, 1)
    assert f"--work {run}: holds another run" in done.err


def test_an_object_that_was_changed_behind_its_record_does_not_get_into_a_mask(s3, made, segearth, here):
    key = "all/shards/r00001/r00001c00001.mask.tif"
    was = s3.client.get_object(Bucket="maps", Key=key)
    content = was["Body"].read()
    try:
        s3.client.put_object(Bucket="maps", Key=key, Body=b"\0" + content[1:], Metadata=was["Metadata"])
        done = segearth("merge", FINISHED, "-o", "mask.tif")
    finally:
        s3.client.put_object(Bucket="maps", Key=key, Body=content, Metadata=was["Metadata"])
    assert (done.code, len(done.lines)) == (1, 1)
    assert "s3://maps/all/shards/r00001/r00001c00001.mask.tif: has changed since it was written" in done.err
    assert not Path("mask.tif").exists()


@pytest.mark.thorough
@pytest.mark.parametrize("more", [["--devices", "cpu,cpu"], ["--engine", "dask"]], ids=["devices", "dask"])
def test_several_processes_give_the_same_mask(s3, made, model_dir, here, run, more):
    if "dask" in more:
        pytest.importorskip("distributed")
    given = words(made, model_dir)
    if "--devices" in more:
        given = [word for word in given if word not in ("-d", "cpu")]
    done = forked.segearth(*given, "--work", run, "-o", "mask.tif", *SURE, *more)
    assert done.returncode == 0, done.stderr
    assert same(made, "mask.tif", "sure.tif")
    assert computed(s3, run) == 5


@pytest.mark.slow
def test_two_processes_on_one_run_share_it(s3, made, model_dir, here, run):
    outs = (("mask.tif", "sure.tif"), ("two.tif", "two.sure.tif"))
    pair = [
        forked.start(*words(made, model_dir), "--work", run, "--resume", "-o", mask, "--confidence", sure)
        for mask, sure in outs
    ]
    assert [process.finish().returncode for process in pair] == [0, 0]
    assert same(made, "mask.tif", "sure.tif")
    assert Path("two.tif").read_bytes() == Path("mask.tif").read_bytes()
    assert computed(s3, run) == 5


def hold(place):
    bucket.RENEW = 0.1
    with bucket.Bucket(parse_place(place)).claim("r00001c00000") as mine:
        assert mine
        sys.stderr.write("held")
        sys.stderr.flush()
        time.sleep(600)


@contextmanager
def holding(place):
    """A process that holds the claim of a shard and writes it anew ten times a second."""
    process = forked.Process(hold, place)
    try:
        process.wait_for(lambda: process.told() == "held")
        yield process
    finally:
        if process.poll() is None:
            process.send(signal.SIGKILL)
        process.finish()


@pytest.mark.slow
def test_the_claim_of_a_process_that_is_killed_lapses_and_that_of_a_living_one_does_not(
    s3, made, predict, run, monkeypatch
):
    monkeypatch.setattr(bucket, "RENEW", 0.5)
    monkeypatch.setattr(bucket, "LEASE", 3.0)  # the clock of the store tells whole seconds
    monkeypatch.setattr(bucket, "POLL", 0.2)
    store = open_store(parse_place(run))
    with holding(run) as process:
        time.sleep(bucket.LEASE + 1.5)
        with store.claim("r00001c00000") as mine:
            assert not mine
        threading.Timer(1.0, process.send, (signal.SIGKILL,)).start()
        done = predict("--work", run, "-o", "mask.tif", *SURE)
        assert process.poll() is not None
    assert done.code == 0, done.err
    assert same(made, "mask.tif", "sure.tif")
    assert not [key for key in keys(s3, run) if "/temporary/" in key]


def test_of_many_who_take_over_one_claim_one_gets_it(s3, run, monkeypatch):
    with holding(run):
        pass
    time.sleep(2.5)
    monkeypatch.setattr(bucket, "LEASE", 1.0)
    store, got, meet = open_store(parse_place(run)), [], threading.Barrier(8)

    def take():
        meet.wait()
        with store.claim("r00001c00000") as mine:
            got.append(mine)
            meet.wait()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]


@pytest.mark.slow
def test_killed_a_run_goes_on_to_the_same_mask(s3, made, model_dir, predict, run, monkeypatch):
    monkeypatch.setattr(bucket, "LEASE", 2.0)
    monkeypatch.setattr(bucket, "POLL", 0.2)
    for _ in range(3):
        before = computed(s3, run)
        more = ("--work", run, "-o", "mask.tif", *SURE, "--resume")
        process = forked.start(*words(made, model_dir), *more)
        while computed(s3, run) == before and process.poll() is None:
            time.sleep(0.01)
        process.send(signal.SIGKILL)
        process.finish()
    done = predict("--work", run, "-o", "mask.tif", *SURE, "--resume")
    assert done.code == 0, done.err
    assert same(made, "mask.tif", "sure.tif")
    assert computed(s3, run) <= 5 + 3


def test_a_manifest_keeps_each_scene_below_its_own_name(s3, made, model_dir, segearth, here, run):
    for name, size in (("a", (300, 300)), ("b", (200, 600))):
        noise.save_scene(here / f"{name}.tif", *size, seed=1)
    (here / "list.csv").write_text("scene\na.tif\nb.tif\n")
    given = [word for word in words(made, model_dir) if word != made / "scene.tif"]
    local = segearth(*given, "--manifest", "list.csv", "-o", "local")
    assert local.code == 0, local.err
    for index in (1, 0):
        part = segearth(*given, "--manifest", "list.csv", "-o", "far", "--work", run, "--shard-index", index,
                        "--shard-count", 2)  # fmt: skip
        assert part.code == 0, part.err
    before = computed(s3, run)
    done = segearth(*given, "--manifest", "list.csv", "-o", "far", "--work", run, "--resume")
    assert done.code == 0, done.err
    assert computed(s3, run) == before == 3
    masks = [path.name for path in Path("local").glob("*.tif")]
    assert len(masks) == 2
    assert [name for name in masks if Path("local", name).read_bytes() != Path("far", name).read_bytes()] == []
    assert {key.split("/")[1] for key in keys(s3, run)} == {"a", "b"}


def test_a_record_that_is_not_of_this_run_is_not_believed(made):
    ledger = open_ledger(parse_place(FINISHED))
    found = ledger.look_at(ledger.shards)
    assert [look.state for look in found.values()] == ["empty"] + ["done"] * 5
    assert found == {shard: ledger.look(shard) for shard in ledger.shards}


@pytest.mark.parametrize(("place", "code", "line"), [
    ("s3://nothere/run", 1, "s3://nothere: no such bucket; make it, or name another --work"),
    ("s3://", 2, "--work s3://: names no place in a bucket; need s3://BUCKET/PREFIX"),
    ("gs://maps/a/../b", 2, "--work gs://maps/a/../b: names no place in a bucket; need gs://BUCKET/PREFIX"),
    ("s3://user:secret@maps/run", 2, "--work s3://maps/run: names no place in a bucket; need s3://BUCKET/PREFIX"),
])  # fmt: skip
def test_a_place_that_is_none_is_one_line_before_anything_is_computed(s3, predict, place, code, line):
    done = predict("--work", place, "-o", "mask.tif")
    assert (done.code, done.out, done.lines) == (code, "", [f"segearth: {line}"])
    assert not Path("mask.tif").exists()


def test_a_prefix_without_a_run_is_told(s3, segearth):
    done = segearth("merge", "s3://maps/nothing", "-o", "m.tif")
    assert (done.code, done.lines) == (
        1,
        ["segearth: s3://maps/nothing: holds no run.json; name the --work folder of a `segearth predict`"],
    )


@pytest.mark.parametrize("ignored", ["HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"])
def test_a_server_that_takes_no_conditions_is_refused_and_nothing_is_left_there(other, predict, run, ignored):
    def blind(environ, respond):
        environ.pop(ignored, None)

    with other(blind):
        client = with_bucket()
        done = predict("--work", run, "-o", "mask.tif")
        assert client.list_objects_v2(Bucket="maps")["KeyCount"] == 0
    assert (done.code, done.out, len(done.lines)) == (1, "", 1)
    assert f"{run}: its server takes no conditional writes (If-None-Match, If-Match)" in done.err


def answer(respond, status, code, message):
    respond(status, [("Content-Type", "application/xml")])
    return [f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()]


def test_a_server_that_forbids_is_told_without_secrets(other, predict, run):
    with other(lambda _environ, respond: answer(respond, "403 Forbidden", "AccessDenied", "Access Denied")):
        done = predict("--work", run, "-o", "mask.tif")
    assert (done.code, done.lines) == (1, ["segearth: s3://maps: AccessDenied: Access Denied"])


def test_a_shard_that_cannot_be_sent_fails_and_the_run_goes_on_later(other, made, predict, run, monkeypatch):
    monkeypatch.setattr("segearth_cli.jobs.objects.RETRIES", 1)
    busy = True

    def flaky(environ, respond):
        if busy and environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith("r00001c00000.mask.tif"):
            return answer(respond, "503 Slow Down", "SlowDown", "Please reduce your request rate.")
        return None

    with other(flaky):
        with_bucket()
        done = predict("--work", run, "-o", "mask.tif", *SURE)
        assert (done.code, len(done.lines)) == (1, 1), done.err
        assert "SlowDown: Please reduce your request rate. (1 of 6 shards failed, r00001c00000 first" in done.err
        busy = False
        assert predict("--work", run, "-o", "mask.tif", *SURE, "--resume").code == 0
    assert same(made, "mask.tif", "sure.tif")


def test_without_obstore_a_line_names_the_extra(predict, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    done = predict("--work", "s3://elsewhere/run", "-o", "mask.tif")
    assert (done.code, done.lines) == (
        1,
        ["segearth: s3://elsewhere: needs obstore, which is not installed; pip install 'segearth[cloud]'"],
    )


def test_neither_run_nor_records_nor_masks_hold_secrets(s3, made):
    for key in keys(s3, FINISHED):
        content = s3.client.get_object(Bucket="maps", Key=key)["Body"].read()
        assert SECRET.encode() not in content
        assert KEYS["AWS_ACCESS_KEY_ID"].encode() not in content
    run = json.loads(s3.client.get_object(Bucket="maps", Key="all/run.json")["Body"].read())
    assert run["scene"]["path"] == str(made / "scene.tif")


def test_gs_is_a_prefix_too():
    assert parse_place("gs://maps/a/b/") == Prefix("gs", "maps", "a/b")
    assert Objects("gs", "maps").put  # obstore has it; no server of Google's is here to try it on


def test_a_dry_run_writes_nothing_and_refuses_what_the_run_would(s3, made, predict, run):
    done = predict("--work", run, "-o", "mask.tif", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert keys(s3, run) == {}
    told = [
        json.loads(predict("--work", place, "-o", "mask.tif", *SURE, "--resume", "--dry-run", "--json").out)
        for place in (FINISHED, made / "run")
    ]
    assert told[0] == told[1]
    assert told[0]["shards_done"] == 6
    done = predict("--work", FINISHED, "-o", "mask.tif", "--dry-run")
    assert (done.code, len(done.lines)) == (1, 1)
    assert f"--work {FINISHED}: holds another run" in done.err
