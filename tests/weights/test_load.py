"""Finding, checking and loading models and upsamplers."""

import hashlib
import json
import os
import shutil
import socket

import noise
import numpy as np
import open_clip
import pytest
import shell
import tiny
import torch
from conftest import SHARED
from safetensors.torch import load_file, save_file

from segearth_cli.cache import sha256
from segearth_cli.errors import SegEarthError, UsageError, WeightsError
from segearth_cli.weights import locate as sources
from segearth_cli.weights.load import load_clip, load_upsampler, save_upsampler
from segearth_cli.weights.locate import choose, find, image_facts
from segearth_cli.weights.tensors import read_tensors
from segearth_cli.weights.vocabulary import vocabulary


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Caches of our own: neither those of the machine's user nor the network."""
    monkeypatch.setenv("SEGEARTH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("SEGEARTH_MODEL", raising=False)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return tiny.model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "model")


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A state dict for the smallest plain ViT of open_clip's own names, as a checkpoint of its trainer."""
    path = tmp_path_factory.mktemp("small") / "epoch_1.pt"
    state = open_clip.CLIP(**open_clip.get_model_config("ViT-S-32-alt")).state_dict()
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v.half() for k, v in state.items()}}, path)
    return path


def one_line(error):
    """The message, which must be one a user can read."""
    text = str(error.value)
    assert len(text.splitlines()) == 1
    return text


def edit(folder, **tensors):
    """Changes the weights of a model folder; None removes a tensor."""
    path = folder / "open_clip_model.safetensors"
    state = load_file(path) | tensors
    save_file({k: v for k, v in state.items() if v is not None}, path)


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["local-dir:{}", "{}"])
def test_a_folder_loads_what_is_stored_in_float32_with_its_own_colours(folder, form):
    clip = load_clip(form.format(folder))
    stored = load_file(folder / "open_clip_model.safetensors")
    tower = {f"visual.{name}": value for name, value in clip.visual.state_dict().items()}
    for loaded in (clip.model.state_dict(), tower):
        assert all(v.dtype == torch.float32 and torch.equal(v, stored[k].float()) for k, v in loaded.items())
    assert clip.model.state_dict().keys() == stored.keys()
    assert tower.keys() == {name for name in stored if name.startswith("visual.")}
    assert (clip.mean, clip.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    assert clip.name == f"local-dir:{folder}"
    assert clip.sha256 == hashlib.sha256((folder / "open_clip_model.safetensors").read_bytes()).hexdigest()
    assert vocabulary(form.format(folder)) is None
    assert not clip.model.training
    assert not clip.visual.training


def test_a_model_brings_the_words_it_was_trained_on(folder):
    (folder / "vocabulary.txt").write_text("Water\nbuilding\n")
    assert vocabulary(str(folder)) == {"water", "building"}


def test_an_upsampler_beside_a_model_is_not_taken_for_its_weights(folder):
    (folder / "open_clip_model.safetensors").rename(folder / "weights.safetensors")
    save_upsampler(tiny.upsampler(), folder / "upsampler.safetensors", {})
    assert load_clip(str(folder)).sha256 == sha256(folder / "weights.safetensors")


def truncated(folder):
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def several(folder):
    path = folder / "open_clip_model.safetensors"
    shutil.copy(path.rename(folder / "a.safetensors"), folder / "b.safetensors")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (truncated, "damaged"),
        (lambda f: (f / "open_clip_model.safetensors").write_bytes(b""), "damaged"),
        (lambda f: (f / "open_clip_model.safetensors").unlink(), "holds no weights"),
        (several, "several weight files (a.safetensors, b.safetensors)"),
        (lambda f: edit(f, **{"visual.proj": None}), "lacks visual.proj"),
        (lambda f: edit(f, surplus=torch.zeros(3)), "unknown surplus"),
        (lambda f: edit(f, **{"visual.proj": torch.zeros(64, 33)}), "another shape of visual.proj"),
        (lambda f: edit(f, **{"visual.proj": torch.full((64, 32), torch.nan)}), "not finite in visual.proj"),
        (lambda f: (f / "open_clip_config.json").write_text("{"), "JSON"),
        (lambda f: (f / "open_clip_config.json").write_text("[1]"), "no JSON object"),
        (lambda f: (f / "open_clip_config.json").write_text('{"model_cfg": 3}'), "no open_clip configuration"),
        (lambda f: (f / "open_clip_config.json").unlink(), "holds no open_clip_config.json; need"),
    ],
)
def test_a_spoiled_folder_is_one_line_that_names_it(folder, spoil, says):
    spoil(folder)
    with pytest.raises(WeightsError) as error:
        _ = load_clip(f"local-dir:{folder}").model
    assert says in one_line(error)
    assert str(folder) in one_line(error)


