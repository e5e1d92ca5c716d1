"""Options to a model: what they choose, and what a mask's provenance says of it."""

import pytest

from segearth_cli.classes import parse
from segearth_cli.errors import UsageError
from segearth_cli.weights.assembly import ModelOptions, assemble

CLASSES = parse("water,road")


def facts(model_dir, **options):
    made = assemble(ModelOptions(f"local-dir:{model_dir}", device="cpu", precision="fp32", **options), CLASSES)
    return made.facts


def test_kernels_are_named_only_where_they_are_not_those_of_torch(model_dir):
    plain, triton = facts(model_dir), facts(model_dir, kernels="triton")
    assert "kernels" not in plain
    assert triton == plain | {"kernels": "triton"}


def test_unknown_kernels_are_told():
    with pytest.raises(UsageError, match="--kernels cuda: choose one of torch, triton"):
        ModelOptions("mini", kernels="cuda")


def test_the_environment_chooses_kernels_for_jobs(segearth, monkeypatch, write_raster, noise, model_dir):
    scene = write_raster("scene.tif", noise(3, 64, 64))
    monkeypatch.setenv("SEGEARTH_KERNELS", "cuda")
    done = segearth("predict", scene, "-c", "water,road", "-m", f"local-dir:{model_dir}")
    assert (done.code, done.lines[-1]) == (2, "segearth: --kernels cuda: choose one of torch, triton")
