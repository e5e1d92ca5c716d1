"""Downloads, against a server on this machine that truncates, corrupts, stalls and refuses."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import forked
import open_clip
import pytest
import shell
import tiny
import torch
from safetensors.torch import save

from segearth_cli.errors import UsageError, WeightsError
from segearth_cli.weights.catalogue import CATALOGUE, CatalogueEntry
from segearth_cli.weights.downloads import download, git_blob
from segearth_cli.weights.http import Patience, fetch
from segearth_cli.weights.locate import kept, kept_folder, verified

QUICK = Patience(timeout=0.3, tries=3, pause=0.01, longest=0.02)
CONTENT = hashlib.shake_128(b"segearth").digest(3_000_000)


class Server(ThreadingHTTPServer):
    """Serves `content` at every path; each request takes its way of answering from `ways`, the last one stays."""

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.ways, self.requests = content, '"one"', ["well"], []
        self.released = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/weights.ckpt"

    def handle_error(self, *_):
        """A client that went away is what these tests make."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        way = server.ways.pop(0) if len(server.ways) > 1 else server.ways[0]
        server.requests.append((self.path, dict(self.headers)))
        if isinstance(way, int):
            self.send_error(way)
            return
        body = server.content
        start = self._start() if way != "forgets" else 0
        if start:
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if way != "unsized":
            self.send_header("Content-Length", str(len(body) - start))
        if way == "packed":
            self.send_header("Content-Encoding", "gzip")
        if way != "untagged":
            self.send_header("ETag", server.etag)
        self.end_headers()
        self._send(bytearray(body[start:]), way)

    def _start(self):
        asked = self.headers.get("Range")
        if not asked or self.headers.get("If-Range", self.server.etag) != self.server.etag:
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _send(self, body, way):
        if way == "corrupts":
            body[len(body) // 2] ^= 1
        if way in ("truncates", "stalls"):
            body = body[: len(body) // 2]
        self.wfile.write(body)
        self.wfile.flush()
        if way == "stalls":
            self.server.released.wait(20)
        self.close_connection = True


@pytest.fixture
def server():
    with Server(CONTENT) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.released.set()
        running.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGEARTH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """An upsampler for vit-b16 in the layout of the authors' file."""
    path = tmp_path_factory.mktemp("authors") / "authors.ckpt"
    state = tiny.upsampler(channels=512, patch=16).state_dict()
    torch.save({"state_dict": {f"upsampler.{k}": v for k, v in state.items()}}, path)
    return path


@pytest.fixture
def authors(checkpoint, monkeypatch):
    """The catalogue with that file for the authors' own, which is not ours to keep here."""
    entry = replace(CATALOGUE["simfeatup"], git_blob=git_blob(checkpoint), size=checkpoint.stat().st_size)
    monkeypatch.setattr("segearth_cli.weights.downloads.CATALOGUE", {**CATALOGUE, "simfeatup": entry})
    return checkpoint


def get(url, part, **patience):
    fetch(url, part, patience=replace(QUICK, **patience), report=lambda _done, _total: None)
    return part.read_bytes()


def one_line(error):
    text = str(error.value)
    assert len(text.splitlines()) == 1
    return text


def left(folder):
    """The files in a folder, but for the lock."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.name != ".lock") if folder.exists() else []


# --- bytes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ways",
    [
        ["well"],
        ["unsized"],
        ["untagged"],
        ["truncates", "well"],
        ["truncates", "truncates", "truncates", "truncates", "well"],
        ["truncates", "forgets"],
        ["stalls", "well"],
        ["untagged", "truncates", "well"],
        [503, 429, "well"],
        [500, "truncates", 502, "stalls", "well"],
    ],
)
def test_whatever_goes_wrong_on_the_way_the_file_arrives_as_it_is(server, tmp_path, ways):
    server.ways = ways
    assert get(server.url, tmp_path / "part") == CONTENT
    assert left(tmp_path) == ["part"]


def test_a_second_try_asks_for_the_rest_alone(server, tmp_path):
    server.ways = ["truncates", "well"]
    get(server.url, tmp_path / "part")
    headers = server.requests[1][1]
    assert headers["Range"] == f"bytes={len(CONTENT) // 2}-"
    assert headers["If-Range"] == '"one"'


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, tmp_path):
    server.ways = ["truncates", 503]
    with pytest.raises(WeightsError, match=f"goes on from byte {len(CONTENT) // 2}"):
        get(server.url, tmp_path / "part")
    server.ways = ["well"]
    server.requests.clear()
    assert get(server.url, tmp_path / "part") == CONTENT
    assert "Range" in server.requests[0][1]


def test_a_file_that_changed_on_the_server_is_fetched_anew(server, tmp_path):
    server.ways = ["truncates", 503]
    with pytest.raises(WeightsError):
        get(server.url, tmp_path / "part")
    server.ways, server.content, server.etag = ["well"], CONTENT[::-1], '"two"'
    assert get(server.url, tmp_path / "part") == CONTENT[::-1]


def test_a_shorter_file_without_a_tag_is_fetched_anew(server, tmp_path):
    (tmp_path / "part").write_bytes(CONTENT)
    (tmp_path / "part.json").write_text(json.dumps({"url": server.url, "validator": "", "total": len(CONTENT) + 9}))
    assert get(server.url, tmp_path / "part") == CONTENT


def test_what_is_left_of_another_address_is_not_gone_on_with(server, tmp_path):
    server.ways = ["truncates", 503]
    with pytest.raises(WeightsError):
        get(server.url, tmp_path / "part")
    server.ways = ["well"]
    server.requests.clear()
    get(server.url + "?other", tmp_path / "part")
    assert "Range" not in server.requests[0][1]


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_refusal_is_told_at_once(server, tmp_path, code):
    server.ways = [code]
    with pytest.raises(WeightsError, match=f"answers {code}") as error:
        get(server.url, tmp_path / "part")
    assert server.url in one_line(error)
    assert len(server.requests) == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize(("way", "says"), [("stalls", "nothing came for"), (503, "answers 503")])
def test_tries_without_progress_run_out(server, tmp_path, way, says):
    server.ways, server.content = [way], b"x"
    with pytest.raises(WeightsError, match=says) as error:
        get(server.url, tmp_path / "part", tries=2)
    one_line(error)
    assert 2 <= len(server.requests) <= 3


def test_a_server_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(WeightsError, match="no connection") as error:
        get("http://127.0.0.1:1/weights.pt", tmp_path / "part", tries=2)
    one_line(error)


@pytest.mark.parametrize("url", ["http://", "http://:x/", "http://a b/c.pt", "http://[::1/c.pt"])
def test_an_address_that_is_none_is_one_line(tmp_path, url):
    with pytest.raises((UsageError, WeightsError)) as error:
        get(url, tmp_path / "part", tries=1)
    one_line(error)


def test_proxies_come_from_the_environment(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert get("http://weights.invalid/x.ckpt", tmp_path / "part") == CONTENT
    assert server.requests[0][0] == "http://weights.invalid/x.ckpt"


# --- weights ---------------------------------------------------------------------------------------------------------


def test_the_authors_file_is_kept_with_its_hash_and_then_found(server, authors):
    server.content = authors.read_bytes()
    done = download("simfeatup", server.url, patience=QUICK)
    assert done.fetched
    assert done.path.read_bytes() == server.content
    assert done.sha256 == hashlib.sha256(server.content).hexdigest()
    assert done.path == kept("simfeatup")
    assert json.loads(done.path.with_name("weights.json").read_text())["sha256"] == done.sha256
    again = download("simfeatup", None)
    assert (again.path, again.fetched) == (done.path, False)
    assert len(server.requests) == 1


def test_a_file_of_this_machine_is_copied_and_stays(authors):
    before = authors.read_bytes()
    done = download("simfeatup", str(authors))
    assert done.path.read_bytes() == before == authors.read_bytes()


@pytest.mark.usefixtures("authors")
@pytest.mark.parametrize("way", ["corrupts", "well"])
def test_a_file_that_is_not_the_published_one_is_not_kept(server, way, checkpoint):
    server.ways = [way]
    server.content = checkpoint.read_bytes() if way == "corrupts" else CONTENT
    with pytest.raises(WeightsError, match="not the published file: git blob") as error:
        download("simfeatup", server.url, patience=QUICK)
    assert server.url in one_line(error)
    assert left(kept_folder("simfeatup")) == []


def test_a_refused_file_leaves_the_one_that_was_here(server, authors):
    done = download("simfeatup", str(authors))
    with pytest.raises(WeightsError):
        download("simfeatup", server.url, overwrite=True, patience=QUICK)
    assert done.path.read_bytes() == authors.read_bytes()
    assert left(kept_folder("simfeatup")) == ["weights.ckpt", "weights.json"]


def test_a_file_that_its_server_packs_is_refused_by_that_name(server, tmp_path):
    server.ways = ["packed"]
    with pytest.raises(WeightsError, match="packs it .gzip."):
        get(server.url, tmp_path / "part")


def test_an_interrupted_download_is_resumed_and_then_checked(server, authors):
    server.content, server.ways = authors.read_bytes(), ["truncates", 503]
    with pytest.raises(WeightsError):
        download("simfeatup", server.url, patience=QUICK)
    assert kept("simfeatup") is None
    server.ways = ["well"]
    assert download("simfeatup", server.url, patience=QUICK).path.read_bytes() == server.content
    assert left(kept_folder("simfeatup")) == ["weights.ckpt", "weights.json"]


def test_several_downloads_at_once_fetch_once(server, authors):
    server.content = authors.read_bytes()
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: download("simfeatup", server.url, patience=QUICK), range(4)))
    assert {d.path.read_bytes() for d in done} == {server.content}
    assert sorted(d.fetched for d in done) == [False, False, False, True]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html><html>a page about the file</html>", "a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"", "not the published file"),
    ],
)
def test_what_servers_give_instead_of_weights_is_named(server, content, says):
    server.content = content
    with pytest.raises(WeightsError, match=says) as error:
        download("simfeatup", server.url, patience=QUICK)
    one_line(error)


def test_a_model_that_does_not_fit_its_name_is_not_kept(server, tmp_path):
    server.content = (tiny.model(tmp_path / "tiny") / "open_clip_model.safetensors").read_bytes()
    with pytest.raises(WeightsError, match="weights of another model") as error:
        download("remoteclip-vit-b32", server.url.replace(".ckpt", ".safetensors"), patience=QUICK)
    one_line(error)
    assert left(kept_folder("remoteclip-vit-b32")) == []


@pytest.mark.parametrize(
    ("name", "origin", "says"),
    [
        ("mini", None, "embedded"),
        ("skyclip-vit-b32", None, "--from"),
        ("skyclip-vit-b32", "weights.zip", "no weight file by its name"),
        ("hf-hub:nonsense", None, "hf-hub:ORG/NAME"),
        ("hf-hub:some/model", "x.pt", "takes no --from"),
        ("vit-b-16", None, "did you mean vit-b16"),
    ],
)
def test_a_download_that_cannot_be_meant_says_why(name, origin, says):
    with pytest.raises(UsageError) as error:
        download(name, origin)
    assert says in one_line(error)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(WeightsError, match="no such file") as error:
        download("simfeatup", str(tmp_path / "absent.ckpt"))
    one_line(error)


def test_a_cache_folder_that_cannot_be_made_is_one_line(authors, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SEGEARTH_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="SEGEARTH_CACHE") as error:
        download("simfeatup", str(authors))
    one_line(error)


@pytest.fixture
def small(monkeypatch):
    """A name of the catalogue for the smallest plain ViT of open_clip's, and its random weights by seed."""
    entry = CatalogueEntry("small", "none", "made here", "ViT-S-32-alt", origin="nowhere")
    monkeypatch.setattr("segearth_cli.weights.downloads.CATALOGUE", {**CATALOGUE, "small": entry})

    def weights(seed):
        torch.manual_seed(seed)
        state = open_clip.CLIP(**open_clip.get_model_config("ViT-S-32-alt")).state_dict()
        return save({name: value.half().contiguous() for name, value in state.items()})

    return weights


@pytest.mark.slow
def test_another_file_takes_the_place_of_a_kept_one_when_asked(server, small, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(small(0))
    first = download("small", str(tmp_path / "a.safetensors"))
    server.content = small(1)
    address = server.url.replace(".ckpt", ".safetensors")
    assert not download("small", address).fetched
    second = download("small", address, overwrite=True, patience=QUICK)
    assert second.fetched
    assert second.path.read_bytes() == server.content
    assert second.sha256 != first.sha256
    assert left(kept_folder("small")) == ["weights.json", "weights.safetensors"]
    second.path.write_bytes(small(2))
    with pytest.raises(WeightsError, match="has changed since it was fetched"):
        verified(second.path)


def test_the_authors_file_has_an_address_of_its_own(server, authors, tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.server_port}")  # which knows no CONNECT
    with pytest.raises(WeightsError, match=r"raw\.githubusercontent\.com/likyoo/SegEarth-OV/.*aid\.ckpt") as error:
        download("simfeatup", None, patience=QUICK)
    assert "give it with --from" in one_line(error)


@pytest.mark.parametrize(
    ("name", "origin"), [("vit-b16", "https://nowhere.invalid/a.safetensors"), ("vit-b16", None), ("hf-hub:a/b", None)]
)
def test_a_host_that_is_not_found_is_told_before_any_try(name, origin, monkeypatch, tmp_path):
    for proxy in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://nowhere.invalid")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    forever = Patience(pause=1e6, longest=1e6)  # before the second try
    with pytest.raises(WeightsError, match=r"nowhere\.invalid is not found .*; is there a network") as error:
        download(name, origin, patience=forever)
    one_line(error)


@pytest.mark.parametrize(("name", "origin"), [("vit-b16", "https://a.b/c.safetensors"), ("vit-b16", None)])
def test_a_proxy_that_is_not_there_is_told_before_any_try(name, origin, monkeypatch, tmp_path):
    monkeypatch.setenv("https_proxy", "http://me:SECRET@127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    forever = Patience(pause=1e6, longest=1e6)  # before the second try
    with pytest.raises(WeightsError, match=r"the proxy 127\.0\.0\.1:1, .*, does not answer .*refused") as error:
        download(name, origin, patience=forever)
    assert "SECRET" not in one_line(error)


# --- the command line, and the Hugging Face hub ----------------------------------------------------------------------


class Hub(Handler):
    """The little of the hub's protocol that fetching a file needs; `content` maps paths to bytes."""

    def do_HEAD(self):
        self.server.requests.append((self.path, dict(self.headers)))
        body = self.server.content.get(self.path.removeprefix("/some/model/resolve/main/"))
        self.send_response(404 if body is None else 200)
        if body is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_header("X-Repo-Commit", "c0ffee" * 6 + "beef")
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        body = bytearray(self.server.content[name])
        if self.server.ways[0] == "corrupts" and name.endswith(".safetensors"):
            body[-100] ^= 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(server, tmp_path):
    folder = tiny.model(tmp_path / "tiny")
    server.content = {file.name: file.read_bytes() for file in folder.iterdir()}
    server.RequestHandlerClass = Hub
    endpoint = f"http://127.0.0.1:{server.server_port}"
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }


@pytest.mark.slow
def test_a_repository_of_the_hub_is_fetched_into_its_cache_and_works_offline(hub, server):
    done = shell.segearth("download", "hf-hub:some/model", **hub)
    assert done.returncode == 0, done.stderr
    path = done.stdout.strip()
    assert path.startswith(hub["HF_HOME"])
    assert hashlib.sha256(server.content["open_clip_model.safetensors"]).hexdigest() in done.stderr
    server.requests.clear()
    again = shell.segearth("download", "hf-hub:some/model", "-q", **hub, HF_HUB_OFFLINE="1")
    assert (again.returncode, again.stdout.strip(), again.stderr) == (0, path, "")
    assert server.requests == []


@pytest.mark.thorough
def test_a_corrupted_file_of_the_hub_is_refused(hub, server):
    server.ways = ["corrupts"]
    done = shell.segearth("download", "hf-hub:some/model", "-q", **hub)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has changed since it was fetched" in done.stderr.splitlines()[-1]


@pytest.mark.thorough
def test_a_repository_that_the_hub_does_not_have_is_one_line_and_exit_code_1(hub):
    done = shell.segearth("download", "hf-hub:other/model", "-q", **hub)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "other/model" in done.stderr


@pytest.mark.parametrize(
    ("name", "says"), [("hf-hub:some/model", "HF_HUB_OFFLINE is set"), ("vit-b16", "give it with --from")]
)
def test_offline_mode_is_honoured_and_named(name, says, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(WeightsError, match=says) as error:
        download(name, None)
    one_line(error)


def test_the_list_tells_what_is_here(segearth, cache):
    path = cache / "models" / "skyclip-vit-b32" / "weights.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 10)
    rows = {row["name"]: row for row in json.loads(segearth("models", "--json").out)}
    assert {"mini", "vit-b16", "simfeatup"} <= rows.keys()
    assert (rows["skyclip-vit-b32"]["here"], rows["skyclip-vit-b32"]["bytes"]) == (True, 10)
    assert rows["skyclip-vit-b32"]["sha256"] == hashlib.sha256(b"x" * 10).hexdigest()
    assert not rows["skyclip-vit-l14"]["here"]
    table = segearth("models").out.splitlines()
    assert sum(not line.startswith(" ") for line in table) == len(rows) + 1
    assert [line.split()[1] for line in table if line.startswith("skyclip-vit-b32")] == ["yes"]


@pytest.mark.slow
def test_an_interrupted_process_leaves_no_weights_and_exits_130(server):
    server.ways = ["stalls"]
    process = forked.start("download", "simfeatup", "--from", server.url)
    process.wait_for(lambda: server.requests)
    process.send(2)
    done = process.finish()
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines()[-1] == "segearth: interrupted"
    assert kept("simfeatup") is None


def test_one_of_two_files_that_fails_is_told_and_the_other_is_kept(segearth, authors, tmp_path):
    done = segearth("download", "vit-b16", "--from", tmp_path / "absent.safetensors", "--from", authors)
    assert (done.code, done.out) == (3, f"{kept('simfeatup')}\n")
    assert "absent.safetensors: no such file" in done.lines[0]
    assert any("state no licence" in line for line in done.lines)
    assert done.lines[-1] == "segearth: 1 of 2 downloads failed: vit-b16"


@pytest.mark.parametrize("names", [("vit-b16", "--no-upsampler"), ("simfeatup",)])
def test_more_origins_than_files_are_refused(segearth, authors, names):
    done = segearth("download", *names, "--from", authors, "--from", authors)
    assert (done.code, done.out, len(done.lines)) == (2, "", 1)


@pytest.mark.slow
def test_one_command_brings_the_published_method_and_predict_says_so(server, authors, segearth, write_raster, noise):
    state = open_clip.CLIP(**open_clip.get_model_config("ViT-B-16-quickgelu")).state_dict()
    files = {
        "/clip.safetensors": save({name: value.half().contiguous() for name, value in state.items()}),
        "/aid.ckpt": authors.read_bytes(),
    }
    server.RequestHandlerClass, server.content = Files, files
    base = f"http://127.0.0.1:{server.server_port}"
    done = segearth("download", "vit-b16", "--from", f"{base}/clip.safetensors", "--from", f"{base}/aid.ckpt")
    assert done.code == 0, done.err
    assert [hashlib.sha256(Path(line).read_bytes()).hexdigest() for line in done.out.splitlines()] == [
        hashlib.sha256(content).hexdigest() for content in files.values()
    ]
    scene = write_raster("s.tif", noise(3, 30, 30))
    told = segearth("predict", scene, "-c", "water,roof", "--dry-run")
    assert "model: vit-b16 (ViT-B-16-quickgelu:openai), with the authors' SimFeatUp: the published method" in told.err


class Files(Handler):
    """Serves the file of each path in `content`."""

    def do_GET(self):
        body = self.server.content[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
