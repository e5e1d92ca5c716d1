"""`segearth reproduce`: the published tables from the published sets, ours beside theirs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from segearth_cli import presets
from segearth_cli.commands.flags import flags_of
from segearth_cli.commands.results import note_written
from segearth_cli.console import answer, first_of, note, untold
from segearth_cli.errors import SegEarthError, SomeFailedError, UsageError, of_input
from segearth_cli.files import recover_all, write_text
from segearth_cli.gate import Target, admit
from segearth_cli.jobs import plain
from segearth_cli.options import build, option
from segearth_cli.prediction import RunOptions
from segearth_cli.presets import Preset
from segearth_cli.texts import from_json
from segearth_cli.weights import CATALOGUE, PUBLISHED, ModelOptions

if TYPE_CHECKING:
    from segearth_cli.prediction import Settings
    from segearth_cli.reproduction import FoundSet, Result, TableRow

Words = Literal["extension", "cvpr"]
_MACHINE = ("device", "kernels")  # options of the model that change no figure
_KEPT = "images"  # the folder of what every image gave


@dataclass(frozen=True, slots=True)
class ReproduceOptions:
    """What is reproduced, and where it goes."""

    root: Path | None = option(
        None, "--all", help="Every one of the 17 sets whose folder is below this one.", panel="Sets", unit="folder"
    )
    """In place of one preset and its folder."""
    rows: str | None = option(
        None,
        help="Rows of the tables beside each other: all, or e.g. published,no-upsampler,clip,clearclip,sclip.",
        panel="Sets",
        unit="names",
        shown="published",
    )
    """Names of rows, separated by commas."""
    words: Words = option(
        "extension", help="Whose words Potsdam and Vaihingen are asked for: arXiv:2508.18067's or the CVPR's.",
        panel="Sets",
    )  # fmt: skip
    """The extension's words, or those of the CVPR paper's repository."""
    names: Path | None = option(
        None, "--list", help="Count the images of this list only, a name a line.", panel="Sets", unit="file"
    )
    """A list of the split, where folders do not tell it."""
    out: Path | None = option(
        None, "--out", "-o", help="Folder of the results.", panel="Outputs", unit="folder", shown="reproduced-PRESET"
    )
    """A folder; what it holds of a run that was stopped is gone on from."""
    as_json: bool = option(False, "--json", help="Print all figures as JSON instead of the table.", panel="Messages")
    """JSON on stdout in place of tables."""
    allow_missing: bool = option(
        False, help="Exit with 0 though some images had no label or could not be read.", panel="Messages"
    )
    """Halves of pairs that are missing are no failure."""


@dataclass(frozen=True, slots=True)
class _Task:
    """A row on a set, ready to be computed."""

    preset: Preset
    row: TableRow
    found: FoundSet
    settings: Settings


EXAMPLES = (
    "segearth reproduce potsdam Potsdam/ -o potsdam/",
    "segearth reproduce loveda LoveDA/ --rows published,clip,sclip",
    "segearth reproduce --all sets/",
)


@flags_of(ReproduceOptions, ModelOptions, RunOptions, examples=EXAMPLES)
def reproduce(
    preset: Annotated[str | None, typer.Argument(help="A preset, e.g. potsdam; with --all: none.")] = None,
    data: Annotated[Path | None, typer.Argument(help="The folder of its set, as published.")] = None,
    **given: Any,
) -> None:
    """Reproduce published figures: predict a set of the paper, score it, print ours / published / difference.

    Images and labels are found in the published layout, cut into the tiles and read as the authors do. The same command
    again goes on where it was stopped, and ends in the same files.
    """
    from segearth_cli.reproduction import RESULTS, as_document, as_text, reproduce_row, table_csv, write_result

    asked = build(ReproduceOptions, given)
    run = build(RunOptions, given, notice=untold if given.get("quiet") else note)
    tasks, missing = _tasks(_sets(asked, preset, data), asked, given, run)
    out = asked.out or Path(f"reproduced-{preset or 'all'}")
    document, sheet = out / f"{RESULTS}.json", out / f"{RESULTS}.csv"
    asks = json.loads(json.dumps(default=str, obj={"asked": [_identity(task) for task in tasks]}))
    _admit(out, [document, sheet], tasks, asks, run)
    results, failures = [], list[str]()
    for task in tasks:
        try:
            with of_input(f"{task.preset.id} {task.row.name}"):
                found = reproduce_row(task.preset, task.row, task.found, task.settings, out / _KEPT, run)
        except SegEarthError as e:
            if len(tasks) == 1:
                raise
            run.notice(f"{task.preset.id} {task.row.name}: {e}")
            failures.append(f"{task.preset.id} {task.row.name}")
            continue
        if not found.pairs:
            failures.append(f"{task.preset.id} {task.row.name}")
            continue
        write_result(out, found)
        results.append(found)
    if not results:
        raise SegEarthError(f"nothing could be scored: {', '.join(failures)}")
    figures = plain(asks | as_document(results))
    text = json.dumps(figures, indent=1, ensure_ascii=False)
    write_text(sheet, table_csv(results))
    write_text(document, text + "\n")
    _remark(results, run.notice)
    note_written([out], quiet=run.quiet)
    answer(text if asked.as_json else as_text(results))
    _raise_missing(results, missing, failures, allow=asked.allow_missing)


def _sets(asked: ReproduceOptions, name: str | None, data: Path | None) -> list[tuple[Preset, Path]]:
    """The presets asked for with the folders of their sets."""
    from segearth_cli.reproduction import find_sets

    if (asked.root is None) == (name is None) or (name is not None and data is None):
        raise UsageError("name a preset and the folder of its set, e.g. reproduce loveda LoveDA/, or --all FOLDER")
    if name is not None and data is not None:
        return [(_worded(presets.get(name), asked.words), data)]
    folders = find_sets(presets.PRESETS.values(), asked.root or Path())
    absent = [one for one in presets.PRESETS if one not in folders]
    if absent:
        note(f"--all {asked.root}: no folder of {', '.join(absent)}")
    return [(_worded(presets.PRESETS[one], asked.words), folder) for one, folder in folders.items()]


def _worded(preset: Preset, words: Words) -> Preset:
    return presets.WORDINGS.get(f"{preset.id}-cvpr", preset) if words == "cvpr" else preset


def _tasks(
    sets: Sequence[tuple[Preset, Path]], asked: ReproduceOptions, given: Mapping[str, Any], run: RunOptions
) -> tuple[list[_Task], list[str]]:
    """Every row on every set, and the files that lack their other half. What is found is told."""
    from segearth_cli.reproduction import chosen_rows, find_pairs, row_settings

    own = {told: value for told, value in given.items() if told not in ("rows", "words", "list", "out", "all")}
    tasks, missing, told = list[_Task](), list[str](), set[str]()
    rows = chosen_rows(asked.rows, own)
    for preset, folder in sets:
        try:
            found = find_pairs(preset, folder, asked.names)
        except UsageError as e:
            if len(sets) == 1:
                raise
            note(str(e))
            missing.append(str(folder))
            continue
        for line in found.remarks:
            run.notice(line)
        missing += [*found.images_alone, *found.labels_alone]
        _tell_alone(found)
        for row in rows:
            settings = row_settings(preset, row, own)
            for line in settings.notes:
                if line not in told:
                    told.add(line)
                    run.notice(line)
            if not (row.name.endswith("+simfeatup") and settings.model.upsampler == "none"):
                tasks.append(_Task(preset, row, found, settings))
    if not tasks:
        raise UsageError("nothing to reproduce: no set was found, or the model has no upsampler for these rows")
    return tasks, missing


def _tell_alone(found: FoundSet) -> None:
    for what, paths in (
        ("images without a label", found.images_alone),
        ("labels without an image", found.labels_alone),
    ):
        if paths:
            note(f"{len(paths)} {what}, not scored: {first_of(paths)}")


def _identity(task: _Task) -> dict[str, Any]:
    """What tells a task from another, to know whose results lie in a folder."""
    options = {name: value for name, value in asdict(task.settings.model).items() if name not in _MACHINE}
    names = [pair.name for pair in task.found.pairs]
    return {"preset": task.preset.id, "row": task.row.name, "pairs": names, "model": options}


def _admit(out: Path, files: Sequence[Path], tasks: Sequence[_Task], asks: Mapping[str, Any], run: RunOptions) -> None:
    """Lets nothing be replaced that another run has written; makes the folders."""
    from segearth_cli.reproduction import result_files

    begun = out / _KEPT / "asked.json"
    same = _read(begun) == asks
    paths = list(files)
    for task in tasks:
        paths += result_files(out, task.preset.id, task.row.name)
    targets = [Target(path, "--out", kept=same) for path in paths]

    def read() -> Iterator[Path]:
        for task in tasks:
            for pair in task.found.pairs:
                yield from map(Path, (pair.image, pair.label))

    admit([*targets, Target(begun, "--out", kept=True)], read, overwrite=run.overwrite, folders=[out, begun.parent])
    recover_all(begun.parent)
    write_text(begun, json.dumps(asks) + "\n")


def _read(path: Path) -> Any:
    try:
        return from_json(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError):
        return None


def _remark(results: Sequence[Result], notice: Callable[[str], None]) -> None:
    """What a reader of the figures must know."""
    for result in results[:1]:
        wanted = result.preset.model or PUBLISHED
        entry, own = CATALOGUE[wanted], result.model
        if own["model"] in (wanted, f"{entry.architecture}:{entry.tag}") and own["upsampler"] != "none":
            continue
        ran = f"{result.model['model']} with upsampler {Path(str(result.model['upsampler'])).name}"
        notice(
            f"published figures are of {wanted} with simfeatup in float16; this is {ran} in {result.model['precision']}"
        )
    for worded in {result.preset.id: result.preset for result in results}.values():
        if f"{worded.id.removesuffix('-cvpr')}-cvpr" in presets.WORDINGS:
            other = "cvpr" if worded.id in presets.PRESETS else "extension"
            notice(f"{worded.id}: words of {worded.source}; --words {other} asks for those of the other source")
    kept = [result.preset for result in results if result.preset.tile_kept]
    if kept:
        notice(
            f"{kept[0].id}: the converter that wrote the published files sets tiles apart by their side, not by "
            "the step of 256 px that it counts them by; the published figure is of these, 'each tile' of every 256 px"
        )


def _raise_missing(results: Sequence[Result], missing: Sequence[str], failures: Sequence[str], *, allow: bool) -> None:
    failed = sum(len(result.failed) for result in results)
    if allow or not (failed or missing or failures):
        return
    parts = [f"{failed} images could not be scored"] * bool(failed)
    parts += [f"{len(missing)} files or sets found no partner"] * bool(missing)
    parts += [f"not done: {', '.join(failures)}"] * bool(failures)
    raise SomeFailedError(f"{'; '.join(parts)}; --allow-missing makes this exit code 0")
