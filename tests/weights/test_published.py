"""Published files, imitated (container, names and shapes), fetched from a hub on this machine and loaded strictly."""

import hashlib
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import open_clip
import pytest
import shell
import tiny
import torch
from safetensors.torch import save_file
from tiers import every, thorough

from segearth_cli.cache import sha256
from segearth_cli.errors import WeightsError
from segearth_cli.weights.catalogue import CATALOGUE
from segearth_cli.weights.downloads import download, git_blob
from segearth_cli.weights.load import load_clip, load_upsampler
from segearth_cli.weights.openclip import architecture_config


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGEARTH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))


class Hub(BaseHTTPRequestHandler):
    """The little of the hub's protocol that fetching a file needs; the server's `files` maps REPO/FILE to paths."""

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        if path := self._answer():
            self.wfile.write(path.read_bytes())

    def _answer(self):
        path = self.server.files.get(self.path.removeprefix("/").replace("/resolve/main/", "/"))
        self.send_response(404 if path is None else 200)
        if path is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_header("X-Repo-Commit", "c0ffee" * 6 + "beef")
            self.send_header("ETag", f'"{hashlib.sha256(path.read_bytes()).hexdigest()}"')
            self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        return path


def ask(monkeypatch, address):
    """Has this process ask the hub at an address, as HF_ENDPOINT has one that starts."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    places = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", places)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub's files by REPO/FILE, and the environment of a process that asks it, which this one does too."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.files = {}
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        environment = {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        }
        ask(monkeypatch, environment["HF_ENDPOINT"])
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server.files, environment
        server.shutdown()


LARGE_ONES = ("ViT-L-14", "ViT-L-14-quickgelu", "ViT-H-14")


def config(architecture):
    """The published shapes of an architecture; of a large one two layers a tower, gigabytes less to build."""
    document = json.loads(architecture_config(architecture).read_text())
    if architecture in LARGE_ONES:
        document["vision_cfg"]["layers"] = document["text_cfg"]["layers"] = 2
    return document


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A folder with the `config` of large architectures, which open_clip builds."""
    cut, whole = tmp_path_factory.mktemp("cut"), tmp_path_factory.mktemp("whole")
    for name in LARGE_ONES:
        (cut / f"{name}.json").write_text(json.dumps(config(name)))
        (whole / f"{name}.json").write_text(architecture_config(name).read_text())
    open_clip.add_model_config(cut)
    yield cut
    open_clip.add_model_config(whole)


@pytest.fixture(autouse=True)
def two_layers(cut, monkeypatch):
    """The loader reads large architectures from `cut` too."""
    monkeypatch.setattr(
        "segearth_cli.weights.load.architecture_config",
        lambda name: cut / f"{name}.json" if name in LARGE_ONES else architecture_config(name),
    )


def tensors(architecture, seed=3):
    """Tensors of the names and shapes of an architecture, a value for each; on disk one number a tensor."""
    with torch.device("meta"):
        shapes = {name: v.shape for name, v in open_clip.CLIP(**config(architecture)).state_dict().items()}
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randn((), generator=draw).half().expand(shape) for name, shape in shapes.items()}


def plain(state):
    return state


def trainers(state):
    """A checkpoint of open_clip's trainer on several devices."""
    return {
        "epoch": 20,
        "name": "run",
        "state_dict": {f"module.{name}": value for name, value in state.items()},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-5}]},
        "scaler": {"scale": 65536.0},
    }


def held(clip, state):
    """Whether a model has these tensors and no others, in float32."""
    loaded = clip.model.state_dict()
    assert loaded.keys() == state.keys()
    return all(torch.equal(loaded[name], value.float()) for name, value in state.items())


def kind(clip):
    return type(clip.visual.transformer.resblocks[0].mlp.gelu).__name__


