"""JSON to typed values and back, with one reader that names the key, the value and what is accepted."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from segearth_cli.disk import utf_8
from segearth_cli.errors import UsageError
from segearth_cli.options import Option, taken
from segearth_cli.texts import from_json

T = TypeVar("T")

_PLAIN = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
_NO_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}  # which JSON has no numbers for


class Unfit(ValueError):  # noqa: N818
    """A value of a document that is not what its key takes; the message names all three."""

    def __init__(self, key: str, seen: str, accepted: str):
        super().__init__(f"{key}: {seen}; need {accepted}")


def parse(kind: type[T], text: str) -> T:
    """A document of the dataclass `kind` from its JSON. Raises ValueError where it is none, Unfit for a wrong value."""
    value: T = fitted(kind, from_json(text, _no_constant), "")
    return value


def write(document: Any) -> str:
    """The JSON text of a document; inverse of `parse`. Only standard JSON: NaN and infinities become text."""
    return json.dumps(plain(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """A value as JSON has it: dataclasses and mappings as objects, tuples as lists, NaN and infinities as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str):
        return utf_8(value).decode()
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def fitted(kind: Any, value: Any, key: str) -> Any:
    """A value as JSON gives it, as one of the type `kind`. Raises Unfit, with the key that holds it."""
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, key)
    origin, options = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        for option in options:
            try:
                return fitted(option, value, key)
            except Unfit:
                continue
    elif origin is Literal:
        if value in options and isinstance(value, str):
            return value
    elif origin in (tuple, list) or hasattr(kind, "_fields"):
        return _sequence(kind, value, key)
    elif isinstance(value, dict) and (origin is not None and issubclass(origin, Mapping)):
        return {name: fitted(options[1], item, f"{key}.{name}" if key else name) for name, item in value.items()}
    elif kind is float and isinstance(value, str) and value in _NO_NUMBERS:
        return _NO_NUMBERS[value]
    elif kind in _PLAIN and type(value) in ((int, float) if kind is float else (kind,)):
        return value
    raise Unfit(key, _shown(value), _accepted(kind))


_hints = cache(get_type_hints)


def _object(kind: Any, value: Any, key: str) -> Any:
    if not isinstance(value, dict):
        raise Unfit(key or "document", _shown(value), "an object")
    hints = _hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    place = f"{key}." if key else ""
    for name in names:
        if name not in value:
            raise Unfit(place + name, "is missing", _accepted(hints[name]))
    if unknown := [name for name in value if name not in names]:
        raise Unfit(place + unknown[0], "is no key that is known", f"one of {', '.join(names)}")
    return kind(**{name: fitted(hints[name], value[name], place + name) for name in names})


def _sequence(kind: Any, value: Any, key: str) -> Any:
    names = getattr(kind, "_fields", None)
    items = [_hints(kind)[name] for name in names] if names else list(get_args(kind))
    if isinstance(value, list):
        if not names and len(items) == 2 and items[1] is Ellipsis:
            items = [items[0]] * len(value)
        if len(items) == len(value):
            found = [fitted(item, part, f"{key}[{i}]") for i, (item, part) in enumerate(zip(items, value, strict=True))]
            return kind(*found) if names else tuple(found)
    raise Unfit(key, _shown(value), _accepted(kind))


def _accepted(kind: Any) -> str:
    """What a type takes, in words."""
    origin, options = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if origin in (Union, types.UnionType):
        return " or ".join(map(_accepted, options))
    if origin is Literal:
        return f"one of {', '.join(options)}"
    if hasattr(kind, "_fields"):
        return f"a list of {len(kind._fields)} numbers ({', '.join(kind._fields)})"
    if origin is tuple:
        many = len(options) == 2 and options[1] is Ellipsis
        return f"a list of {_accepted(options[0])}" if many else f"a list of {len(options)} values"
    return "an object"


def chosen(told: Option, value: Any, key: str) -> Any:
    """A value as the field of an option holds it. Raises Unfit where the option does not accept it."""
    try:
        return taken(told, value)
    except UsageError:
        raise Unfit(key, _shown(value), told.accepted) from None


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
