"""`segearth models` and `segearth download`: which weights are known, which are here, and how they come here."""

from __future__ import annotations

import json
import textwrap
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any

import typer

from segearth_cli.commands.flags import flags_of
from segearth_cli.commands.many import each, raise_failed
from segearth_cli.console import answer, note
from segearth_cli.errors import UsageError, WeightsError
from segearth_cli.options import build, option
from segearth_cli.progress import Progress, progress
from segearth_cli.quantities import data_size, percent
from segearth_cli.weights import AUTHORS, CATALOGUE, PUBLISHED


@dataclass(frozen=True, slots=True)
class ListOptions:
    """In which form the list is printed."""

    activation: str | None = option(
        None, help="Tell instead which activation a model was trained with, GELU or QuickGELU, if pictures can.",
        panel="Activation", unit="model",
    )  # fmt: skip
    """A --model of predict, NAME:FILE among them; None = print the list."""
    pairs: Path | None = option(
        None, help="CSV of pictures for it: columns image, caption.", shown="tiles of the demo's scene",
        panel="Activation", unit="file",
    )  # fmt: skip
    """Pictures with a caption each; None = tiles of the scene that comes along, captioned by us."""
    as_json: bool = option(False, "--json", help="Print JSON on stdout instead of a table.", panel="Messages")
    """JSON on stdout in place of a table."""


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """Where weights come from, and what is left of those that are here."""

    origins: tuple[str, ...] | None = option(
        None,
        "--from",
        help=f"Take the weights from here; for {PUBLISHED} twice, the model's and then its upsampler's.",
        panel="Weights",
        unit="URL|FILE",
    )
    """Addresses or files, the model's first; None = where the catalogue says."""
    no_upsampler: bool = option(False, help=f"With {PUBLISHED}: leave out {AUTHORS}, its upsampler.", panel="Weights")
    """The model alone."""
    overwrite: bool = option(False, help="Fetch again what is here already.", panel="Weights")
    """Replace weights that are here."""
    quiet: bool = option(False, "--quiet", "-q", help="No progress and no notes on stderr.", panel="Messages")
    """Errors only."""


LISTS = ("segearth models", "segearth models --json", "segearth models --activation ViT-B-32:RemoteCLIP-ViT-B-32.pt")


@flags_of(ListOptions, examples=LISTS)
def models(**given: Any) -> None:
    """List models and upsamplers by name; tells which of them are on this machine."""
    options = build(ListOptions, given)
    if options.activation:
        _tell_activation(options, options.activation)
        return
    if options.pairs:
        raise UsageError(f"--pairs {options.pairs}: goes with --activation")
    rows = known_models()
    if options.as_json:
        from segearth_cli.cache import sha256

        hashes = [sha256(Path(row["path"])) if row["here"] else None for row in rows]
        answer(json.dumps([row | {"sha256": digest} for row, digest in zip(rows, hashes, strict=True)], indent=1))
        return
    table = [("NAME", "HERE", "SIZE", "LICENCE", "WHAT")]
    table += [(r["name"], "yes" if r["here"] else "no", data_size(r["bytes"]), r["licence"], r["what"]) for r in rows]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    for *cells, what in table:
        head = "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=True))
        lines = textwrap.wrap(what, max(20, get_terminal_size().columns - len(head)))
        answer(head + f"\n{' ' * len(head)}".join(lines))


def _tell_activation(options: ListOptions, spec: str) -> None:
    """Prints how well a model agrees with pictures under either activation, and which of them that speaks for."""
    from segearth_cli.commands.captioned import listed_pictures, our_pictures
    from segearth_cli.commands.demo import demo_scene
    from segearth_cli.weights import choose, compare_activations, image_facts, load_clip

    name = choose(spec, "none").model
    clip, side = load_clip(name), image_facts(name).native
    pairs = listed_pictures(options.pairs, side) if options.pairs else our_pictures(demo_scene(), side)
    found = compare_activations(clip, *pairs)
    if options.as_json:
        answer(json.dumps({"model": clip.name} | asdict(found) | {"answer": found.answer}))
        return
    answer(f"{clip.name}: {found.pictures} pictures, {found.captions} captions")
    for name, told in (("GELU", found.gelu), ("QuickGELU", found.quick_gelu)):
        above = f"{told.above_chance:.1f} standard errors above a guess"
        answer(f"  {name + ':':<11}{told.log_probability:7.3f} nats a picture, {above}, {percent(told.first)} first")
    answer(f"  difference: {found.difference:+.3f} nats, standard error {found.error:.3f}")
    answer(found.answer or f"cannot tell: {found.lacking}")


