"""`segearth predict`: scenes and a few words to georeferenced masks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segearth_cli import console
from segearth_cli.clock import timed
from segearth_cli.commands.arguments import INPUTS
from segearth_cli.commands.flags import flags_of
from segearth_cli.commands.many import OF_ONE, LaterError, each, raise_failed
from segearth_cli.commands.places import Places, named_places, scene_outputs
from segearth_cli.commands.planning import DryRun
from segearth_cli.commands.reporting import each_reported
from segearth_cli.commands.results import scene_line, show
from segearth_cli.commands.sharding import Sharded, Sharding, scene_entries, shard_folders, sharding_options
from segearth_cli.commands.targets import read_files, scene_targets
from segearth_cli.errors import SegEarthError, UsageError
from segearth_cli.gate import Target, admit
from segearth_cli.jobs import is_summary
from segearth_cli.options import build, option
from segearth_cli.prediction import (
    AreaOptions,
    ClassOptions,
    PredictOptions,
    RunOptions,
    defaults_now,
    resolve_settings,
)
from segearth_cli.progress import underway
from segearth_cli.weights import ModelOptions

if TYPE_CHECKING:
    from segearth_cli.jobs import SceneEntry
    from segearth_cli.prediction import Predictor, SceneSummary, Settings
    from segearth_cli.raster import Outputs


@dataclass(frozen=True, slots=True)
class Telling:
    """What a run says of itself."""

    dry_run: bool = option(
        False,
        help="Print windows, memory, disk, how the scene is read, refuse what the run would; compute nothing.",
        panel="Messages",
    )
    """Compute nothing, tell what it would take."""
    as_json: bool = option(
        False, "--json", help="Print one JSON object a scene instead of the mask's path.", panel="Messages"
    )
    """JSON on stdout in place of paths."""
    verbose: bool = option(False, "--verbose", "-v", help="Tell what runs and where the time goes.", panel="Messages")
    """A line a scene on stderr."""
    profile: bool = option(
        False, help="Print a table of the stages of the work and the time each took.", panel="Messages"
    )
    """A table a scene on stderr, and `profile` in the JSON."""


OWNERS = (ClassOptions, AreaOptions, Places, PredictOptions, ModelOptions, Sharding, RunOptions, Telling)
EXAMPLES = (
    'segearth predict scene.tif -c "water|river|lake,building|roof,forest"',
    "segearth predict scenes/ -c water,building -o masks/ --preview html",
    "segearth predict scene.tif --preset loveda --confidence sure.tif",
    "segearth predict huge.tif -c water,forest --work run --resume",
)


@flags_of(*OWNERS, defaults=defaults_now, examples=EXAMPLES)
def predict(
    scenes: Annotated[list[str] | None, typer.Argument(help=f"Rasters: {INPUTS}.")] = None,
    **given: Any,
) -> None:
    """Segment scenes into the classes you name; prints the path of each mask."""
    sharding = sharding_options(given)
    places, telling = build(Places, given), build(Telling, given)
    entries = scene_entries(scenes or [], places.manifest)
    names = [entry.scene for entry in entries]
    settings = _settings(entries, given | sharding.own_device)
    if telling.profile and sharding.work is not None:
        raise UsageError("--profile with --work: shards may be computed by other processes; leave one of them out")
    skip = sharding.resume or places.manifest is not None  # what is there already may be of the same run
    run = build(RunOptions, given, skip=skip, notice=console.untold if given.get("quiet") else console.note)
    outputs = scene_outputs(entries, places)
    folders = {} if sharding.work is None else shard_folders(names, sharding.work, single=places.manifest is None)
    runs = [folder for folder in folders.values() if isinstance(folder, Path)]
    targets = [] if sharding.partial else [*scene_targets(names, outputs, skip=skip)]
    if places.summary is not None:
        targets.append(Target(places.summary, "--summary", kept=skip and is_summary(places.summary)))
    named, files = named_places(entries, places), [places.manifest, *(one.options.calibration for one in settings)]
    admit(
        targets,
        lambda: read_files(names, files, runs, targets),
        overwrite=run.overwrite,
        folders={target.path.parent for target in targets if target.path.parent in named},
        work=runs,
        dry=telling.dry_run,
    )
    if not telling.dry_run:
        sharding.try_place()
    for line in dict.fromkeys(line for one in settings for line in one.notes):
        run.notice(line)
    reported = places.manifest is not None or places.summary is not None
    if telling.dry_run:
        tell = [DryRun(one, telling.as_json, run, sharding, folders, number) for number, one in enumerate(settings)]
        _each(names, outputs, tell, reported=reported)
        return
    with underway("starting", quiet=run.quiet):  # torch takes seconds
        from segearth_cli.prediction import predictor_for

    predictor = predictor_for(settings[0].model, settings[0].classes, settings[0].options, run)
    acts = [_Predict(replace(predictor, options=one.options), telling) for one in settings]
    if sharding.work is not None:
        sharded = Sharded(sharding, folders, settings, predictor, telling.as_json)
        sharded.run(names, outputs, places.summary, reported=reported)
    elif reported:
        each_reported(names, outputs, acts, places.summary, quiet=run.quiet)
    else:
        _each(names, outputs, acts)


@dataclass
class _Predict:
    """Runs one scene after another with one model."""

    predictor: Predictor
    telling: Telling

    def __call__(self, scene: str, outputs: Outputs, *, last: bool = True, told: str = "") -> SceneSummary:
        """Writes the files of a scene. Where those that are there are kept, others may be at the same list."""
        from segearth_cli.jobs import claim
        from segearth_cli.prediction import as_json, predict_scene

        started = time.perf_counter()
        lock = outputs.mask.with_name(f".{outputs.mask.name}.lock")
        telling = self.telling
        with claim(lock, wait=last) if self.predictor.run.skip else nullcontext(True) as mine:
            if not mine:
                raise LaterError
            with timed(asked=telling.profile) as clock:
                summary = predict_scene(scene, outputs, self.predictor, told)
        facts = as_json(summary) | ({"profile": clock.facts()} if telling.profile else {})
        show(summary.mask, facts, as_json=telling.as_json)
        self.predictor.run.notice(scene_line(summary, time.perf_counter() - started))
        if telling.profile:
            for line in clock.table().splitlines():
                console.note(line)
        if telling.verbose:
            run, share = summary.run, summary.waited_seconds / max(summary.seconds, 1e-9)
            console.note(
                f"{scene}: {run['model']} with upsampler {run['upsampler']}, {run['precision']} on "
                f"{self.predictor.model().device}; {summary.computed_windows} of {summary.windows} windows of "
                f"{run['window']} px in {summary.seconds:.1f} s, {share:.0%} of it waiting for pixels"
            )
        return summary


def _each(names: list[str], outputs: list[Outputs], acts: Sequence[Any], *, reported: bool = False) -> None:
    """Acts on every scene, each in its own way. reported: a failure is that scene's alone, as where a run reports."""
    jobs = list(zip(acts, names, outputs, strict=True))
    faults = (SegEarthError,) if reported else OF_ONE
    raise_failed(each(names, jobs, lambda job: job[0](*job[1:]), faults, raises=not reported), "scenes")


def _settings(entries: Sequence[SceneEntry], given: Mapping[str, Any]) -> list[Settings]:
    """The settings of each scene: of the command line, with the calibration of its row where it names one.

    Raises UsageError where rows would need several models or lists of classes.
    """
    common = given.get("calibration")
    places = [entry.calibration or common for entry in entries]
    found: dict[Path | None, Settings] = {}
    named = any(given.get(keyword) for keyword in ("classes", "classes_file", "preset"))
    for place in sorted(dict.fromkeys(places), key=lambda place: place is None):  # calibrations bring classes along
        classes = next((one.classes for one in found.values()), None)
        brought = classes if place is None and not named else None
        found[place] = resolve_settings({**given, "calibration": place}, brought)
    first, *rest = found.items()
    for place, settings in rest:
        if (settings.model, settings.classes) != (first[1].model, first[1].classes):
            raise UsageError(
                f"--manifest: {place or 'a row without a calibration'} is of another model or other classes than "
                f"{first[0]}; give each its own run"
            )
    return [found[place] for place in places]
