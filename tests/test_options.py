"""Options have one home: flags, help, keywords, checks and documents are read from where they are declared."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import typer
from shell import ROOT, python

from scripts.option_table import OTHERS, README, reference, with_table
from segearth_cli import cli
from segearth_cli.errors import UsageError
from segearth_cli.options import build, default_text, option, options_of, refuse_unknown, table, validate

COMMANDS = typer.main.get_command(cli.app).commands


def numbers(text):
    return tuple(map(int, text.split(",")))


@dataclass(frozen=True)
class Inner:
    bands: tuple[int, ...] | None = option(None, help="Bands.", parse=numbers)


@dataclass(frozen=True)
class Outer:
    side: int | None = option(None, "--long-side", "-l", help="Side.", unit="px", above=1)
    share: float = option(0.5, help="Share.", advised=True, at_least=0, at_most=1)
    how: Literal["mean", "taper"] = option("mean", help="How.")
    place: Path | None = option(None, help="Where.")
    loud: bool = option(False, help="Tell.")
    kept: int = 3
    inner: Inner = Inner()

    def __post_init__(self):
        validate(self)


def test_an_option_is_called_by_its_flag_and_inner_dataclasses_bring_theirs_along():
    assert [one.name for one in options_of(Outer)] == ["long_side", "share", "how", "place", "loud", "bands"]
    assert options_of(Outer)[0].flags == ("--long-side", "-l")
    assert options_of(Outer)[2].choices == ("mean", "taper")


def test_values_by_keyword_become_fields_and_the_rest_keeps_its_default():
    made = build(
        Outer, {"long_side": 7, "share": 1, "bands": "3,2", "place": "x", "of_another": 1, "how": None}, kept=9
    )
    assert made == Outer(side=7, share=1.0, place=Path("x"), kept=9, inner=Inner((3, 2)))
    assert type(made.share) is float  # 1 and 1.0 are the same run
    assert build(Outer, {"bands": [1, 2]}).inner.bands == (1, 2)
    assert build(Outer, {"bands": 3}).inner.bands == (3,)  # as --bands 3


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"long_side": 2.5}, "--long-side 2.5: need a whole number above 1"),
        ({"long_side": True}, "--long-side True: need a whole number above 1"),
        ({"long_side": 1}, "--long-side 1: need a whole number above 1"),
        ({"long_side": 2**32}, "--long-side 4294967296: need a whole number above 1, at most 4294967295"),
        ({"share": 10**400}, f"--share {10**400}: need a number from 0 to 1"),
        ({"share": "1"}, "--share '1': need a number from 0 to 1"),
        ({"share": 1.5}, "--share 1.5: need a number from 0 to 1"),
        ({"share": float("nan")}, "--share nan: need a number from 0 to 1"),
        ({"how": "best"}, "--how best: choose one of mean, taper"),
        ({"loud": 1}, "--loud 1: need true or false"),
        ({"place": 1}, "--place 1: need a path"),
        ({"bands": True}, "--bands True: need a list"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_the_name_of_its_flag(value, line):
    with pytest.raises(UsageError) as caught:
        build(Outer, value)
    assert str(caught.value) == line


def test_a_field_set_by_hand_is_checked_too():
    with pytest.raises(UsageError, match="--how best: choose one of mean, taper"):
        Outer(how="best")


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="option long_sde: unknown; did you mean long_side?"):
        refuse_unknown(["share", "long_sde"], [told.name for told in options_of(Outer)], "option")


def test_a_table_shows_flags_units_choices_and_what_a_model_advises():
    rows = table(options_of(Outer)[:3], {"share": 0.25}, "mini").splitlines()
    assert rows[3:] == [
        "| `--long-side`, `-l` px | Side. | |",
        "| `--share` | Share. | 0.5 (`mini`: 0.25) |",
        "| `--how` | How. One of `mean`, `taper`. | mean |",
    ]


# documents


def test_the_readme_shows_the_options_of_predict_as_they_are():
    text = README.read_text(encoding="utf-8")
    assert with_table(text) == text, "run python scripts/option_table.py"


def test_the_page_of_commands_shows_all_of_them_as_they_are():
    assert OTHERS.read_text(encoding="utf-8") == reference(), "run python scripts/option_table.py"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_flag_stands_in_a_document(name):
    pages = [README, *(ROOT / "docs").glob("*.md")]
    shown = set(re.findall(r"--[a-z][a-z0-9-]*", "\n".join(page.read_text(encoding="utf-8") for page in pages)))
    flags = {flag for param in COMMANDS[name].params for flag in (*param.opts, *param.secondary_opts)}
    assert sorted(flag for flag in flags if flag.startswith("--") and flag not in shown) == []


def hand_typed(command):
    """Flags of a command that no dataclass declares."""
    told = getattr(command.callback, "options", ())
    declared = {flag for one in told for given in one.flags for flag in given.split("/")}
    typed = {
        flag
        for param in command.params
        if param.param_type_name == "option"
        for flag in (*param.opts, *param.secondary_opts)
    }
    return sorted(typed - declared - {"--help", "-h", "--install-completion", "--show-completion"})


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_flag_is_a_field_of_a_dataclass(name):
    assert hand_typed(COMMANDS[name]) == []


def test_what_stands_before_a_command_is_declared_too_and_the_test_sees_what_is_not():
    assert hand_typed(typer.main.get_command(cli.app)) == []

    def typed_by_hand(tar: str = typer.Option("", "--tar", "-T")): ...

    app = typer.Typer()
    app.command()(typed_by_hand)
    assert hand_typed(typer.main.get_command(app)) == ["--tar", "-T"]


# help


def test_help_shows_the_defaults_of_the_model_that_would_run(segearth, monkeypatch):
    monkeypatch.setenv("SEGEARTH_MODEL", "mini")
    page = " ".join(segearth("predict", "--help").out.split())
    assert "block edges. [default: taper]" in page
    assert "lambda. [default: 0.5]" in page
    assert "[default: 224]" in page
    monkeypatch.setenv("SEGEARTH_MODEL", "no-such-model")
    assert "lambda. [default: 0.3]" in " ".join(segearth("predict", "-h").out.split())


def test_help_lists_options_by_panel(segearth):
    headings = [line for line in segearth("predict", "--help").out.splitlines() if re.fullmatch(r"\w[\w ]*:", line)]
    panels = list(dict.fromkeys(f"{one.panel}:" for one in cli.predict.predict.options))
    assert headings == ["Arguments:", *panels, "Options:", "Examples:"]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_h_is_help_in_every_command(segearth, name):
    short, long = segearth(name, "-h"), segearth(name, "--help")
    assert (short.code, short.out) == (0, long.out)
    assert f"segearth {name}" in short.out


def test_help_loads_neither_torch_nor_rasterio():
    code = (
        "import sys; from segearth_cli import cli; code = cli.run(); "
        "sys.exit(code or ' '.join({'torch', 'rasterio', 'shapely', 'open_clip'} & sys.modules.keys()) or 0)"
    )
    run = python(code, "predict", "--help")
    assert (run.returncode, run.stderr) == (0, "")


def test_no_default_is_typed_a_second_time():
    told = {one.name: one for one in cli.predict.predict.options}
    assert all(param.default is None for param in COMMANDS["predict"].params)
    assert default_text(told["workers"]) == "2"
