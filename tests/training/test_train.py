"""Training as a user meets it: the same to the bit after any interruption, on any number of devices, in any halves."""

import csv
import json
import math
import random
import signal
import socket
from pathlib import Path

import forked
import numpy as np
import pytest
import rasterio
import shell
import tiny
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import distributed

import segearth_cli as segearth
from segearth_cli.errors import TrainingError, UsageError
from segearth_cli.model.encoder import Encoder
from segearth_cli.options import build
from segearth_cli.raster import ReadOptions
from segearth_cli.training.collection import collect
from segearth_cli.training.loop import verdict
from segearth_cli.training.objective import Jitter, projections
from segearth_cli.training.recipe import Recipe
from segearth_cli.training.step import Figures, Learner, Peers
from segearth_cli.training.time_left import TimeLeft
from segearth_cli.training.windows import Windows
from segearth_cli.weights.load import load_upsampler

pytestmark = pytest.mark.usefixtures("plain_pictures")  # but in processes of their own, as that of `whole`

QUICK = ["--crop", "48", "--batch-size", "2", "--jitters", "2", "--workers", "0", "--held-out", "2"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i in range(12):
        coarse = np.random.default_rng(i).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(coarse).resize((40, 44), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def run(*arguments):
    done = forked.segearth("train-upsampler", *arguments)
    assert done.returncode == 0, done.stderr
    return done


def killed_at(step, *arguments):
    """The same command, killed with no chance to tidy up once its log has passed a step."""
    out = Path(arguments[arguments.index("--out") + 1])
    log = out.with_name(f"{out.stem}.train") / "train.csv"
    process = forked.start("train-upsampler", *arguments)
    process.wait_for(lambda: log.is_file() and len(log.read_text().splitlines()) > step + 1)
    process.send(signal.SIGKILL)
    assert process.finish().returncode == -signal.SIGKILL


def logged(out, *columns):
    with (out.with_name(f"{out.stem}.train") / "train.csv").open() as f:
        return [[row[c] for c in columns] for row in csv.DictReader(f)]


@pytest.fixture
def here(segearth):
    """The command in this process: faster, and as deterministic with its one thread."""

    def call(*arguments, code=0, **how):
        done = segearth("train-upsampler", *arguments, **how)
        assert done.code == code, done.err
        return done

    return call


LOSSES = ("step", "features", "image", "gradient_norm", "held_out_features")


@pytest.fixture(scope="module")
def whole(model_dir, images, tmp_path_factory):
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "up.safetensors"
    done = run(images, "-m", model_dir, "--out", out, *QUICK, "--steps", 14, "--save-every", 3, "--validate-every", 7)
    assert done.stdout == f"{out}\n"
    return out


def same_weights(a, b):
    a, b = load_file(a), load_file(b)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.slow
def test_resuming_after_kill_9_between_saves_changes_no_bit(whole, model_dir, images, tmp_path):
    out = tmp_path / "up.safetensors"
    arguments = [images, "-m", model_dir, "--out", out, *QUICK, "--steps", 14, "--save-every", 3, "--validate-every", 7]
    killed_at(5, *arguments)
    assert not out.exists()
    done = run(*arguments, "--resume")
    assert "going on from step" in done.stderr
    assert same_weights(whole, out)
    assert logged(out, *LOSSES) == logged(whole, *LOSSES)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["up.safetensors", "up.train"]


def test_workers_change_no_bit(here, whole, model_dir, images, tmp_path):
    out = tmp_path / "up.safetensors"
    more = ["--steps", 14, "--workers", 2, "--save-every", 50, "--validate-every", 50]
    here(images, "-m", model_dir, "--out", out, *QUICK, *more)
    assert same_weights(whole, out)


def test_a_run_leaves_a_log_curves_pictures_and_an_upsampler_that_knows_its_model(whole):
    folder = whole.with_name("up.train")
    assert [int(step) for (step,) in logged(whole, "step")] == list(range(15))
    for name in ("loss.png", "step-000000.png", "step-000007.png", "step-000014.png"):
        assert np.asarray(Image.open(folder / name).convert("L")).std() > 0
    with safe_open(whole, "pt") as f:
        facts = f.metadata()
    assert json.loads(facts["recipe"])["steps"] == 14
    assert json.loads(facts["data"])["images"] == 12
    fits = {"channels": tiny.CHANNELS, "patch": tiny.PATCH}
    upsampler, _ = load_upsampler(str(whole), **fits, model_sha256=facts["model_sha256"])
    tokens, guidance = torch.randn(1, tiny.CHANNELS, 4, 4), torch.randn(1, 3, 64, 64)
    assert upsampler(tokens, guidance).shape == (1, tiny.CHANNELS, 64, 64)
    with pytest.raises(RuntimeError, match="another model"):
        load_upsampler(str(whole), channels=tiny.CHANNELS, patch=tiny.PATCH, model_sha256="0" * 64)


def test_resuming_with_another_setting_is_refused_by_name(here, whole, model_dir, images):
    done = here(images, "-m", model_dir, "--out", whole, *QUICK, "--steps", 14, "--lr", "0.5", "--resume", code=1)
    assert "lr was 0.001, now 0.5" in done.lines[-1]


def test_an_existing_run_is_not_overwritten_unasked(here, whole, model_dir, images):
    before = whole.read_bytes()
    done = here(images, "-m", model_dir, "--out", whole, *QUICK, "--steps", 1, code=2)
    assert "--overwrite" in done.lines[-1]
    assert whole.read_bytes() == before


@pytest.mark.slow
def test_a_diverging_run_stops_with_the_step_and_the_checkpoint(here, model_dir, images, tmp_path):
    out = tmp_path / "up.safetensors"
    more = ["--steps", 40, "--lr", "1e30", "--save-every", 1, "--validate-every", 50]
    done = here(images, "-m", model_dir, "--out", out, *QUICK, *more, code=1)
    for part in ("not finite", "step", "checkpoint.pt", "--lr"):
        assert part in done.lines[-1]
    assert not out.exists()


def test_nothing_to_read_is_one_line(here, model_dir, tmp_path):
    done = here(tmp_path, "-m", model_dir, "--out", tmp_path / "a.safetensors", code=1)
    assert "no readable images" in done.lines[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("crop", "said"), [(60, "multiple of the model's patch of 16 px"), (32, "at least 48 px")])
def test_windows_that_do_not_fit_the_model_are_one_line(here, model_dir, images, tmp_path, crop, said):
    done = here(images, "-m", model_dir, "--out", tmp_path / "a.safetensors", "--crop", crop, code=2)
    assert said in done.lines[-1]


def test_starting_from_another_upsampler_takes_its_weights(here, whole, model_dir, images, tmp_path):
    out = tmp_path / "up.safetensors"
    more = ["--steps", 1, "--lr", 1e-9, "--init", whole]
    here(images, "-m", model_dir, "--out", out, *QUICK, *more)
    kept = load_file(whole)
    assert all(torch.allclose(value, kept[key], atol=1e-6) for key, value in load_file(out).items())
    done = here(images, "-m", model_dir, "--out", out, *QUICK, *more, "--radius", 2, "--overwrite", code=2)
    assert "--radius 2" in done.lines[-1]


@pytest.mark.slow
def test_broken_files_are_named_at_the_end_and_the_published_layout_loads(here, model_dir, images, tmp_path):
    (tmp_path / "set").mkdir()
    for path in images.iterdir():
        (tmp_path / "set" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "set" / "broken.jpg").write_bytes(b"none")
    out, ckpt = tmp_path / "up.safetensors", tmp_path / "up.ckpt"
    done = here(tmp_path / "set", "-m", model_dir, "--out", out, *QUICK, "--steps", 1, "--export-ckpt", ckpt)
    assert "broken.jpg" in done.lines[-1]
    assert done.out == f"{out}\n"
    one, _ = load_upsampler(str(ckpt), channels=tiny.CHANNELS, patch=tiny.PATCH, model_sha256="")
    kept = load_file(out)
    assert all(torch.equal(value, kept[key]) for key, value in one.state_dict().items())


def test_one_geotiff_its_bands_and_a_settings_file_are_enough(here, model_dir, tmp_path):
    values = np.random.default_rng(0).integers(0, 4000, (4, 90, 80), np.uint16)
    with rasterio.open(tmp_path / "s.tif", "w", driver="GTiff", count=4, height=90, width=80, dtype="uint16") as ds:
        ds.write(values)
    (tmp_path / "run.toml").write_text('steps = 2\nbatch-size = 2\ncrop = 48\njitters = 1\nprecision = "bf16"\n')
    out = tmp_path / "up.safetensors"
    more = ["--config", tmp_path / "run.toml", "--steps", 1, "--bands", "4,3,2", "--nodata", "7", "--ignore-mask"]
    here("-", "-m", model_dir, "--out", out, *more, stdin=f"{tmp_path / 's.tif'}\n")
    with safe_open(out, "pt") as f:
        recipe = json.loads(f.metadata()["recipe"])
    assert (recipe["steps"], recipe["crop"], recipe["bands"], recipe["precision"]) == (1, 48, "4,3,2", "bf16")
    assert (recipe["nodata"], recipe["mask"]) == ("7.0", False)
    done = here(tmp_path / "s.tif", "-m", model_dir, "--out", out, *more[:-3], "--ignore-mask", "--resume", code=1)
    assert "another setting: nodata was 7.0, now None" in done.err


def test_images_are_read_with_the_options_of_scenes(tmp_path):
    recipe = build(Recipe, {"bands": "2", "nodata": 0, "alpha": False, "stretch": "0,9"})
    assert recipe.read == ReadOptions((2,), "0,9", nodata=0, alpha=False)
    values = np.zeros((2, 30, 30), np.uint8)
    values[1, :15] = 9
    with rasterio.open(tmp_path / "s.tif", "w", driver="GTiff", count=2, height=30, width=30, dtype="uint8") as ds:
        ds.write(values)
    windows = Windows(collect([str(tmp_path / "s.tif")], [], recipe.read).pictures, 30, 0, recipe.read)
    chip, _ = windows[0]
    assert chip.valid.sum() == 15 * 30
    assert chip.image[:, chip.valid].min() == 255


def test_training_from_python_takes_the_flags_of_the_command(tmp_path):
    with pytest.raises(UsageError, match="nodat: unknown; did you mean nodata"):
        segearth.train_upsampler(tmp_path, tmp_path / "up.safetensors", nodat=0)
    with pytest.raises(UsageError, match="steps"):
        segearth.train_upsampler(tmp_path, tmp_path / "up.safetensors", steps=0)


def test_published_settings_are_the_defaults():
    recipe = Recipe()
    assert (recipe.steps, recipe.batch_size, recipe.crop, recipe.jitters, recipe.radius) == (2000, 8, 224, 5, 5)
    assert (recipe.lr, recipe.image_loss) == (1e-3, 0.1)


@pytest.mark.slow
def test_a_number_of_steps_on_the_command_line_puts_the_epochs_of_a_config_aside(here, images, model_dir, tmp_path):
    (tmp_path / "run.toml").write_text("batch-size = 1\ncrop = 32\nradius = 2\njitters = 1\nepochs = 2.5\n")
    out = tmp_path / "up.safetensors"
    here(images, "-m", model_dir, "--out", out, "--config", tmp_path / "run.toml", "--steps", 1)
    with safe_open(out, "pt") as f:
        assert f.metadata()["steps"] == "1"


# ---- one step ----------------------------------------------------------------------------------------------------


def learner(peers=None, share=4):
    torch.manual_seed(0)
    encoder = Encoder(tiny.clip(), [0.5] * 3, [0.25] * 3)
    made = Learner(
        encoder, radius=2, lr=1e-3, jitters=2, image_loss=0.1, seed=0, share=share, device=torch.device("cpu"),
        peers=peers,
    )  # fmt: skip
    for module in made.objective.modules():  # dropout draws by shape, so halves draw other numbers than the whole
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0
    return made


def batch(size=4):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (size, 3, 48, 48), generator=generator, dtype=torch.uint8)
    return images, torch.ones(size, 48, 48, dtype=torch.bool)


def gradients(made):
    return [p.grad.clone() for p in made.objective.parameters()]


@pytest.mark.slow
def test_a_batch_taken_in_halves_has_the_gradient_of_the_whole(monkeypatch):
    monkeypatch.setattr(torch, "rand", torch.ones)  # no patch is dropped
    whole, halves = learner(), learner()
    halves.part = 2
    results = [made.step(20, *batch()) for made in (whole, halves)]
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-4)
    for a, b in zip(gradients(whole), gradients(halves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)  # float32 sums in another order


def test_running_out_of_memory_halves_the_windows_and_keeps_the_batch(monkeypatch):
    made, forward = learner(), Encoder.training_features
    sizes = []

    def small(self, x):
        sizes.append(len(x))
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, x)

    monkeypatch.setattr(Encoder, "training_features", small)
    figures, norm = made.step(0, *batch())
    assert figures.finite
    assert math.isfinite(norm)
    assert (made.part, sizes[:3]) == (1, [4, 2, 1])
    monkeypatch.setattr(Encoder, "training_features", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(TrainingError, match="--crop"):
        made.step(1, *batch())


def test_a_step_that_is_not_finite_changes_no_weight():
    made = learner()
    with torch.no_grad():
        made.objective.decoder.first.bias[0] = math.inf
    before = [p.clone() for p in made.objective.parameters()]
    figures, _ = made.step(0, *batch())
    assert not figures.finite
    assert all(torch.equal(a, b) for a, b in zip(before, made.objective.parameters(), strict=True))


def test_the_first_steps_are_small():
    made = learner()
    _, norm = made.step(0, *batch())
    cut = math.sqrt(sum(float(g.square().sum()) for g in gradients(made)))
    assert norm > 1e-3
    assert cut == pytest.approx(1e-4, rel=1e-3)


def test_the_encoder_learns_nothing():
    made = learner()
    before = {name: value.clone() for name, value in made.encoder.state_dict().items()}
    for number in range(2):
        made.step(20 + number, *batch())
    assert all(torch.equal(before[name], value) for name, value in made.encoder.state_dict().items())


def take_part(rank, port, out):
    """What one of two processes does with its half of a batch."""
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    made = learner(Peers(rank, 2), share=2)
    images, valid = batch()
    made.step(20, images[2 * rank : 2 * rank + 2], valid[2 * rank : 2 * rank + 2])
    torch.save(gradients(made), f"{out}{rank}")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one_device_with_both_batches(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    peers = [forked.Process(take_part, rank, port, str(tmp_path / "rank")) for rank in range(2)]
    assert [process.finish().returncode for process in peers] == [0, 0]
    both = [torch.load(tmp_path / f"rank{rank}") for rank in range(2)]
    images, valid = batch()
    alone = []
    for rank in range(2):  # one device, one after the other with each process's jitters, then the mean
        made = learner(share=2)
        made.peers = Peers(rank, 1)
        made.step(20, images[2 * rank : 2 * rank + 2], valid[2 * rank : 2 * rank + 2])
        alone.append(gradients(made))
    for first, second, *single in zip(*both, *alone, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        torch.testing.assert_close(first, (single[0] + single[1]) / 2, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_torchrun_trains_and_writes_once(model_dir, images, tmp_path):
    out = tmp_path / "up.safetensors"
    more = ["--device", "cpu", "--steps", 3, "--save-every", 2, "--validate-every", 2]
    done = shell.segearth(
        "train-upsampler", images, "-m", model_dir, "--out", out, *QUICK, *more, launcher=shell.TORCHRUN
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert [step for (step,) in logged(out, "step")] == ["0", "1", "2", "3"]
    assert all(torch.isfinite(value).all() for value in load_file(out).values())


FOREIGN = [
    {"WORLD_SIZE": "4"},
    {"WORLD_SIZE": "many"},
    {"WORLD_SIZE": "4", "RANK": "1", "LOCAL_RANK": "1", "MASTER_PORT": "29500"},
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_process_that_torchrun_did_not_start_looks_after_its_files(here, images, tmp_path, monkeypatch, foreign):
    """As the first of several devices does; the others leave that to it."""
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "up.safetensors"
    out.write_text("precious")
    assert "exists already" in here(images, "--out", out, code=2).err


@pytest.mark.slow
def test_a_number_of_processes_that_torchrun_did_not_give_is_ignored(here, model_dir, images, tmp_path, monkeypatch):
    for name, value in FOREIGN[-1].items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "up.safetensors"
    done = here(images, "-m", model_dir, "--out", out, *QUICK, "--steps", 1)
    assert done.out == f"{out}\n"


@pytest.mark.slow
def test_jitters_that_go_through_the_upsampler_together_have_the_gradient_of_one_pass_each(monkeypatch):
    monkeypatch.setattr(torch, "rand", torch.ones)  # no patch is dropped
    made, plain = learner(), learner()
    images, valid = batch()
    made.step(20, images, valid)
    entropy = int(np.random.SeedSequence([0, 20, 0]).generate_state(1)[0])
    torch.manual_seed(entropy)
    rng = random.Random(entropy)
    image = plain.encoder.normalise(images, valid)
    for jitter, project in [(Jitter.draw(48, 48, rng), projections(4, tiny.CHANNELS, image)) for _ in range(2)]:
        losses = plain.objective(image, plain.features(image), plain.view(image, jitter, project))
        ((losses.features + 0.1 * losses.image) / 2).backward()
    for a, b in zip(gradients(made), gradients(plain), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)  # float32 sums in another order


@pytest.mark.slow
def test_the_end_of_a_run_says_in_words_whether_it_beats_bilinear_and_colours_are_a_setting(
    here, model_dir, images, tmp_path
):
    more = ["--steps", 1, "--validate-every", 50]
    done = here(images, "-m", model_dir, "--out", tmp_path / "a.safetensors", *QUICK, *more)
    told = [line for line in done.lines if "squared error" in line][-1]
    assert ("warning: no better than bilinear" in told and "--upsampler none" in told) or told.removeprefix(
        "segearth: "
    ).startswith("better than bilinear:")
    here(images, "-m", model_dir, "--out", tmp_path / "b.safetensors", *QUICK, *more, "--colours", "imagenet")
    assert not same_weights(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    with safe_open(tmp_path / "b.safetensors", "pt") as f:
        assert json.loads(f.metadata()["recipe"])["colours"] == "imagenet"


@pytest.mark.parametrize(
    ("ours", "says"), [(0.338, "warning: no better than bilinear"), (0.04, "better than bilinear: ")]
)
def test_a_result_is_called_by_its_name(ours, says):
    line = verdict(Figures(0.1, 0.1, ours), Figures(0.1, 0.1, 0.05))
    assert line.startswith(says)
    assert "0.05 for bilinear" in line


def test_the_time_left_counts_looks_apart_and_forgets_slow_beginnings():
    left = TimeLeft(steps=300, every=100)
    for done in range(1, 201):
        left.step(30.0 if done == 1 else 2.0)
        if done % 100 == 0:
            left.look(50.0)
    assert left.seconds(200) == pytest.approx(100 * 2 + 50)
    for _ in range(100):
        left.step(4.0)  # another program took half of the machine
    assert left.seconds(200) == pytest.approx(100 * 4 + 50)
    assert left.seconds(300) == 0