@pytest.mark.parametrize("std", [[0.2, 0.3], [0.2, 0.3, 0], "dark", [0.2, 0.3, "x"]])
def test_colours_that_are_none_are_refused(folder, std):
    document = tiny.CONFIG | {"preprocess_cfg": {"std": std}}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    with pytest.raises(WeightsError, match=r"preprocess_cfg\.std"):
        load_clip(str(folder))


@pytest.mark.parametrize("name", ["vit-b16", "ViT-B-16-quickgelu:openai"])
def test_that_a_published_model_is_absent_is_all_that_is_told_of_it(segearth, tmp_path, name):
    scene = noise.save_scene(tmp_path / "scene.tif", 64, 64)
    done = segearth("predict", scene, "-m", name, "-c", "a,b", "--background", "none", "-o", tmp_path / "mask.tif")
    told = f"segearth: --model {name}: not on this machine; run `segearth download {name}`"
    assert (done.code, done.lines) == (1, [told])


def test_a_model_that_open_clip_cannot_build_is_one_line(folder):
    model = tiny.CONFIG["model_cfg"] | {"no_such_option": 1}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
    with pytest.raises(WeightsError, match="no_such_option") as error:
        _ = load_clip(str(folder)).model
    one_line(error)


def test_code_in_a_checkpoint_is_refused_and_never_runs(folder, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": {}, "extra": Payload()}, folder / "model.pt")
    with pytest.raises(WeightsError, match="more than tensors") as error:
        load_clip(str(folder))
    one_line(error)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.filterwarnings("ignore:.*jit.script:FutureWarning")
def test_a_torchscript_archive_is_read_only_when_its_hash_is_known(tmp_path):
    path = tmp_path / "model.pt"
    layer = torch.nn.Linear(2, 2)
    torch.jit.script(layer).save(path)
    with pytest.raises(WeightsError, match="TorchScript") as error:
        read_tensors(path)
    one_line(error)
    tensors, _ = read_tensors(path, trusted={sha256(path)})
    assert torch.equal(tensors["weight"], layer.weight)


@pytest.mark.slow
def test_an_architecture_with_a_checkpoint_file_loads_it(small):
    clip = load_clip(f"ViT-S-32-alt:{small}")
    stored = torch.load(small, weights_only=True)["state_dict"]["module.visual.proj"]
    assert torch.equal(clip.model.visual.proj, stored.float())
    assert clip.sha256 == sha256(small)
    assert clip.mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)


def test_weights_of_another_architecture_are_told_from_damage(made):
    with pytest.raises(WeightsError, match="weights of another model") as error:
        load_clip(f"ViT-S-32-alt:{made / 'open_clip_model.safetensors'}")
    one_line(error)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ViT-B-16:openai", "ViT-B-16-quickgelu:openai"),
        ("ViT-B/16:openai", "ViT-B-16-quickgelu:openai"),
        ("ViT-B-16-quickgelu:laion2b_s34b_b88k", "ViT-B-16:laion2b_s34b_b88k"),
    ],
)
def test_a_mismatch_of_the_activation_is_an_error_that_names_the_right_model(given, meant):
    with pytest.raises(WeightsError, match="GELU") as error:
        load_clip(given)
    assert one_line(error).endswith(f"use --model {meant}")