SMALL, LARGE = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
ON_THE_HUB = [  # name, architecture, container, REPO/FILE, activation
    ("ViT-B-16-quickgelu:openai", "ViT-B-16", plain, f"timm/vit_base_patch16_clip_224.openai/{SMALL}", "QuickGELU"),
    (
        "ViT-B-16-quickgelu:metaclip_400m", "ViT-B-16", plain,
        f"timm/vit_base_patch16_clip_224.metaclip_400m/{LARGE}", "QuickGELU",
    ),
    ("ViT-B-16:laion2b_s34b_b88k", "ViT-B-16", plain, f"laion/CLIP-ViT-B-16-laion2B-s34B-b88K/{LARGE}", "GELU"),
    ("ViT-L-14:laion2b_s32b_b82k", "ViT-L-14", plain, f"laion/CLIP-ViT-L-14-laion2B-s32B-b82K/{LARGE}", "GELU"),
    ("remoteclip-vit-b32", "ViT-B-32", plain, "chendelong/RemoteCLIP/RemoteCLIP-ViT-B-32.pt", "GELU"),
    ("remoteclip-vit-l14", "ViT-L-14", plain, "chendelong/RemoteCLIP/RemoteCLIP-ViT-L-14.pt", "GELU"),
    ("georsclip-vit-b32", "ViT-B-32", plain, "Zilun/GeoRSCLIP/ckpt/RS5M_ViT-B-32.pt", "QuickGELU"),
    ("georsclip-vit-l14", "ViT-L-14", plain, "Zilun/GeoRSCLIP/ckpt/RS5M_ViT-L-14.pt", "QuickGELU"),
    ("georsclip-vit-h14", "ViT-H-14", plain, "Zilun/GeoRSCLIP/ckpt/RS5M_ViT-H-14.pt", "GELU"),
    (
        "alignearth-sar-vit-b16", "ViT-B-16", trainers,
        "likyoo/AlignEarth-SAR-ViT-B-16/AlignEarth-SAR-ViT-B-16.pt", "GELU",
    ),
]  # fmt: skip
HUB_NAMES = [case[0] for case in ON_THE_HUB]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "architecture", "container", "place", "activation"),
    every(3, ON_THE_HUB),
    ids=HUB_NAMES,
)
def test_one_command_fetches_a_published_model_from_the_hub_and_it_loads_strictly(
    segearth, hub, tmp_path, name, architecture, container, place, activation
):
    files, environment = hub
    state, published = tensors(architecture), tmp_path / "published"
    if place.endswith(SMALL):
        save_file({name: value.contiguous() for name, value in state.items()}, published)
    else:
        torch.save(container(state), published)
    files[place] = published
    done = segearth("download", name, "--no-upsampler")
    assert done.code == 0, done.err
    assert done.out.startswith(environment["HF_HOME"])
    assert sha256(published) in done.err
    assert ("(GELU), as this name does" in done.err) == name.startswith(("remoteclip", "alignearth"))
    clip = load_clip(name)
    assert held(clip, state)
    assert kind(clip) == activation


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skyclip-vit-b32", "skyclip-vit-l14"])
def test_a_model_that_no_hub_has_comes_from_a_file(segearth, tmp_path, name):
    architecture = CATALOGUE[name].architecture
    state, file = tensors(architecture), tmp_path / "epoch_20.pt"
    torch.save(trainers(state), file)
    done = segearth("download", name, "--from", file)
    assert done.code == 0, done.err
    clip = load_clip(name)
    assert held(clip, state)
    assert kind(clip) == ("QuickGELU" if architecture.endswith("quickgelu") else "GELU")


@pytest.mark.slow
def test_a_file_and_either_name_choose_the_activation(tmp_path):
    file = tmp_path / "RemoteCLIP-ViT-B-32.pt"
    torch.save(tensors("ViT-B-32"), file)
    assert [kind(load_clip(f"{name}:{file}")) for name in ("ViT-B-32", "ViT-B-32-quickgelu")] == ["GELU", "QuickGELU"]


