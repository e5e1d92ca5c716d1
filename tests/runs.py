"""Runs of every command that works on files, in a place that has inputs of all, and what they leave there."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
import sets
import shell
import tiny
import torch
from noise import save_scene

from segearth_cli.weights import catalogue, downloads

MODEL = ("-m", "local-dir:model", "--upsampler", "none", "-d", "cpu")
CLASSES = ("-c", "water,roof")
QUICK = ("--steps", "1", "--crop", "48", "--radius", "1", "--batch-size", "1", "--jitters", "1")
TRAIN = ("-m", "local-dir:model", "-d", "cpu", *QUICK, "--workers", "0", "--held-out", "1")
RUNS = {
    "evaluate": ("evaluate", "mask.tif", "label.tif", *CLASSES, "--json", "new.json", "--csv", "new.csv"),
    "info": ("info",),
    "inspect": ("inspect", "scene.tif"),
    "merge": ("merge", "run", "-o", "new.tif"),
    "merge --format stac": ("merge", "run", "-o", "new", "--format", "stac"),
    "predict": (
        *("predict", "scene.tif", *MODEL, *CLASSES, "-o", "new.tif", "--confidence", "sure.tif", "--vector", "gpkg"),
    ),
    "preview": ("preview", "mask.tif", "-o", "new.png"),
    "vectorize": ("vectorize", "mask.tif", "-o", "new.gpkg"),
    "calibrate": ("calibrate", "scene.tif", *MODEL, *CLASSES, "--labels", "label.tif", "-o", "new.calibration"),
    "calibrate --suggest": ("calibrate", "scene.tif", *MODEL, *CLASSES, "--suggest", "3", "-o", "new.gpkg"),
    "train-upsampler": ("train-upsampler", "photos", *TRAIN, "-o", "new.safetensors"),
    "reproduce": ("reproduce", "whu-aerial", "set", "-m", "local-dir:wide", "-d", "cpu", "-o", "new"),
    "download": ("download", "simfeatup", "--from", "authors.ckpt"),
}


def fill(folder, model_dir, wide_model_dir):
    """Inputs of every command, a finished run among them."""
    for name, source in (("model", model_dir), ("wide", wide_model_dir)):
        shutil.copytree(source, folder / name)
    save_scene(folder / "scene.tif", 80, 90)
    with rasterio.open(folder / "scene.tif") as scene:
        form = scene.profile | {"count": 1, "photometric": "MINISBLACK"}
        bright = scene.read(1, out_dtype="uint8") // 128
    for name, codes in (("mask.tif", bright), ("label.tif", bright.T.reshape(bright.shape))):
        with rasterio.open(folder / name, "w", **form) as ds:
            ds.write(codes, 1)
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (3, 60, 70)).astype(np.uint8)
        sets.save(folder / f"photos/{number}.png", pixels)
    sets.save(folder / "set/val/image/0.png", pixels)
    sets.save(folder / "set/val/label/0.png", sets.truth_of("whu-aerial", 60, 70) * 255)
    state = tiny.upsampler(channels=512, patch=16).state_dict()
    torch.save({"state_dict": {f"upsampler.{key}": value for key, value in state.items()}}, folder / "authors.ckpt")
    words = ("predict", "scene.tif", *MODEL, *CLASSES, "--work", "run", "-o", "m.tif", "-q")
    done = shell.segearth(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    for left in folder.glob("m.*"):
        left.unlink()


def know_authors(file):
    """The authors' upsampler is a file that is made, for it is not ours."""
    entry = replace(catalogue.CATALOGUE["simfeatup"], git_blob=downloads.git_blob(Path(file)), size=None)
    downloads.CATALOGUE = {**catalogue.CATALOGUE, "simfeatup": entry}


def made(place, folder):
    """What a command left in its folder, by name."""
    before = {path.relative_to(place) for path in place.rglob("*")}
    return sorted(str(path) for found in Path(folder).rglob("*") if (path := found.relative_to(folder)) not in before)