@pytest.mark.parametrize(
    ("spec", "exception", "says"),
    [
        ("ViT-B-16-quickgelu:openai", WeightsError, "segearth download ViT-B-16-quickgelu:openai"),
        ("vit-b16", WeightsError, "--model vit-b16: not on this machine; run `segearth download vit-b16`"),
        ("hf-hub:some/model", WeightsError, "segearth download hf-hub:some/model"),
        ("remoteclip-vit-b32", WeightsError, "segearth download remoteclip-vit-b32"),
        ("ViT-B-16:no_such_tag", WeightsError, "laion2b_s34b_b88k"),
        ("ViT-B-16:/no/such/file.pt", WeightsError, "no such file"),
        ("local-dir:/no/such/folder", WeightsError, "no such folder"),
        ("hf-hub:nonsense", UsageError, "hf-hub:ORG/NAME"),
        ("vit-b-16", UsageError, "did you mean vit-b16?"),
        ("ViT-B-16", UsageError, "NAME:TAG"),
        ("", UsageError, "unknown"),
        (":", UsageError, "unknown"),
    ],
)
def test_a_model_that_is_not_here_or_not_known_says_what_to_do_without_asking_the_network(spec, exception, says):
    with pytest.raises(exception) as error:
        load_clip(spec)
    assert says in one_line(error)


def hub(tmp_path, folder):
    """A model folder as the Hugging Face cache keeps it: blobs named by their SHA-256, links with their names."""
    repo = tmp_path / "hub" / "models--some--model"
    snapshot = repo / "snapshots" / "c0ffee"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("c0ffee")
    (repo / "blobs").mkdir()
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        blob = repo / "blobs" / sha256(file)
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(blob)
    return snapshot


def test_a_repository_of_the_hub_loads_from_its_cache(folder, tmp_path):
    hub(tmp_path, folder)
    clip = load_clip("hf-hub:some/model")
    assert clip.name == "hf-hub:some/model"
    assert clip.sha256 == sha256(folder / "open_clip_model.safetensors")
    assert clip.std == (0.2, 0.3, 0.4)


def test_a_cached_file_that_has_changed_is_refused(folder, tmp_path):
    blob = (hub(tmp_path, folder) / "open_clip_model.safetensors").resolve()
    content = bytearray(blob.read_bytes())
    content[-100] ^= 1
    blob.write_bytes(content)
    with pytest.raises(WeightsError, match="has changed since it was fetched"):
        load_clip("hf-hub:some/model")


def test_the_facts_for_tiling_are_the_models_own(folder):
    clip = load_clip(str(folder))
    facts = image_facts(str(folder))
    assert (facts.patch, facts.native, facts.channels) == (tiny.PATCH, tiny.WINDOW, tiny.CHANNELS)
    assert clip.model.visual.patch_size[0] == facts.patch
    assert clip.model.visual.proj.shape[1] == facts.channels


def test_the_facts_for_tiling_need_no_torch():
    code = (
        "import sys; from segearth_cli.weights import image_facts\n"
        "facts = image_facts('ViT-B-16-quickgelu:openai')\n"
        "assert (facts.patch, facts.native, facts.channels) == (16, 224, 512), facts\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert shell.python(code).returncode == 0


@pytest.mark.parametrize("vision", [{"layers": [3, 4, 6, 3], "width": 64}, {"patch_size": "16"}])
def test_the_facts_of_what_is_no_plain_vit_are_refused(folder, vision):
    model = tiny.CONFIG["model_cfg"] | {"vision_cfg": vision}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
    with pytest.raises(WeightsError, match="no plain ViT") as error:
        image_facts(str(folder))
    one_line(error)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("EVA02-B-16:merged2b_s8b_b131k", "EVA, its image tower"),
        ("ViT-B-16-SigLIP:webli", "SigLIP, its image tower"),
        ("convnext_base:laion400m_s13b_b51k", "its image tower is timm's (convnext_base)"),
    ],
)
def test_towers_that_are_not_open_clips_own_are_refused_before_they_are_fetched(spec, kind):
    for act in (find, image_facts, load_clip, lambda name: choose(name, None)):
        with pytest.raises(WeightsError, match="it would need an encoder") as error:
            act(spec)
        assert kind in one_line(error)
        assert one_line(error).startswith(f"--model {spec}: ")


@pytest.mark.parametrize(
    ("key", "kind"), [("visual.trunk.attn_pool.q", "SigLIP"), ("visual.trunk.norm.weight", "timm")]
)
def test_their_weights_under_another_name_are_told(small, tmp_path, key, kind):
    state = torch.load(small, weights_only=True)["state_dict"] | {key: torch.zeros(1)}
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="it would need an encoder") as error:
        load_clip(f"ViT-S-32-alt:{tmp_path}/other.pt")
    assert kind in one_line(error)


