"""What became of many scenes: told as each is settled, as a table in the end, and in the file of `--summary`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segearth_cli import console
from segearth_cli.commands.many import Tried, each_twice, raise_failed
from segearth_cli.commands.results import note_written
from segearth_cli.jobs import Outcome, growing_summary, summary_lines, write_summary

if TYPE_CHECKING:
    from segearth_cli.jobs import Shard
    from segearth_cli.prediction import SceneSummary
    from segearth_cli.raster import Outputs


def each_reported(
    names: Sequence[str], outputs: Sequence[Outputs], acts: Sequence[Any], summary: Path | None, *, quiet: bool
) -> None:
    """Acts on every scene, each in its own way, on those that fail once more in the end, and reports what became of
    each as it is known.
    """
    jobs = list(zip(range(len(names)), names, outputs, strict=True))
    with table(summary, outputs) as settled:

        def named(job: tuple[int, str, Outputs], last: bool) -> Any:
            number, scene, output = job
            return acts[number](scene, output, last=last, told=numbered(number, names))

        tried = each_twice(names, jobs, named, settled, quiet=quiet)
    report(tried, outputs, summary, quiet=quiet)


@contextmanager
def table(summary: Path | None, outputs: Sequence[Outputs]) -> Iterator[Callable[[int, Tried[Any]], None]]:
    """Adds what became of scenes to the summary, where one is written, as soon as it is known."""
    with nullcontext(None) if summary is None else growing_summary(summary) as add:

        def settled(number: int, one: Tried[Any]) -> None:
            if add is not None and (outcome := _outcome(one, outputs[number])) is not None:
                add(outcome)

        yield settled


def report(tried: Sequence[Tried[Any]], outputs: Sequence[Outputs], summary: Path | None, *, quiet: bool) -> None:
    """Tells what became of all scenes, in the order of the list. Raises when some failed."""
    found = [_outcome(one, output) for one, output in zip(tried, outputs, strict=True)]
    outcomes = [outcome for outcome in found if outcome is not None]
    if summary is not None:
        write_summary(summary, outcomes)
        note_written([summary], quiet=quiet)
    if not quiet or any(one.error for one in tried):
        for line in summary_lines(outcomes):
            console.note(line)
    raise_failed(tried, "scenes")


def numbered(number: int, names: Sequence[str]) -> str:
    """Which scene of several is begun, for people; nothing where it is the only one.

    >>> numbered(311, ["s.tif"] * 10_000)
    'scene 312 of 10,000: s.tif'
    """
    return f"scene {number + 1:,} of {len(names):,}: {names[number]}" if len(names) > 1 else ""


def _outcome(one: Tried[SceneSummary | list[Shard]], output: Outputs) -> Outcome | None:
    """What became of a scene; None for one without a shard in the share that was computed."""
    scene, found = console.without_secrets(one.name), one.result
    if one.error is not None:
        return Outcome(scene, str(output.mask), "failed", error=console.without_secrets(str(one.error)))
    if found is None or isinstance(found, list):
        return Outcome(scene, "", "part") if found else None
    state: Literal["skipped", "done"] = "skipped" if found.skipped else "done"
    return Outcome(scene, found.mask, state, found.computed_windows, found.seconds)
