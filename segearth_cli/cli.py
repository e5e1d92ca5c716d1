"""The command line: one Typer application, its errors and its exit codes.

Exit codes: 0 done; 1 failed (one line on stderr says what, where, and which option mends it); 2 bad usage; 3 some of
several inputs failed, the others are done; 130 interrupted (Ctrl-C); 143 terminated.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from segearth_cli import __version__
from segearth_cli.commands import evaluate, flags, inspect, merge, models, predict, train, vectorize
from segearth_cli.console import note
from segearth_cli.errors import SegEarthError
from segearth_cli.raster import UNTRUSTED

app = typer.Typer(
    name="segearth",
    help="Segment large georeferenced rasters into the classes you name, without training.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("evaluate")(evaluate.evaluate)
app.command("inspect", cls=flags.PanelCommand)(inspect.inspect)
app.command("merge")(merge.merge)
app.command("predict", cls=flags.PanelCommand)(predict.predict)
app.command("train-upsampler", cls=flags.PanelCommand)(train.train_upsampler)
app.command("vectorize", cls=flags.PanelCommand)(vectorize.vectorize)
app.command("models")(models.models)
app.command("download")(models.download)


def _version(asked: bool) -> None:
    if asked:
        print(f"segearth {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    untrusted: Annotated[  # noqa: ARG001 - `run` takes it from anywhere on the line
        bool,
        typer.Option(
            "--untrusted", help="For rasters of strangers, before or after the command: see docs/services.md."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


class _Terminated(BaseException):
    """SIGTERM, raised so that temporary files are removed on the way out."""


def main() -> NoReturn:
    """Run the command line and exit with its documented code."""
    sys.exit(run())


def run() -> int:
    """The exit code of the command line in `sys.argv`; errors become one line on stderr."""
    signal.signal(signal.SIGTERM, _terminate)
    logging.getLogger("rasterio").propagate = False  # what matters of GDAL's messages reaches the user as an error line
    try:
        code = app(_arguments(sys.argv[1:]), standalone_mode=False, prog_name="segearth")
        sys.stdout.flush()
        if code == 130:  # Typer's word for Ctrl-C
            return _fail("interrupted", 130)
        return code if isinstance(code, int) else 0
    except SegEarthError as e:
        return _fail(str(e), e.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except _Terminated:
        return _fail("terminated", 143)
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as e:  # Typer's answer to a broken pipe
        if isinstance(e.__context__, BrokenPipeError):
            return _reader_gone()
        raise
    except Exception as e:
        if not hasattr(e, "format_message"):  # a bug keeps its traceback
            raise
        context = getattr(e, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        return _fail(f"{e.format_message()}{hint}", getattr(e, "exit_code", 2))


def _arguments(given: list[str]) -> list[str]:
    """The command line without `--untrusted`, which holds for this process and all that it starts."""
    if "--untrusted" in given:
        os.environ[UNTRUSTED] = "1"
    return [argument for argument in given if argument != "--untrusted"]


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise _Terminated


def _reader_gone() -> int:
    """What remains to do when the reader of stdout has left, e.g. `| head`: keep Python from complaining at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def _fail(line: str, code: int) -> int:
    note(line)
    return code
