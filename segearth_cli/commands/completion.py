"""What the shell completes: values of options, from what this machine and the inputs named so far know."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import get_args

from segearth_cli.errors import SegEarthError
from segearth_cli.options import Option

BASH = "complete_bash"
Values = Callable[[list[str]], Iterable[str]]  # values of an option, from the inputs that are named already


def completer(option: Option) -> Callable[..., list[str]] | None:
    """A function that Typer asks for the values of an option that begin with what is typed; None for free text."""
    if choices := (*option.choices, *option.words):
        return _beginning(lambda _named: map(str, choices))
    values = _KNOWN.get((option.name, option.unit))
    return None if values is None else _beginning(values)


def _beginning(values: Values) -> Callable[..., list[str]]:
    import typer

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        kept, comma, start = incomplete.rpartition(",")
        return [_typed(f"{kept}{comma}{value}", incomplete) for value in values(ctx.args) if value.startswith(start)]

    complete.__annotations__ = {"ctx": typer.Context, "incomplete": str}
    return complete


def _typed(value: str, incomplete: str) -> str:
    """A value as it is typed in the shell that asks: bash, alone, takes it as it is, outside of quotes too."""
    is_quoted = os.environ.get("COMP_WORDS", "").removesuffix(incomplete).endswith(('"', "'"))
    return value if is_quoted or os.environ.get("_SEGEARTH_COMPLETE") != BASH else value.replace(" ", "\\ ")


def _models(_named: list[str]) -> Iterable[str]:
    from segearth_cli.weights import CATALOGUE

    return ["auto", "mini", *(entry.name for entry in CATALOGUE.values() if entry.is_model)]


def _presets(_named: list[str]) -> Iterable[str]:
    from segearth_cli import presets

    return presets.EVERY


def _devices(_named: list[str]) -> Iterable[str]:
    return ["auto", "cpu", "cuda", "cuda:0", "mps"]


def _formats(_named: list[str]) -> Iterable[str]:
    from segearth_cli.vector import Format

    return get_args(Format)


def _classes_of_masks(named: list[str]) -> Iterable[str]:
    from segearth_cli.raster import read_mask

    found: dict[str, None] = {}
    for name in named:
        try:
            found |= dict.fromkeys(read_mask(name).names.values())
        except SegEarthError:
            continue
    return found


_KNOWN: dict[tuple[str, str], Values] = {  # by name and unit of the option
    ("model", "name"): _models,
    ("preset", "name"): _presets,
    ("device", "device"): _devices,
    ("upsampler", "file"): lambda _named: ["none", "mini"],
    ("classes", "names"): _classes_of_masks,
    ("vector", "format/path"): _formats,
}