@pytest.mark.slow
def test_a_checkpoint_in_the_layout_of_custom_text_towers_is_the_same_model(small, tmp_path):
    from open_clip.model import convert_to_custom_text_state_dict

    plain = {k.removeprefix("module."): v for k, v in torch.load(small, weights_only=True)["state_dict"].items()}
    torch.save({"state_dict": convert_to_custom_text_state_dict(plain)}, tmp_path / "custom.pt")
    ours, theirs = load_clip(f"ViT-S-32-alt:{tmp_path}/custom.pt"), load_clip(f"ViT-S-32-alt:{small}")
    loaded = ours.model.state_dict()
    assert any(name.startswith("text.") for name in convert_to_custom_text_state_dict(plain))
    for name, value in theirs.model.state_dict().items():
        torch.testing.assert_close(loaded[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("part", "key"),
    [("vision_cfg", "layers"), ("vision_cfg", "width"), ("text_cfg", "vocab_size"), (None, "embed_dim")],
)
def test_a_configuration_that_would_take_all_memory_is_refused(folder, part, key):
    document = json.loads((folder / "open_clip_config.json").read_text())
    (document["model_cfg"] if part is None else document["model_cfg"][part])[key] = 10**9
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    for act in (load_clip, image_facts):
        with pytest.raises(WeightsError, match=f"{key} is 1000000000, need at most") as error:
            act(str(folder))
        one_line(error)


# --- choosing --------------------------------------------------------------------------------------------------------


def keep(cache, name, suffix=".safetensors"):
    path = cache / "models" / name / f"weights{suffix}"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    return path


@pytest.fixture
def mini(folder, monkeypatch):
    monkeypatch.setattr(sources, "MINI", folder)
    return folder


@pytest.mark.usefixtures("mini")
def test_auto_is_the_embedded_model_and_says_what_brings_more():
    choice = choose("auto", None)
    assert (choice.model, choice.upsampler) == ("mini", "none")
    assert "mini" in choice.note
    assert "segearth download vit-b16" in choice.note


@pytest.mark.usefixtures("mini")
def test_auto_is_the_published_model_once_its_weights_are_here(cache):
    keep(cache, "ViT-B-16-quickgelu--openai")
    choice = choose("auto", None)
    assert (choice.model, choice.upsampler) == ("ViT-B-16-quickgelu:openai", "none")
    assert "segearth download simfeatup" in choice.note
    authors = keep(cache, "simfeatup", ".ckpt")
    choice = choose("auto", None)
    assert choice.upsampler == str(authors)
    assert choice.note.endswith("with the authors' SimFeatUp: the published method")
    assert (
        choose("vit-b16", None).note
        == "model: ViT-B-16-quickgelu:openai, with the authors' SimFeatUp: the published method"
    )
    assert choose("vit-b16", "none").note is None


@pytest.mark.usefixtures("mini")
def test_auto_finds_the_published_model_in_the_cache_of_the_hub(tmp_path):
    repo = tmp_path / "hub" / "models--timm--vit_base_patch16_clip_224.openai"
    (repo / "snapshots" / "abc").mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    (repo / "snapshots" / "abc" / "open_clip_model.safetensors").write_bytes(b"")
    assert choose("auto", None).model == "ViT-B-16-quickgelu:openai"


def test_auto_without_any_model_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MINI", tmp_path / "absent")
    with pytest.raises(WeightsError, match="segearth download vit-b16") as error:
        choose("auto", None)
    one_line(error)


@pytest.mark.usefixtures("mini")
def test_the_environment_pins_auto_and_an_option_beats_it(made, monkeypatch):
    monkeypatch.setenv("SEGEARTH_MODEL", f"local-dir:{made}")
    assert choose("auto", None).model == f"local-dir:{made}"
    assert choose("mini", None).model == "mini"
    monkeypatch.setenv("SEGEARTH_MODEL", "nonsense")
    with pytest.raises(UsageError, match="SEGEARTH_MODEL=nonsense"):
        choose("auto", None)


def test_a_folder_brings_its_own_upsampler_and_an_option_beats_it(folder):
    assert choose(str(folder), None).upsampler == "none"
    save_upsampler(tiny.upsampler(), folder / "upsampler.safetensors", {})
    assert choose(str(folder), None).upsampler == str(folder / "upsampler.safetensors")
    assert choose(str(folder), "none").upsampler == "none"
    assert choose(str(folder), "other.safetensors").upsampler == "other.safetensors"


def test_the_authors_upsampler_has_a_name(cache, folder):
    with pytest.raises(WeightsError, match="segearth download simfeatup"):
        choose(str(folder), "simfeatup")
    authors = keep(cache, "simfeatup", ".ckpt")
    assert choose(str(folder), "simfeatup").upsampler == str(authors)


@pytest.mark.parametrize("name", sorted(n for n, e in sources.CATALOGUE.items() if e.is_model))
def test_every_model_of_the_catalogue_is_one_that_open_clip_can_build(name, cache):
    entry = sources.CATALOGUE[name]
    path = keep(cache, entry.key, ".pt")
    assert image_facts(name).patch in (14, 16, 32)
    assert find(name).checkpoint == path or find(name).tag == entry.tag


# --- upsamplers ------------------------------------------------------------------------------------------------------

LAYOUTS = [
    {"radius": 5, "patch": 8},
    {"radius": 3, "patch": 14, "shared": False},
    {"radius": 1, "keys": 8, "patch": 16},
    {"radius": 2, "keys": 4, "patch": 2, "shared": False},
]


@pytest.mark.parametrize("options", LAYOUTS)
def test_saving_and_loading_an_upsampler_changes_nothing(tmp_path, options):
    before = tiny.upsampler(**options)
    path = tmp_path / "u.safetensors"
    save_upsampler(before, path, {"model_sha256": "abc", "steps": "100"})
    (path.parent / "plain").touch()
    assert path.stat().st_mode == (path.parent / "plain").stat().st_mode  # others may read it as any new file
    after, digest = load_upsampler(str(path), channels=tiny.CHANNELS, patch=options["patch"], model_sha256="abc")
    assert digest == sha256(path)
    assert not after.training
    h = before.minimum
    side = h * options["patch"]
    tokens, guidance = torch.randn(1, tiny.CHANNELS, h, h), torch.randn(1, 3, side, side)
    assert all(torch.equal(after.state_dict()[name], value) for name, value in before.state_dict().items())
    with torch.inference_mode():
        torch.testing.assert_close(after(tokens, guidance), before(tokens, guidance))


def as_published(state, layout, path):
    """A state dict in one of the forms people publish."""
    prefix = "upsampler." if "prefix" in layout else ""
    state = {prefix + k: v.half() if "half" in layout else v for k, v in state.items()}
    if "trainer" in layout:
        state["downsampler.kernel"] = torch.zeros(3)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"epoch": 3, "state_dict": state} if "wrapped" in layout else state, path)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt", ".pt", ".pth"])