class Archive(torch.nn.Module):
    """A module of these tensors, as OpenAI's archives hold them: with numbers of the preprocessing among them."""

    def __init__(self, state):
        super().__init__()
        numbers = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
        for name, value in {**state, **{k: torch.tensor(v) for k, v in numbers.items()}}.items():
            *path, last = name.split(".")
            module = self
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, torch.nn.Module())
                module = getattr(module, part)
            module.register_buffer(last, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture
def archive(tmp_path):
    """A TorchScript archive with the tensors of OpenAI's ViT-B/16, and those tensors."""
    state, file = tensors("ViT-B-16"), tmp_path / "ViT-B-16.pt"
    torch.jit.script(Archive(state)).save(file)
    return file, state


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*jit:FutureWarning", "ignore:.*jit.script:FutureWarning")
def test_openais_torchscript_archive_is_read_because_its_hash_is_published(archive, monkeypatch):
    file, state = archive
    config = open_clip.get_pretrained_cfg("ViT-B-16-quickgelu", "openai")
    with pytest.raises(WeightsError, match="TorchScript archive, which holds code; need a state dict") as error:
        load_clip(f"ViT-B-16-quickgelu:{file}")
    assert len(str(error.value).splitlines()) == 1
    monkeypatch.setattr("segearth_cli.weights.load.published_hashes", lambda: {sha256(file): config})
    clip = load_clip(f"ViT-B-16-quickgelu:{file}")
    assert held(clip, state)
    assert kind(clip) == "QuickGELU"
    with pytest.raises(WeightsError, match="use --model ViT-B-16-quickgelu:"):
        load_clip(f"ViT-B-16:{file}")
    assert download("ViT-B-16-quickgelu:openai", str(file)).sha256 == sha256(file)
    assert held(load_clip("vit-b16"), state)


@pytest.mark.parametrize("shared", [True, False])
def test_upsamplers_load_strictly_in_the_published_forms(tmp_path, shared):
    """The authors' file: one JBU under `upsampler.` in a `state_dict`. FeatUp's: a stack of four with the model's."""
    options = {"radius": 5 if shared else 3, "shared": shared}
    state = tiny.upsampler(channels=512, patch=16, **options).state_dict()
    held_too = {"model.weight": torch.zeros(3)} if not shared else {}
    torch.save(
        {"epoch": 1, "state_dict": {f"upsampler.{k}": v for k, v in state.items()} | held_too}, tmp_path / "u.ckpt"
    )
    loaded, _ = load_upsampler(str(tmp_path / "u.ckpt"), channels=512, patch=16, model_sha256="any")
    assert (loaded.shared, loaded.radius) == (shared, options["radius"])
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in state.items())


@pytest.mark.slow
@pytest.mark.parametrize("part", ["text_projection", "visual.proj"])
def test_a_file_whose_towers_do_not_both_fit_is_not_kept(tmp_path, part):
    state = tensors("ViT-B-32")
    state[part] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "bad.pt")
    with pytest.raises(WeightsError, match=f"another shape of {part}"):
        download("skyclip-vit-b32", str(tmp_path / "bad.pt"))
    with pytest.raises(WeightsError, match="not on this machine"):
        load_clip("skyclip-vit-b32")


README = (shell.ROOT / "README.md").read_text().splitlines()
LINES = [line.partition("#")[0].strip() for line in README if line.startswith("segearth download ")]
AUTHORS = "xclip_jbu_one_million_aid.ckpt"


@pytest.mark.slow
@pytest.mark.parametrize("line", [line if "--from" in line else thorough(line) for line in LINES])  # tries take time
def test_a_download_of_the_readme_tells_in_a_line_a_file_that_there_is_no_network(
    segearth, tmp_path, monkeypatch, line
):
    monkeypatch.chdir(tmp_path)
    ask(monkeypatch, "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    done = segearth(*line.split()[1:])
    assert (done.code, done.out) == (1, "")
    told = done.lines
    assert told
    assert sum("; or get" in each and each.endswith("with --from") for each in told) == ("--from" not in line) * len(
        told[:2]
    )
    assert sum("no such file" in each for each in told) == 2 * ("--from" in line)
    assert len(told) <= 3


@pytest.mark.slow
def test_the_readmes_line_for_files_brings_both(segearth, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file({name: value.contiguous() for name, value in tensors("ViT-B-16").items()}, SMALL)
    state = tiny.upsampler(channels=512, patch=16).state_dict()
    torch.save({"state_dict": {f"upsampler.{k}": v for k, v in state.items()}}, AUTHORS)
    entry = replace(CATALOGUE["simfeatup"], git_blob=git_blob(tmp_path / AUTHORS))
    monkeypatch.setattr("segearth_cli.weights.downloads.CATALOGUE", {**CATALOGUE, "simfeatup": entry})
    line = next(line for line in LINES if "--from" in line)
    done = segearth(*line.split()[1:])
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 2
    assert "the published method; predict takes both" in done.err
