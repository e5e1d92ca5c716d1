"""What the shell completes: values of options, from what this machine and the inputs named so far know."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, get_args

from segearth_cli.errors import SegEarthError
from segearth_cli.options import Option

ASKED, BASH = "_SEGEARTH_COMPLETE", "complete_bash"
Values = Callable[[list[str]], Iterable[str]]  # values of an option, from the inputs that are named already


def completer(option: Option) -> Callable[..., list[str]] | None:
    """A function that Typer asks for the values of an option that begin with what is typed; None for free text."""
    if choices := (*option.choices, *option.words):
        return _beginning(lambda _named: map(str, choices))
    values = _KNOWN.get((option.name, option.unit))
    return None if values is None else _beginning(values)


def _beginning(values: Values) -> Callable[..., list[str]]:
    def complete(ctx: Any, _parameter: Any, incomplete: str) -> list[str]:
        kept, comma, start = incomplete.rpartition(",")
        found = (value for value in values(_inputs(ctx)) if value.startswith(start))
        return [_typed(f"{kept}{comma}{value}", incomplete) for value in found]

    return complete


def _inputs(ctx: Any) -> list[str]:
    """The inputs that stand on a line whose end is missing: read already, or left where reading stopped."""
    arguments = [one.name for one in ctx.command.params if one.param_type_name == "argument"]
    read = (value for name in arguments if isinstance(value := ctx.params.get(name), list | tuple))
    return [*ctx.args, *(str(text) for texts in read for text in texts)]


def _typed(value: str, incomplete: str) -> str:
    """A value as it is typed in the shell that asks: bash, alone, takes it as it is, outside of quotes too.

    There it also puts it behind the last colon, where a word begins for it.
    """
    is_quoted = os.environ.get("COMP_WORDS", "").removesuffix(incomplete).endswith(('"', "'"))
    if is_quoted or os.environ.get(ASKED) != BASH:
        return value
    return value[incomplete.rfind(":") + 1 :].replace(" ", "\\ ")


def join_words_of_bash() -> None:
    """Joins in the environment what bash takes apart of the words that it hands over, at `:` and `=`."""
    words = os.environ.get("COMP_WORDS", "").split("\n")
    if os.environ.get(ASKED) != BASH or len(words) == 1:
        return
    joined: list[str] = []
    was_break = False
    for word in words[: int(os.environ["COMP_CWORD"]) + 1]:
        is_break = bool(word) and set(word) <= {":", "="}
        if joined and word and (is_break or was_break):
            joined[-1] += word
        else:
            joined.append(word)
        was_break = is_break
    os.environ |= {"COMP_WORDS": "\n".join(joined), "COMP_CWORD": str(len(joined) - 1)}


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
