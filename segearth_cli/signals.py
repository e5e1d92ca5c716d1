"""Signals that end a command: each has its line and its exit code, from the first moment to the last."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDING = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    **({signal.SIGHUP: "hung up"} if hasattr(signal, "SIGHUP") else {}),
}


class Terminated(BaseException):
    """A signal other than Ctrl-C, raised so that temporary files are removed on the way out; its number."""


class _Held:
    """Signals of the main thread while it is at what must not be left half done."""

    def __init__(self) -> None:
        self.depth, self.came = 0, list[int]()


_held = _Held()


@contextmanager
def held() -> Iterator[None]:
    """Has a signal raise when this is through, for milliseconds of renames and removals; a second one does not wait.

    Of `raise_them`; other threads get none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _held.depth += 1
    try:
        yield
    finally:
        _held.depth -= 1
        if not _held.depth and _held.came:
            _raise(_held.came.pop(), None)


def end_at_once() -> None:
    """Has signals end the process with their line where it stands: nothing is begun yet, or all is done."""
    for number in _heard():
        signal.signal(number, _end)


def raise_them() -> None:
    """Has signals raise Terminated or KeyboardInterrupt, for what is begun to be cleared up."""
    for number in _heard():
        signal.signal(number, _raise)


def _heard() -> list[signal.Signals]:
    """Those that are not ignored, as by nohup."""
    return [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]


def _end(number: int, _frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, f"segearth: {ENDING[signal.Signals(number)]}\n".encode())
    os._exit(128 + number)


def _raise(number: int, _frame: FrameType | None) -> None:
    if _held.depth and not _held.came:
        _held.came.append(number)
    elif number == signal.SIGINT:
        raise KeyboardInterrupt
    else:
        raise Terminated(number)
