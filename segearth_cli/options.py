"""One home for an option: a field of a frozen dataclass beside the workflow that it steers.

To add an option, add a field to the dataclass it belongs to (`raster.ReadOptions`, `prediction.PredictOptions`, ...):

    @dataclass(frozen=True, slots=True)
    class PredictOptions:
        blend: Blend = option("mean", help="How overlapping windows are joined.", panel="Windows", advised=True)

The flag of the command line (`--blend`, from the field's name unless flags are named), its place and default in
`--help`, the keyword of the Python function, the checks of `segearth.json` and of values, and README's table
(`python scripts/option_table.py` writes it) all come from there. Choices are those of a `Literal` type. A rule that
one value or two of them can break is checked in the class's `__post_init__`, after `validate(self)`.
A dataclass in a dataclass (`PredictOptions.read`) brings its options along. The shell gives text: a field of a type
that Typer does not know (tuples, sizes) names the function that reads it with `parse`.
"""

from __future__ import annotations

import dataclasses
import difflib
import keyword
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from segearth_cli.errors import UsageError

T = TypeVar("T")
_KEY = "option"
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path", tuple: "a list"}


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of one option."""

    field: str
    """Name of the field that holds its value."""
    name: str
    """Keyword of the Python function: the first long flag without dashes, `_` for `-`."""
    flags: tuple[str, ...]
    """Flags of the command line, long before short; `--yes/--no` for a switch that is on by default."""
    kind: type
    """Type of a value: bool, int, float, str, Path, tuple, or the class that `parse` makes."""
    optional: bool
    """Whether None is a value."""
    default: Any
    """Value when nobody gives one; MISSING when the workflow settles it."""
    help: str
    """One sentence for people."""
    panel: str
    """Heading under which `--help` and README list it."""
    choices: tuple[Any, ...]
    """Values that are accepted; empty = all of the kind."""
    unit: str
    """Shown in place of a value, e.g. `px`; empty = the kind's name."""
    shown: str | None
    """Text for the default where the value itself would not tell; None = the value."""
    parse: Callable[[str], Any] | None
    """From the shell's text to the value; None = the kind says how."""
    advised: bool
    """Whether a model's `segearth.json` may set it."""
    variable: str
    """Environment variable that gives it where nothing else does, for jobs; empty = none."""

    @property
    def flag(self) -> str:
        """The flag by which errors call it."""
        return self.flags[0].split("/")[0]


def option(
    default: Any = MISSING,
    *flags: str,
    help: str,
    panel: str = "",
    unit: str = "",
    shown: str | None = None,
    parse: Callable[[str], Any] | None = None,
    advised: bool = False,
    variable: str = "",
) -> Any:
    """A dataclass field that is an option too; arguments as in `Option`. Without flags: the field's name, dashed."""
    told: dict[str, Any] = {"flags": flags, "help": help, "panel": panel, "unit": unit, "shown": shown}
    told |= {"parse": parse, "advised": advised, "variable": variable}
    return dataclasses.field(default=default, metadata={_KEY: told})


@cache
def options_of(owner: type) -> tuple[Option, ...]:
    """The options that a dataclass declares, and those of the dataclasses in it, in their order."""
    hints, found = get_type_hints(owner), []
    for field in fields(owner):
        if _KEY in field.metadata:
            found.append(_described(field, hints[field.name]))
        elif is_dataclass(hints[field.name]):
            found += options_of(hints[field.name])
    return tuple(found)


def build(owner: type[T], given: Mapping[str, Any], **others: Any) -> T:
    """An instance of `owner` from values by keyword; None and what is not given are its defaults.

    `given` may hold options of other dataclasses too; others: fields that are no options, by their names. Raises
    UsageError for a value that cannot be meant.
    """
    known, hints = {option.field: option for option in _own(owner)}, get_type_hints(owner)
    values = dict(others)
    for field in fields(owner):  # type: ignore[arg-type]
        told = known.get(field.name)
        if told and (value := _asked(told, given)) is not None:
            values[field.name] = taken(told, value)
        elif not told and field.name not in others and is_dataclass(hints[field.name]):
            values[field.name] = build(hints[field.name], given)
    return owner(**values)


