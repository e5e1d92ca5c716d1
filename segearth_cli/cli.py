"""The command line: one Typer application, its errors and its exit codes.

Exit codes: 0 done; 1 failed (one line on stderr says what, where, and which option mends it); 2 bad usage; 3 some of
several inputs failed, the others are done; 70 a fault of segearth itself; 129 hung up; 130 interrupted (Ctrl-C); 141
the reader of stdout left; 143 terminated. Nothing is left half written in any case.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any, NoReturn

import typer

from segearth_cli.commands import (
    calibrate,
    completion,
    demo,
    evaluate,
    flags,
    info,
    inspect,
    merge,
    models,
    predict,
    preview,
    reproduce,
    train,
    vectorize,
)
from segearth_cli.console import note
from segearth_cli.errors import OUT_OF_MEMORY, SegEarthError, is_of_gdal, is_out_of_memory, said, traced
from segearth_cli.options import build, option
from segearth_cli.raster import UNTRUSTED, limit_memory
from segearth_cli.signals import ENDING, Terminated, end_at_once, raise_them
from segearth_cli.version import __version__

app = typer.Typer(
    name="segearth",
    cls=flags.SummaryGroup,
    help="Segment large georeferenced rasters into the classes you name, without training.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("calibrate", cls=flags.PanelCommand)(calibrate.calibrate)
app.command("demo", cls=flags.PanelCommand)(demo.demo)
app.command("evaluate", cls=flags.PanelCommand)(evaluate.evaluate)
app.command("info", cls=flags.PanelCommand)(info.info)
app.command("inspect", cls=flags.PanelCommand)(inspect.inspect)
app.command("merge", cls=flags.PanelCommand)(merge.merge)
app.command("predict", cls=flags.PanelCommand)(predict.predict)
app.command("reproduce", cls=flags.PanelCommand)(reproduce.reproduce)
app.command("preview", cls=flags.PanelCommand)(preview.preview)
app.command("train-upsampler", cls=flags.PanelCommand)(train.train_upsampler)
app.command("vectorize", cls=flags.PanelCommand)(vectorize.vectorize)
app.command("models", cls=flags.PanelCommand)(models.models)
app.command("download", cls=flags.PanelCommand)(models.download)


@dataclass(frozen=True, slots=True)
class RootOptions:
    """What may stand before the name of a command."""

    version: bool = option(False, help="Print the version and exit.")
    """Print the version and exit."""
    untrusted: bool = option(False, help="For rasters of strangers, before or after the command: see docs/services.md.")
    """Only rasters that a service may open; `run` takes it from anywhere on the line."""
    verbose: bool = option(False, "--verbose", "-v", help="Show where an error came from; also SEGEARTH_TRACEBACK=1.")
    """Tracebacks; `run` looks for it itself."""


@app.callback(invoke_without_command=True)
@flags.flags_of(RootOptions, config=False)
def _root(context: typer.Context, **given: Any) -> None:
    if build(RootOptions, given).version:
        print(f"segearth {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


COMPLETIONS = ("--install-completion", "--show-completion")
FAULT = 70  # of segearth itself
AGAIN = 0.1  # seconds until a signal that was ignored is sent again


def main() -> NoReturn:
    """Run the command line and exit with its documented code."""
    sys.unraisablehook, sys.excepthook = _raised_in_vain, _printed_in_vain
    os.environ.setdefault("CPL_LOG", os.devnull)  # where GDAL says what nobody asked for; else that is stderr
    try:
        code = run()
    except (Terminated, KeyboardInterrupt) as e:  # while another was being told
        code = _fail(*_told(e))
    end_at_once()
    gc.freeze()  # Python would go through all that is loaded once more, 0.3 s with torch, before it ends
    sys.exit(code)


def run() -> int:
    """The exit code of the command line in `sys.argv`; errors become one line on stderr."""
    _open_streams()
    raise_them()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of each home that it cannot write to
    logging.getLogger("rasterio").propagate = False  # what matters of GDAL's messages reaches the user as an error line
    try:
        completion.join_words_of_bash()
        arguments = _arguments(sys.argv[1:])
        command = typer.main.get_command(app) if isinstance(app, typer.Typer) else app  # a Typer sets an excepthook
        code = command(arguments, standalone_mode=False, prog_name="segearth")
        sys.stdout.flush()
        return _fail("interrupted", 130) if code == 130 else code if isinstance(code, int) else 0  # Typer's for Ctrl-C
    except BaseException as e:
        if _reader_is_gone(e):
            _forget_stdout()
            return 141
        if isinstance(e, SystemExit):
            raise
        if _verbose():
            traceback.print_exc()
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            return _fail(*_told(e))
        _forget_stdout()
        return _fail(*_told(e))


def _told(error: BaseException) -> tuple[str, int]:
    """The line that tells an error, and its exit code."""
    if isinstance(error, SegEarthError):
        return str(error), error.exit_code
    if isinstance(error, (typer.Abort, KeyboardInterrupt)):
        return "interrupted", 130
    if isinstance(error, Terminated):
        number = signal.Signals(error.args[0])
        return ENDING[number], 128 + number
    if hasattr(error, "format_message"):  # Typer's own, of arguments
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        return f"{error.format_message()}{hint}", getattr(error, "exit_code", 2)
    text = said(error)
    if is_out_of_memory(error):
        return OUT_OF_MEMORY, 1
    if "can't start new thread" in text:
        return "the system allows no more threads; set OMP_NUM_THREADS=1 or raise the limits (ulimit -u, -v)", 1
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename is None and error.errno == errno.ENOENT:  # of Python's tempfile
            return f"{text}; set TMPDIR to a folder that may be written", 1
        place = error.filename if error.filename is not None else "stdout or a temporary file (TMPDIR)"
        return f"{place}: {error.strerror}", 1
    if is_of_gdal(error):
        return f"GDAL: {text}", 1
    kind = type(error).__name__
    return (
        f"a fault of segearth itself ({kind}: {text[:300]}); SEGEARTH_TRACEBACK=1 tells more, please report it",
        FAULT,
    )


def _arguments(given: list[str]) -> list[str]:
    """The command line without `--untrusted`, which holds for this process and all that it starts.

    `--show-completion` and `--install-completion` stand alone, for the shell that runs us, or with a shell's name.
    """
    if "--untrusted" in given:
        os.environ[UNTRUSTED] = "1"
    if os.environ.get(UNTRUSTED):
        limit_memory()
    for flag, word in pairwise([*given, "-"]):
        name, equals, _ = flag.partition("=")
        if name in COMPLETIONS and (equals or not word.startswith("-")):
            os.environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"  # else Typer passes over a shell's name
    return [argument for argument in given if argument != "--untrusted"]


def _verbose() -> bool:
    return traced() or bool({"--verbose", "-v"} & set(sys.argv[1:]))


def _open_streams() -> None:
    """Gives closed standard streams a place, lest the next file opened becomes one of them.

    What is written to a closed stdout fails, as it should; nobody misses what a closed stderr would say. Python tells
    by None which were closed: a library that was imported may have opened a file of its own there since.
    """
    for name, mode in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, mode)  # takes the lowest number that is free
            setattr(sys, name, os.fdopen(handle, "r" if name == "stdin" else "w"))


def _raised_in_vain(ignored: sys.UnraisableHookArgs) -> None:
    """Sends a signal again whose exception fell where Python ignores it: in a finaliser or a callback of GDAL's.

    What GDAL's libraries raise there is told already: an error while a file is closed, once more when it is forgotten.
    """
    if isinstance(ignored.exc_value, (Terminated, KeyboardInterrupt)):
        number = ignored.exc_value.args[0] if isinstance(ignored.exc_value, Terminated) else signal.SIGINT
        threading.Timer(AGAIN, os.kill, (os.getpid(), number)).start()
    elif ignored.exc_value is None or not is_of_gdal(ignored.exc_value):
        sys.__unraisablehook__(ignored)


def _printed_in_vain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Keeps from stderr what rasterio's callbacks print of a message of GDAL's that is no UTF-8 text.

    Nothing else comes here: `run` tells every error.
    """
    if not is_of_gdal(error):
        sys.__excepthook__(kind, error, trace)


def _reader_is_gone(error: BaseException) -> bool:
    """Whether the reader of stdout has left, e.g. `| head`; Typer answers with an exit of its own."""
    return isinstance(error, BrokenPipeError) or (
        isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
    )


def _forget_stdout() -> None:
    """Keeps Python from complaining at exit of what it cannot write."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(line: str, code: int) -> int:
    note(line)
    return code
