"""Lines that name flags of the command line, told with the keywords of Python functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from segearth_cli.errors import SegEarthError
from segearth_cli.options import Option

Function = TypeVar("Function", bound=Callable[..., Any])
Known = Mapping[str, Option | str]  # flag -> its option, or its keyword alone

_FLAG = r"(--[a-z][a-z0-9-]*[a-z0-9])"
_HEAD = re.compile(rf"{_FLAG} ((?!and |or ).*?): ")  # the value an error begins with may hold blanks
_NAMED = re.compile(rf"(?<![\w-]){_FLAG}(?: (?!--)([^\s:;]*[^\s:;,.)]))?")
_PLAIN = re.compile(r"[-+.\d]|P\d")  # how values begin that no word of a sentence does


def flags_by_name(told: Iterable[Option]) -> dict[str, Option]:
    """Each option by all of its flags."""
    return {flag: one for one in told for given in one.flags for flag in given.split("/")}


def by_keyword(line: str, known: Known) -> str:
    """A line with keywords in place of flags: `--gsd -1: need ...` is `gsd=-1: need ...`; unknown flags stay."""
    head = _HEAD.match(line)
    if head and head[1] in known and "--" not in head[2]:
        return f"{_keyword(known[head[1]])}={head[2]}: " + by_keyword(line[head.end() :], known)
    return _NAMED.sub(lambda found: _told(found, known), line)


def with_keywords(known: Known) -> Callable[[Function], Function]:
    """For a function: its errors name keywords."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def called(*values: Any, **named: Any) -> Any:
            try:
                return function(*values, **named)
            except SegEarthError as e:
                e.args = (by_keyword(str(e), known),)
                raise

        return cast("Function", called)

    return decorate


def _told(found: re.Match[str], known: Known) -> str:
    flag, after = found[1], found[2] or ""
    if flag not in known:
        return found[0]
    option = known[flag]
    if isinstance(option, Option) and option.kind is bool:
        switched_on = flag in [given.split("/")[0] for given in option.flags]
        return f"{option.name}={switched_on}" + f" {after}" * bool(after)
    known_values = map(str, (*option.choices, *option.words)) if isinstance(option, Option) else ()
    in_brackets = f"({found[0]})" == found.string[max(0, found.start() - 1) : found.end() + 1]
    is_value = in_brackets or after in known_values or _PLAIN.match(after)
    return f"{_keyword(option)}=" + " " * bool(after and not is_value) + after


def _keyword(option: Option | str) -> str:
    return option if isinstance(option, str) else option.name
