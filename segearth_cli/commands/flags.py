"""Commands whose flags are the options that dataclasses declare; their help, by panels, with the defaults of now."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from segearth_cli.commands.completion import completer
from segearth_cli.commands.results import note_written
from segearth_cli.config import ConfigOptions, config_text, is_config, read_config, settled
from segearth_cli.errors import SomeFailedError, UsageError
from segearth_cli.files import write_text
from segearth_cli.gate import Target, named_files, promised, reading
from segearth_cli.options import Option, build, default_text, options_of, value_text
from segearth_cli.version import __version__

Command = Callable[..., Any]
Values = Mapping[str, Any]

_PLACES = ("file", "folder", "path")  # units of options that take texts beside places, such as - and URLs
_METAVARS = {int: "number", float: "number", str: "text"}


def flags_of(
    *owners: type, defaults: Callable[[], Values] = dict, examples: Sequence[str] = (), config: bool = True
) -> Callable[[Command], Command]:
    """For a command `f(argument, ..., **given)`: its flags are the options of the dataclasses, those given in `given`.

    defaults: values that stand in for the options' own, by keyword; called when somebody asks for help. examples: lines
    that end the help page. config: whether it takes config files.
    """
    known = all_options(*owners)
    told = all_options(*owners, ConfigOptions) if config else known

    def decorate(command: Command) -> Command:
        @wraps(command)
        def called(**values: Any) -> Any:
            typed = {name: value for name, value in values.items() if value is not None and name not in own}
            with configured(command.__name__, typed, known) as given:
                return command(**{name: values[name] for name in own}, **given)

        signature = inspect.signature(command, eval_str=True)
        own = {name: p for name, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD}
        flags = [_parameter(one) for one in told]
        parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in own.values()] + flags
        called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        called.options = told  # type: ignore[attr-defined]
        called.defaults = defaults  # type: ignore[attr-defined]
        called.examples = examples  # type: ignore[attr-defined]
        return called

    return decorate


@contextmanager
def configured(command: str, typed: dict[str, Any], known: Sequence[Option]) -> Iterator[dict[str, Any]]:
    """What is given of a command's options, by config file and command line; saved, where asked for, once it is done.

    Raises UsageError for a config file that is none, or that may not be written.
    """
    files = build(ConfigOptions, typed)
    given = settled({} if files.config is None else read_config(files.config, known), typed, known)
    config = [files.config] if files.config else []
    with reading(lambda: (*config, *named_files(given, known))):
        if files.save_config is None:
            yield given
        else:
            with _saved(files.save_config, command, given, known):
                yield given


@contextmanager
def _saved(path: Path, command: str, given: Values, known: Sequence[Option]) -> Iterator[None]:
    """Writes what is given of a command's options to a config file once the block is done, for some inputs at least."""
    text = config_text(given, known, f"{command.replace('_', '-')}, version {__version__}; inputs are typed beside it")
    done = False
    _refuse_config(path, known)
    try:
        with promised(Target(path, "--save-config"), overwrite=bool(given.get("overwrite"))):
            yield
        done = True
    except SomeFailedError:
        done = True
        raise
    finally:
        if done:
            _refuse_config(path, known)  # somebody may have written a file of that name meanwhile
            write_text(path, text)
            note_written([path], quiet=bool(given.get("quiet")))


def _refuse_config(path: Path, known: Sequence[Option]) -> None:
    """Raises UsageError where a config file may not be written: it replaces none but one of ours, by `--overwrite`."""
    if path.suffix != ".toml":
        raise UsageError(f"--save-config {path}: need a name that ends in .toml")
    if path.is_file() and not is_config(path):
        raise UsageError(f"--save-config {path}: exists already, and segearth did not write it; choose another name")
    if path.is_file() and all(one.name != "overwrite" for one in known):
        raise UsageError(f"--save-config {path}: exists already; choose another name")


def all_options(*owners: type) -> tuple[Option, ...]:
    """The options of several dataclasses, those of a panel side by side, panels in the order they are first named."""
    told = [one for owner in owners for one in options_of(owner)]
    panels = list(dict.fromkeys(one.panel for one in told))
    return tuple(sorted(told, key=lambda one: panels.index(one.panel)))


class SummaryGroup(TyperGroup):
    """Commands listed with the first clause of what they do, whole on any screen."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the list into the help page."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, summary(command.help or "")) for name, command in commands if command and not command.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def summary(text: str) -> str:
    """The first clause of a help text.

    >>> summary("Join the parts of a run; prints the path.")
    'Join the parts of a run'
    """
    return re.split(r"[.:;](?=\s|$)", " ".join(text.split()), maxsplit=1)[0]


class PanelCommand(TyperCommand):
    """A command that lists its options by panel, each with the default that would count now."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the words of a command line; a flag that may stand alone does, unless one of its choices follows."""
        known: Sequence[Option] = getattr(self.callback, "options", ())
        bare = {flag: one for one in known if one.bare for flag in one.flags}
        places = {flag for one in known if one.kind is Path or one.unit in _PLACES for flag in one.flags}
        words: list[str] = []
        for at, word in enumerate(args, start=1):
            flag, equals, value = word.partition("=")
            if flag in places and not value and (equals or args[at : at + 1] == [""]):  # a Path would be this folder
                raise UsageError(f"{flag}: names nothing; look for an empty variable on the command line")
            words.append(word)
            if word in bare and args[at : at + 1] not in [[choice] for choice in bare[word].choices]:
                words.append(bare[word].bare)
        return list(super().parse_args(ctx, words))

    def get_short_help_str(self, limit: int = 0) -> str:  # noqa: ARG002
        """What shells show beside the command's name."""
        return summary(self.help or "")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments and options into the help page."""
        told: dict[str, Option] = {one.name: one for one in getattr(self.callback, "options", ())}
        now: Values = getattr(self.callback, "defaults", dict)()
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            option = told.get(param.name or "")
            heading = "Arguments" if param.param_type_name == "argument" else option.panel if option else ""
            sections.setdefault(heading or "Options", []).append((record[0], record[1] + _default(option, now)))
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Writes examples at the end of the help page, as they are typed."""
        if examples := getattr(self.callback, "examples", ()):
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in examples))


def _default(option: Option | None, now: Values) -> str:
    if option is None:
        return ""
    text = value_text(now[option.name]) if option.name in now else default_text(option)
    return f" [default: {text}]" if text else ""


def _parameter(option: Option) -> inspect.Parameter:
    """An option as Typer reads it; None when it is not given."""
    kind: Any = str if option.parse else list[str] if option.kind is tuple else option.kind
    choices = "|".join(map(str, option.choices))
    metavar = None if option.kind is bool else choices or option.unit or _METAVARS.get(option.kind)
    declared = typer.Option(
        *option.flags, help=option.help, metavar=metavar, show_default=False, shell_complete=completer(option)
    )
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, declared]
    )