def _asked(told: Option, given: Mapping[str, Any]) -> Any:
    """What was asked of an option, here or by its environment variable; None for its default."""
    value = given.get(told.name)
    return os.environ.get(told.variable) or None if value is None and told.variable else value


def validate(values: Any) -> None:
    """For `__post_init__`: raises UsageError unless every option of the dataclass has a value of its kind."""
    for told in _own(type(values)):
        value = getattr(values, told.field)
        if not (value is None and told.optional):
            taken(told, value)


def taken(told: Option, value: Any) -> Any:
    """A value as its field holds it. Raises UsageError, with the flag's name, for another kind or choice."""
    if told.parse and isinstance(value, str):
        return told.parse(value)
    if told.choices:
        if value not in told.choices or isinstance(value, bool):
            raise UsageError(f"{told.flag} {value}: choose one of {', '.join(map(str, told.choices))}")
        return value
    if told.kind is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if told.kind is float and isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    if told.kind is Path and isinstance(value, str | os.PathLike):
        return Path(value)
    if told.kind is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(value)
    if told.kind in (int, float, Path, tuple) or not isinstance(value, told.kind):
        raise UsageError(f"{told.flag} {value!r}: need {_WORDS.get(told.kind, told.kind.__name__)}")
    return value


def refuse_unknown(names: Iterable[str], known: Iterable[Option], what: str) -> None:
    """Raises UsageError for the first of the names that no option has, with the one that comes near."""
    keywords = [told.name for told in known]
    for name in names:
        if name not in keywords:
            near = difflib.get_close_matches(name, keywords, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(keywords))}"
            raise UsageError(f"{what} {name}: unknown; {hint}")


def default_text(told: Option) -> str:
    """An option's default for people; empty where there is nothing to say."""
    if told.shown is not None:
        return told.shown
    return "" if told.default is MISSING or told.default is None or told.default is False else value_text(told.default)


def value_text(value: Any) -> str:
    """A value as one would type it.

    >>> value_text(0.0), value_text(True), value_text((4, 3, 2))
    ('0', 'yes', '4,3,2')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(value_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def table(told: Iterable[Option], advice: Mapping[str, Any], model: str) -> str:
    """Options as a Markdown table, a bold row for each panel; advice: what `model` sets, by keyword."""
    panels: dict[str, list[Option]] = {}
    for one in told:
        panels.setdefault(one.panel, []).append(one)
    rows = ["| option | meaning | default |", "|-|-|-|"]
    for panel, ones in panels.items():
        rows += [f"| **{panel}** | | |", *(_row(one, advice, model) for one in ones)]
    return "\n".join(rows) + "\n"


def _row(told: Option, advice: Mapping[str, Any], model: str) -> str:
    default = default_text(told)
    if told.name in advice:
        default += f" (`{model}`: {value_text(advice[told.name])})"
    flags = ", ".join(f"`{flag}`" for flag in told.flags) + f" {told.unit}" * bool(told.unit)
    meaning = told.help + (f" One of {', '.join(f'`{choice}`' for choice in told.choices)}." if told.choices else "")
    return f"| {flags} | {meaning.replace('|', chr(92) + '|')} | {default} |".replace("  |", " |")


def _own(owner: type) -> list[Option]:
    hints = get_type_hints(owner)
    return [_described(field, hints[field.name]) for field in fields(owner) if _KEY in field.metadata]


def _described(field: dataclasses.Field[Any], hint: Any) -> Option:
    told = dict(field.metadata[_KEY])
    flags = told.pop("flags") or (f"--{field.name.replace('_', '-')}",)
    flags = tuple(sorted(flags, key=lambda flag: not flag.startswith("--")))
    name = flags[0].split("/")[0].removeprefix("--").replace("-", "_")
    name += "_" * keyword.iskeyword(name)
    optional = get_origin(hint) in (Union, types.UnionType)
    if optional:
        hint = next(part for part in get_args(hint) if part is not type(None))
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    kind = type(choices[0]) if choices else get_origin(hint) or hint
    return Option(field.name, name, flags, kind, optional, field.default, choices=choices, **told)