@pytest.mark.parametrize("layout", ["", "half", "prefix", "prefix trainer", "wrapped", "wrapped prefix trainer"])
def test_every_published_layout_holds_the_same_upsampler(tmp_path, layout, suffix, shared):
    made = tiny.upsampler(radius=2, keys=4, shared=shared)
    as_published(made.state_dict(), layout, tmp_path / f"u{suffix}")
    loaded, _ = load_upsampler(str(tmp_path / f"u{suffix}"), channels=tiny.CHANNELS, patch=tiny.PATCH, model_sha256="")
    for name, value in made.state_dict().items():
        expected = value.half().float() if "half" in layout else value
        assert torch.equal(loaded.state_dict()[name], expected), name


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"channels": 24, "patch": 16}, "embeddings of 32 channels, the model has 24"),
        ({"channels": 32, "patch": 32}, "has 4 stages, the model's patch of 32 px needs 5"),
        ({"channels": 32, "patch": 8}, "has 4 stages, the model's patch of 8 px needs 3"),
    ],
)
def test_an_upsampler_that_does_not_fit_says_what_does_not(tmp_path, options, says):
    save_upsampler(tiny.upsampler(radius=2, shared=False), tmp_path / "u.safetensors", {})
    with pytest.raises(WeightsError) as error:
        load_upsampler(str(tmp_path / "u.safetensors"), **options, model_sha256="")
    assert says in one_line(error)
    assert "--upsampler none" in one_line(error)


