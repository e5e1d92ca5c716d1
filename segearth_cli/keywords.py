"""Options as keywords of Python functions: shown in their help, and named in lines that name flags of the shell."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from textwrap import fill
from typing import Any, TypeVar, cast

from segearth_cli.errors import SegEarthError, traced
from segearth_cli.options import Option, default_text, refuse_unknown

_WIDTH = 112  # of lines in `help`

Function = TypeVar("Function", bound=Callable[..., Any])
Known = Mapping[str, Option | str]  # flag -> its option, or its keyword alone

_FLAG = r"(--[a-z][a-z0-9-]*[a-z0-9])"
_HEAD = re.compile(rf"{_FLAG} ((?!and |or ).*?): ")  # the value an error begins with may hold blanks
_NAMED = re.compile(rf"(?<![\w-]){_FLAG}(?: (?!--)([^\s:;]*[^\s:;,.)]))?")
# How a value begins, or what stands for one, and no word of a sentence; and two that many options take.
_VALUE = re.compile(r"[-+.\d]|P\d|[A-Z]{2}|(?:none|auto)$")


def flags_by_name(told: Iterable[Option]) -> dict[str, Option]:
    """Each option by all of its flags."""
    return {flag: one for one in told for given in one.flags for flag in given.split("/")}


def by_keyword(line: str, known: Known) -> str:
    """A line with keywords in place of flags: `--gsd -1: need ...` is `gsd=-1: need ...`; unknown flags stay."""
    head = _HEAD.match(line)
    if head and head[1] in known and "--" not in head[2]:
        return f"{_keyword(known[head[1]])}={head[2]}: " + by_keyword(line[head.end() :], known)
    return _NAMED.sub(lambda found: _told(found, known), line)


def taking(told: Iterable[Option], known: Known) -> Callable[[Function], Function]:
    """For a function with `**options`, which are `told`: `help` and completion show them, others are refused.

    Its errors name keywords (`by_keyword`). What is a parameter by itself is left out of `told`.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        own = {name: one for name, one in signature.parameters.items() if one.kind is not one.VAR_KEYWORD}
        options = {option.name: option for option in told if option.name not in own}

        @wraps(function)
        def called(*values: Any, **named: Any) -> Any:
            try:
                refuse_unknown(named, {*own, *options} - {"self"}, f"{function.__name__}() option")
                return function(*values, **named)
            except SegEarthError as e:
                e.args = (by_keyword(str(e), known),)
                if traced():
                    raise
                raise e.with_traceback(None) from None  # a notebook shows the line, not fifty of ours above it

        if options:
            keywords = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in options]
            shown = signature.replace(parameters=[*own.values(), *keywords])
            called.__signature__ = shown  # type: ignore[attr-defined]
            lines = "\n".join(by_keyword(_line(option), known) for option in options.values())
            called.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nOptions; None = the default:\n{lines}\n"
        return cast("Function", called)

    return decorate


def _line(option: Option) -> str:
    """What `help` says of an option."""
    choices = f" One of {', '.join(map(str, option.choices))}." if option.choices else ""
    advice = ", or as the model advises" * option.advised
    default = f" Default: {text}{advice}." if (text := default_text(option)) else ""
    text = f"{option.name}: {option.help}{choices}{default}"
    return fill(text, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8)


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
    is_value = in_brackets or after in known_values or _VALUE.match(after)
    return f"{_keyword(option)}=" + " " * bool(after and not is_value) + after


def _keyword(option: Option | str) -> str:
    return option if isinstance(option, str) else option.name