@flags_of(
    DownloadOptions,
    examples=("segearth download vit-b16", "segearth download vit-b16 --from weights.safetensors --no-upsampler"),
)
def download(
    name: Annotated[
        str, typer.Argument(help="A name of `segearth models`, NAME:TAG of open_clip, or hf-hub:ORG/NAME.")
    ],
    **given: Any,
) -> None:
    """Bring weights to this machine; checks them and prints where they are."""
    options = build(DownloadOptions, given)
    names = [name] if name != PUBLISHED or options.no_upsampler else [PUBLISHED, AUTHORS]
    asked = options.origins or ()
    if len(asked) > len(names):
        raise UsageError(f"--from: {len(asked)} given, {' and '.join(names)} can take {len(names)}")
    origins: list[str | None] = [*asked, *[None] * (len(names) - len(asked))]
    jobs = list(zip(names, origins, strict=True))
    tried = each(names, jobs, lambda job: _bring(*job, options), faults=(WeightsError,))
    raise_failed(tried, "downloads")
    if len(names) > 1 and not options.quiet:
        note(f"{PUBLISHED} with {AUTHORS} is the published method; predict takes both from now on")


def _bring(name: str, origin: str | None, options: DownloadOptions) -> None:
    """Brings one file, tells about it and prints its path."""
    from segearth_cli.weights import download as bring

    entry = CATALOGUE.get(name)
    with _Bytes(name, options.quiet) as shown:
        done = bring(name, origin, overwrite=options.overwrite, report=shown)
    if not options.quiet:
        note(f"{name}: {'checked and kept' if done.fetched else 'was here already'}, sha256 {done.sha256}")
        if entry and entry.licence == "none stated":
            note(f"{name}: its authors state no licence; ask them before you pass it on, segearth does not")
        if entry and entry.remark:
            note(f"{name}: {entry.remark}")
    answer(str(done.path))


class _Bytes(ExitStack):
    """Progress in megabytes; the total is known once the server answers."""

    def __init__(self, label: str, quiet: bool):
        super().__init__()
        self.label, self.quiet, self.megabytes = label, quiet, 0
        self.update: Progress | None = None

    def __call__(self, done: int, total: int | None) -> None:
        if self.update is None and total:
            self.update = self.enter_context(progress(self.label, total // 10**6, unit="MB", quiet=self.quiet))
        if self.update and (steps := done // 10**6 - self.megabytes) > 0:
            self.megabytes += steps
            self.update(steps)


def known_models() -> list[dict[str, Any]]:
    """Models and upsamplers with a name, and what is known of each."""
    from segearth_cli.cache import cache_dir
    from segearth_cli.weights import CONFIG, MINI, here, kept, weight_file

    mini = weight_file(MINI) if (MINI / CONFIG).is_file() else None
    rows = [_row("mini", "model", mini, None, "Apache-2.0", "small, embedded in segearth", str(MINI))]
    for entry in CATALOGUE.values():
        kind = "model" if entry.is_model else "upsampler"
        origin = entry.origin or f"https://huggingface.co/{entry.hub}"
        rows.append(_row(entry.name, kind, here(entry), entry.size, entry.licence, entry.note, origin))
    named = {entry.key for entry in CATALOGUE.values()}
    for folder in sorted((cache_dir() / "models").glob("*--*")):
        if folder.name not in named and (path := kept(folder.name)):
            rows.append(_row(folder.name.replace("--", ":"), "model", path, None, "see origin", "fetched by you", ""))
    return rows


def _row(
    name: str, kind: str, path: Path | None, size: int | None, licence: str, what: str, origin: str
) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "here": path is not None,
        "path": str(path) if path else None,
        "bytes": path.stat().st_size if path else size,
        "licence": licence,
        "what": what,
        "origin": origin,
    }