def test_an_upsampler_trained_for_another_model_is_refused(tmp_path):
    save_upsampler(tiny.upsampler(), tmp_path / "u.safetensors", {"model": "vit-x", "model_sha256": "a" * 64})
    with pytest.raises(WeightsError, match=r"another model \(vit-x, sha256 a{12}") as error:
        load_upsampler(str(tmp_path / "u.safetensors"), channels=tiny.CHANNELS, patch=tiny.PATCH, model_sha256="b" * 64)
    one_line(error)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"up.fixup_proj.3.bias": torch.zeros(24)}, "24 taps, need an odd number squared"),
        ({"up.range_temp": None}, "lacks up.range_temp"),
        ({"up.range_temp": torch.tensor(torch.inf)}, "not finite in up.range_temp"),
        ({"up.range_proj.0.weight": torch.zeros(32, 4, 1, 1)}, "another shape of up.range_proj.0.weight"),
        ({"fixup_proj.1.bias": None}, "no tensor fixup_proj.1.bias"),
        ({"up.range_proj.3.bias": None}, "no tensors up.range_proj"),
        ({"more": torch.zeros(1)}, "unknown more"),
    ],
)
def test_a_spoiled_upsampler_is_one_line(tmp_path, change, says):
    state = tiny.upsampler().state_dict() | change
    path = tmp_path / "u.safetensors"
    save_file({k: v for k, v in state.items() if v is not None}, path)
    with pytest.raises(WeightsError) as error:
        load_upsampler(str(path), channels=tiny.CHANNELS, patch=tiny.PATCH, model_sha256="")
    assert says in one_line(error)
    assert str(path) in one_line(error)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt", ".pt", ".txt"])
@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 and then nothing", bytes(range(256)) * 9])
def test_a_file_that_is_no_weight_file_is_one_line(tmp_path, suffix, content):
    path = tmp_path / f"u{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        load_upsampler(str(path), channels=tiny.CHANNELS, patch=tiny.PATCH, model_sha256="")
    assert str(path) in one_line(error)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.zeros(2), {"state_dict": {}}])
def test_a_checkpoint_without_named_tensors_is_one_line(tmp_path, content):
    torch.save(content, tmp_path / "u.pt")
    with pytest.raises(WeightsError) as error:
        load_upsampler(str(tmp_path / "u.pt"), channels=tiny.CHANNELS, patch=tiny.PATCH, model_sha256="")
    one_line(error)


@pytest.mark.skipif(not (SHARED / "models/featup").is_dir(), reason="weights that are not ours to redistribute")
def test_featups_published_stack_loads():
    path = SHARED / "models/featup/clip_jbu_stack_cocostuff.ckpt"
    loaded, _ = load_upsampler(str(path), channels=512, patch=16, model_sha256="")
    assert (loaded.shared, loaded.stages, loaded.radius, loaded.channels) == (False, 4, 3, 512)
    with pytest.raises(SegEarthError, match="512 channels, the model has 48"):
        load_upsampler(str(path), channels=48, patch=16, model_sha256="")


@pytest.mark.parametrize("case", ["crop_only", "sliding"])
@pytest.mark.skipif(not (SHARED / "parity").is_dir(), reason="parity cases are not here")
def test_the_parity_cases_load(case):
    folder = SHARED / "parity" / case
    clip = load_clip(f"local-dir:{folder / 'model'}")
    facts = image_facts(str(folder / "model"))
    loaded, _ = load_upsampler(
        str(folder / "upsampler.safetensors"), channels=facts.channels, patch=facts.patch, model_sha256=clip.sha256
    )
    assert (loaded.shared, loaded.radius) == (True, 5)
    assert np.load(folder / "expected.npz")["text_features"].shape[1] == facts.channels


# --- hashes ----------------------------------------------------------------------------------------------------------


def test_the_hash_of_a_large_file_is_kept_until_the_file_is_touched(tmp_path, cache):
    path = tmp_path / "large"
    with path.open("wb") as f:
        f.truncate(1 << 26)
    os.utime(path, (1e9, 1e9))
    first = sha256(path)
    assert len(list(cache.rglob("sha256/*"))) == 1
    assert sha256(path) == first
    with path.open("r+b") as f:
        f.write(b"x")
    os.utime(path, (1e9, 1e9))  # size and time of change as before
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest() != first


def test_a_cache_that_cannot_be_written_or_read_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SEGEARTH_CACHE", str(tmp_path / "file"))
    path = tmp_path / "large"
    with path.open("wb") as f:
        f.truncate(1 << 26)
    os.utime(path, (1e9, 1e9))
    assert sha256(path) == sha256(path)
