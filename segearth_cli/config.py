"""Config files: the options of a command as TOML, read with `--config` and written with `--save-config`.

The keys are the long flags without their dashes, the values those of the shell; the command line wins.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segearth_cli.errors import UsageError
from segearth_cli.options import Option, option, refuse_unknown, taken, validate
from segearth_cli.texts import read_text, reason

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


_HEAD = "# Options of segearth"


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """Where options come from and go to besides the command line."""

    config: Path | None = option(
        None,
        help="TOML file of options: the long flags without dashes; the command line wins.",
        panel="Config file",
        unit="file",
    )
    """A config file to read."""
    save_config: Path | None = option(
        None, help="Write the options of this run, for --config.", panel="Config file", unit="file"
    )
    """A config file to write."""

    def __post_init__(self) -> None:
        validate(self)


def read_config(path: Path, known: Sequence[Option]) -> dict[str, Any]:
    """The values of a config file by keyword, in the form in which the shell gives them.

    Raises UsageError, with the file and the key, for what cannot be read, is unknown or is not accepted.
    """
    try:
        read = tomllib.loads(read_text(path))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UsageError(f"--config {path}: {reason(e)}") from None
    options = {told.name: told for told in known}
    names = {told.flag.removeprefix("--"): told.name for told in known}
    named = {names.get(key.replace("_", "-"), key): value for key, value in read.items()}
    try:
        refuse_unknown(named, options, "option")
        return {name: _as_typed(options[name], value) for name, value in named.items()}
    except UsageError as e:
        raise UsageError(f"--config {path}: {e}") from None


def settled(read: Mapping[str, Any], given: Mapping[str, Any], known: Iterable[Option]) -> dict[str, Any]:
    """Values of a config file under those of the command line, which also put aside what they are an alternative to."""
    alternatives = {told.alternative for told in known if told.alternative and told.name in given}
    aside = {told.name for told in known if told.alternative in alternatives}
    return {**{name: value for name, value in read.items() if name not in aside}, **given}


def config_text(values: Mapping[str, Any], known: Sequence[Option], head: str) -> str:
    """A config file of values by keyword, as the shell gives them; head: of which command.

    Raises UsageError for a text that TOML cannot hold.
    """
    lines = [f"{_HEAD} {head}"]
    for told in known:
        if values.get(told.name) is not None:
            try:
                lines.append(f"{told.flag.removeprefix('--')} = {_toml(values[told.name])}")
            except UnicodeEncodeError:
                raise UsageError(f"--save-config: {told.flag} is not UTF-8 text, as TOML asks") from None
    return "\n".join(lines) + "\n"


def is_config(path: Path) -> bool:
    """Whether `config_text` wrote a file."""
    with path.open("rb") as f:
        return f.read(len(_HEAD)) == _HEAD.encode()


def _as_typed(told: Option, value: Any) -> Any:
    """A value of a config file as the shell gives it, once it is seen to be accepted."""
    if told.bare and isinstance(value, bool):
        value = told.bare if value else None
    elif told.parse and isinstance(value, list):
        value = ",".join(map(str, value))
    elif told.parse and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    elif told.kind is tuple and not told.parse and not isinstance(value, list):
        value = [value]
    if value is not None:
        accepted = taken(told, value)
        value = value if told.parse else list(accepted) if told.kind is tuple else accepted
    return value


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    text.encode()
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
