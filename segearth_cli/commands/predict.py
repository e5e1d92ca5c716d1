"""`segearth predict`: scenes and a few words to georeferenced masks."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segearth_cli import classes as class_lists
from segearth_cli import console
from segearth_cli.commands.arguments import INPUTS, geotiff
from segearth_cli.commands.many import each, raise_failed
from segearth_cli.commands.results import show
from segearth_cli.commands.sharding import (
    Sharded,
    Sharding,
    each_reported,
    scene_entries,
    shard_folders,
    sharding_options,
)
from segearth_cli.errors import UsageError, WeightsError
from segearth_cli.files import make_folders, refuse_existing

if TYPE_CHECKING:
    from segearth_cli.classes import ClassSet
    from segearth_cli.jobs import Entry
    from segearth_cli.prediction import PredictOptions, Predictor, Summary
    from segearth_cli.raster import Outputs

Opt = typer.Option
RESOLUTIONS = frozenset({"scale", "gsd", "long_side"})


def predict(
    scenes: Annotated[list[str] | None, typer.Argument(help=f"Rasters: {INPUTS}.")] = None,
    classes: Annotated[
        str | None, Opt("--classes", "-c", help="Classes by comma, synonyms by bar: 'water|river|lake,building|roof'.")
    ] = None,
    classes_file: Annotated[
        Path | None, Opt(help="One class a line: phrases by comma, the first its name; #RRGGBB colour; # comment.")
    ] = None,
    preset: Annotated[
        str | None, Opt(help="A published setting, e.g. loveda: classes, background, threshold, resolution, lambda.")
    ] = None,
    background: Annotated[
        str | None,
        Opt(help="Class that low confidence falls to, put first when missing; or none. [default: background]"),
    ] = None,
    threshold: Annotated[
        float | None, Opt("--threshold", "-t", help="Winners below this probability become background. [default: 0]")
    ] = None,
    out: Annotated[
        Path | None, Opt("--out", "-o", help="Mask for one scene, folder for several. [default: STEM.mask.tif here]")
    ] = None,
    confidence: Annotated[
        Path | None, Opt(help="Also write the winner's probability: uint8, 0-254, 255 = nodata (folder for several).")
    ] = None,
    scores: Annotated[
        Path | None, Opt(help="Also write every class's probability: float32 bands (folder for several).")
    ] = None,
    vector: Annotated[
        Path | None, Opt(help="Also write polygons: .gpkg, .geojson, .fgb, .shp, .parquet (folder for several: .gpkg).")
    ] = None,
    overwrite: Annotated[bool, Opt("--overwrite", help="Replace files that exist.")] = False,
    model: Annotated[
        str,
        Opt(
            "--model",
            "-m",
            help="auto, a name of `segearth models`, local-dir:FOLDER, NAME:TAG, hf-hub:ORG/NAME, NAME:FILE.",
        ),
    ] = "auto",
    upsampler: Annotated[
        str | None, Opt(help="SimFeatUp weights (.safetensors, .ckpt, .pt) or none. [default: the model's own]")
    ] = None,
    attention: Annotated[
        str | None, Opt(help="Last block's attention: segearth, clearclip or vanilla. [default: segearth]")
    ] = None,
    global_bias: Annotated[
        float | None, Opt(help="Share of the global token taken from every pixel, lambda. [default: 0.3]")
    ] = None,
    window: Annotated[int | None, Opt(help="Window side in pixels. [default: the model's]")] = None,
    stride: Annotated[int | None, Opt(help="Window step in pixels. [default: half the window]")] = None,
    blend: Annotated[
        str | None, Opt(help="Overlapping windows: mean (as published) or taper (hides block edges). [default: mean]")
    ] = None,
    scale: Annotated[float | None, Opt(help="Resample the scene by this factor for the model.")] = None,
    gsd: Annotated[float | None, Opt(help="Resample the scene to this many metres a pixel.")] = None,
    long_side: Annotated[int | None, Opt(help="Resample the scene to this many pixels on its long side.")] = None,
    antialias: Annotated[
        bool | None, Opt("--antialias/--no-antialias", help="Average what a coarser pixel covers. [default: yes]")
    ] = None,
    bands: Annotated[
        str | None, Opt("--bands", "-b", help="Bands for red, green, blue, e.g. 4,3,2; one for grey.")
    ] = None,
    stretch: Annotated[str, Opt(help="To 8 bits: auto, MIN,MAX or percentiles P2,P98; once a scene.")] = "auto",
    device: Annotated[str, Opt("--device", "-d", help="auto, cpu, cuda:N or mps.")] = "auto",
    precision: Annotated[str, Opt(help="auto, fp32, bf16 or fp16.")] = "auto",
    batch_size: Annotated[str, Opt(help="Windows at once: auto or a number; halved when memory runs out.")] = "auto",
    workers: Annotated[int, Opt(help="Threads that read ahead.", min=1)] = 2,
    manifest: Annotated[
        Path | None, Opt(help="Many scenes: a CSV (columns scene, out, confidence, scores) or one path a line.")
    ] = None,
    summary: Annotated[Path | None, Opt(help="Write what became of each scene as a CSV.")] = None,
    work: Annotated[
        Path | None, Opt(help="Keep finished parts of the mask in this folder, to go on from and to share.")
    ] = None,
    shard_size: Annotated[int, Opt(help="Side of the parts that --work keeps, in pixels.")] = 4096,
    resume: Annotated[
        bool, Opt("--resume", help="Go on where the run in --work stopped; skip scenes that are done.")
    ] = False,
    shard_index: Annotated[int | None, Opt(help="Compute one share of the parts only, counted from 0.")] = None,
    shard_count: Annotated[int | None, Opt(help="Into how many shares the parts are dealt.")] = None,
    engine: Annotated[str, Opt(help="Where parts are computed: local or dask.")] = "local",
    scheduler: Annotated[
        str | None, Opt(help="Address of a Dask scheduler. [default: a cluster on this machine]")
    ] = None,
    devices: Annotated[str | None, Opt(help="One process a device, e.g. cuda:0,cuda:1.")] = None,
    dry_run: Annotated[
        bool, Opt("--dry-run", help="Print windows, working size, memory and disk; compute nothing.")
    ] = False,
    as_json: Annotated[bool, Opt("--json", help="Print one JSON object a scene instead of the mask's path.")] = False,
    quiet: Annotated[bool, Opt("--quiet", "-q", help="Errors only.")] = False,
    verbose: Annotated[bool, Opt("--verbose", "-v", help="Tell what runs and where the time goes.")] = False,
) -> None:
    """Segment scenes into the classes you name; prints the path of each mask."""
    from segearth_cli.weights import choose

    sharding, device = sharding_options(
        work, shard_size, resume, shard_index, shard_count, engine, scheduler, devices, device, precision
    )
    entries = scene_entries(scenes or [], manifest)
    names = [entry.scene for entry in entries]
    class_set, settings = _classes(classes, classes_file, preset, background)
    choice = choose(model, upsampler)
    options = _options(
        [_advised(choice.model), settings], bands, stretch, antialias,
        window=window, stride=stride, blend=blend, scale=scale, gsd=gsd, long_side=long_side,
        threshold=threshold, attention=attention, global_bias=global_bias,
    )  # fmt: skip
    outputs = _outputs(entries, out, confidence, scores, vector)
    if vector is not None:
        from segearth_cli.vector import driver

        for output in outputs:
            driver(output.vector or vector)
    skip = resume or manifest is not None  # what is there already may be of the same run
    if not dry_run and not sharding.partial:
        places = [entry.out and entry.out.parent for entry in entries]
        _prepare(names, outputs, [out, confidence, scores, vector, *places], overwrite or skip)
    if choice.note and not quiet:
        console.note(choice.note)
    if dry_run:
        _each(names, outputs, _DryRun(choice.model, options, class_set, as_json, _batch(batch_size), sharding))
        return
    from segearth_cli.prediction import Predictor, RunOptions, assembled_once
    from segearth_cli.weights import ModelOptions

    model_options = ModelOptions(
        choice.model, choice.upsampler, options.attention, options.global_bias, device, precision
    )
    notice = (lambda _line: None) if quiet else console.note
    run = RunOptions(_batch(batch_size), workers, quiet, skip, overwrite, notice)
    predictor = Predictor(assembled_once(model_options, class_set, notice), class_set, options, run)
    act: Any = _Predict(predictor, as_json, verbose)
    if sharding.work is not None:
        folders = shard_folders(names, sharding.work, single=manifest is None)
        act = Sharded(sharding, folders, model_options, predictor, as_json)
    if manifest is not None or summary is not None:
        each_reported(names, outputs, act, summary, quiet=quiet)
    else:
        _each(names, outputs, act)


@dataclass
class _Predict:
    """Runs one scene after another with one model."""

    predictor: Predictor
    as_json: bool
    verbose: bool

    def __call__(self, scene: str, outputs: Outputs) -> Summary:
        from segearth_cli.prediction import as_json, predict_scene

        summary = predict_scene(scene, outputs, self.predictor)
        show(summary.mask, as_json(summary), as_json=self.as_json)
        if self.verbose:
            run, share = summary.run, summary.waited_seconds / max(summary.seconds, 1e-9)
            console.note(
                f"{scene}: {run['model']} with upsampler {run['upsampler']}, {run['precision']} on "
                f"{self.predictor.model().device}; {summary.computed_windows} of {summary.windows} windows of "
                f"{run['window']} px in {summary.seconds:.1f} s, {share:.0%} of it waiting for pixels"
            )
        return summary


@dataclass
class _DryRun:
    """Tells what a scene would take."""

    model: str
    options: PredictOptions
    classes: ClassSet
    as_json: bool
    batch: int | None
    sharding: Sharding

    def __call__(self, scene: str, outputs: Outputs) -> None:
        from dataclasses import asdict

        from segearth_cli.prediction import estimate, make_plan
        from segearth_cli.raster import open_scene
        from segearth_cli.weights import image_facts

        opened = open_scene(scene, self.options.read)
        plan = make_plan(opened, self.options, image_facts(self.model).native)
        opened.close()
        pixel_bytes = 1 + (outputs.confidence is not None) + 4 * len(self.classes) * (outputs.scores is not None)
        facts: dict[str, Any] = {
            "scene": scene,
            "mask": str(outputs.mask),
            "window": plan.window,
            "stride": plan.stride,
        }
        facts |= asdict(
            estimate(
                plan,
                queries=len(self.classes.queries),
                batch=self.batch or os.cpu_count() or 1,
                pixel_bytes=pixel_bytes,
            )
        )
        if self.sharding.work is not None:
            size = self.sharding.size
            facts["shards"] = -(-plan.height // size) * -(-plan.width // size)
        shards = f"{facts['shards']} shards, " if "shards" in facts else ""
        line = (
            f"{scene}: {opened.width} x {opened.height} px, working size {plan.cols} x {plan.rows} px, "
            f"{facts['windows']} windows of {plan.window} px every {plan.stride} px, {shards}"
            f"memory about {facts['memory'] / 1e9:.2f} GB beside the model, disk up to {facts['disk'] / 1e9:.2f} GB"
        )
        show(line, facts, as_json=self.as_json)


def _each(names: list[str], outputs: list[Outputs], act: Any) -> None:
    """Acts on every scene."""
    jobs = list(zip(names, outputs, strict=True))
    raise_failed(each(names, jobs, lambda job: act(*job)), "scenes")


def _classes(
    flag: str | None, file: Path | None, preset: str | None, background: str | None
) -> tuple[ClassSet, dict[str, Any]]:
    """The classes of a run, and the settings that a preset brings with them."""
    if sum(given is not None for given in (flag, file, preset)) != 1:
        raise UsageError("name the classes with one of --classes, --classes-file and --preset")
    if preset is not None:
        from segearth_cli.presets import get

        known = get(preset)
        classes = known.classes()
        settings: dict[str, Any] = {
            "threshold": known.threshold,
            "long_side": known.long_side,
            "global_bias": -known.global_bias,
        }
        settings |= {"attention": "segearth", "blend": "mean", "antialias": False}
        return class_lists.with_background(classes, background) if background else classes, settings
    listed = class_lists.parse(flag) if flag is not None else class_lists.read(file or Path())
    return class_lists.with_background(listed, background or "background"), {}


def _advised(model: str) -> dict[str, Any]:
    """The model's own advice. Raises WeightsError where it names what is no setting."""
    from segearth_cli.prediction import PredictOptions
    from segearth_cli.weights import SETTINGS, advice

    settings = advice(model)
    known = {field.name for field in fields(PredictOptions)} - {"read"} | {"antialias"}
    if unknown := sorted(settings.keys() - known):
        raise WeightsError(f"{model}: {SETTINGS} names {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return settings


def _options(
    layers: list[dict[str, Any]], bands: str | None, stretch: str, antialias: bool | None, **given: Any
) -> PredictOptions:
    """The options of a run: flags, else the last of `layers` that has one (model, preset), else the defaults."""
    from segearth_cli.prediction import PredictOptions
    from segearth_cli.raster import ReadOptions, parse_bands, parse_stretch

    parse_stretch(stretch)
    settings: dict[str, Any] = {"antialias": True}
    for layer in [*layers, {"antialias": antialias, **given}]:
        asked = {name: value for name, value in layer.items() if value is not None}
        if asked.keys() & RESOLUTIONS:  # one resolution replaces another
            settings = {name: value for name, value in settings.items() if name not in RESOLUTIONS}
        settings |= asked
    smooth = settings.pop("antialias")
    return PredictOptions(read=ReadOptions(parse_bands(bands), stretch, smooth), **settings)


def _outputs(
    entries: list[Entry], out: Path | None, confidence: Path | None, scores: Path | None, vector: Path | None
) -> list[Outputs]:
    """Where each scene's files go: a name with a suffix is a file for one scene, else a folder.

    Raises UsageError when two scenes would write the same file.
    """
    from segearth_cli.raster import Outputs, stem

    for option, given in {"--out": out, "--confidence": confidence, "--scores": scores}.items():
        geotiff(given, option, several=len(entries) > 1)

    def located(given: Path | None, kind: str, name: str) -> Path | None:
        if given is None:
            return Path(f"{stem(name)}.mask.tif") if kind == "mask" else None
        if len(entries) == 1 and given.suffix and not given.is_dir():
            return given
        if given.is_file():
            raise UsageError(f"{given}: is a file, need a folder for {len(entries)} scenes")
        return given / (f"{stem(name)}.gpkg" if kind == "vector" else f"{stem(name)}.{kind}.tif")

    found = [
        Outputs(
            entry.out or located(out, "mask", entry.scene) or Path(),
            entry.confidence or located(confidence, "confidence", entry.scene),
            entry.scores or located(scores, "scores", entry.scene),
            located(vector, "vector", entry.scene),
        )
        for entry in entries
    ]
    taken: dict[Path, str] = {}
    for name, output in zip([entry.scene for entry in entries], found, strict=True):
        for path in output.paths():
            if (place := path.absolute()) in taken:
                raise UsageError(f"{name} and {taken[place]} would both write {path}; run them apart or rename one")
            taken[place] = name
    return found


def _prepare(names: list[str], outputs: list[Outputs], places: list[Path | None], overwrite: bool) -> None:
    """Makes those of `places` that are folders. Raises UsageError where something would be lost."""
    from segearth_cli.raster import exists

    paths = [path for output in outputs for path in output.paths()]
    refuse_existing(paths, overwrite=overwrite)
    for path in paths:
        if path.exists() and any(exists(name) and path.samefile(name) for name in names):
            raise UsageError(f"{path}: is a scene itself; choose another --out")
    make_folders({path.parent for path in paths if path.parent in places})


def _batch(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"--batch-size {text}: need auto or a number from 1")
    return int(text)
