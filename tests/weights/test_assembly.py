"""Options to a model: what they choose, and what a mask's provenance says of it."""

import pytest
import rasterio

from segearth_cli.classes import parse
from segearth_cli.errors import UsageError
from segearth_cli.weights.assembly import ModelOptions, assemble

CLASSES = parse("water,road")


def facts(model_dir, **options):
    made = assemble(ModelOptions(f"local-dir:{model_dir}", device="cpu", precision="fp32", **options), CLASSES)
    return made.facts


def test_kernels_are_named_only_where_they_are_chosen(model_dir):
    plain, triton = facts(model_dir), facts(model_dir, kernels="triton")
    assert "kernels" not in plain
    assert triton == plain | {"kernels": "triton"}


def test_a_residual_and_several_blocks_are_named_only_where_they_are_chosen(model_dir):
    chosen = {"attention": "sclip", "keep_residual": True, "last_blocks": 2}
    plain, other = facts(model_dir), facts(model_dir, **chosen)
    assert {"keep_residual", "last_blocks"}.isdisjoint(plain)
    assert other == plain | chosen


def test_a_row_of_the_published_tables_is_an_option_away(segearth, tmp_path, write_raster, noise, model_dir):
    scene, masks = write_raster("scene.tif", noise(3, 96, 64)), {}
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "--precision", "fp32", "--device", "cpu")
    for row in ("vanilla", "vanilla --keep-residual", "naclip", "sclip --last-blocks 2"):
        out = tmp_path / f"{len(masks)}.tif"
        confidence = tmp_path / f"{len(masks)}.c.tif"
        done = segearth(
            "predict", scene, "-c", "water,road", *model, "-o", out, "--confidence", confidence, "-q",
            "--attention", *row.split(),
        )  # fmt: skip
        assert done.code == 0, done.err
        with rasterio.open(confidence) as ds:
            masks[row] = ds.read(1).tobytes()
    assert len(set(masks.values())) == 4


def test_no_last_block_at_all_is_told():
    with pytest.raises(UsageError, match="--last-blocks 0: need a whole number from 1"):
        ModelOptions("mini", last_blocks=0)


def test_unknown_kernels_are_told():
    with pytest.raises(UsageError, match="--kernels cuda: choose one of auto, torch, triton"):
        ModelOptions("mini", kernels="cuda")


def test_the_environment_chooses_kernels_for_jobs(segearth, monkeypatch, write_raster, noise, model_dir):
    scene = write_raster("scene.tif", noise(3, 64, 64))
    monkeypatch.setenv("SEGEARTH_KERNELS", "cuda")
    done = segearth("predict", scene, "-c", "water,road", "-m", f"local-dir:{model_dir}")
    assert (done.code, done.lines[-1]) == (
        2,
        "segearth: SEGEARTH_KERNELS=cuda: --kernels cuda: choose one of auto, torch, triton",
    )
