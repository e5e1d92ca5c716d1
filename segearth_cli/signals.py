"""Signals that end a command: each has its line and its exit code, from the first moment to the last."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType

ENDING = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    **({signal.SIGHUP: "hung up"} if hasattr(signal, "SIGHUP") else {}),
}


class Terminated(BaseException):
    """A signal other than Ctrl-C, raised so that temporary files are removed on the way out; its number."""


def end_at_once() -> None:
    """Has signals end the process with their line where it stands: nothing is begun yet, or all is done."""
    for number in _heard():
        signal.signal(number, _end)


def raise_them() -> None:
    """Has signals raise Terminated or KeyboardInterrupt, for what is begun to be cleared up."""
    for number in _heard():
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _raise)


def _heard() -> list[signal.Signals]:
    """Those that are not ignored, as by nohup."""
    return [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]


def _end(number: int, _frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, f"segearth: {ENDING[signal.Signals(number)]}\n".encode())
    os._exit(128 + number)


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Terminated(number)
