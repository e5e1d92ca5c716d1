"""Faults of the system, injected by number: the n-th change of a file below a folder fails, or the process dies there.

All of the package writes through `files`, which calls `os` by name, and opens files by `open` or `Path.open`. A change
is one of those calls, one `write` of such a file or its `close`, or a lock. A death is played by refusing every later
call too, so that nothing can be cleared up.
"""

import builtins
import errno
import fcntl
import inspect
import io
import os

from sources import PACKAGE

CALLS = ("replace", "link", "unlink", "fsync", "mkdir")
DEAD = 4194303  # a process number that no process has


class Died(BaseException):
    """The process is gone."""


class Faults:
    """Counts the changes of files below a folder; the n-th fails, is the last of the process, or a signal comes."""

    def __init__(self, patch, folder, number=None, *, dies=False, signal=0):
        self.folder, self.number, self.dies, self.count, self.what = str(folder), number, dies, 0, ""
        self.signal = signal
        self.ways = {}  # what is done to which kind of file, by which lines of the package -> the numbers of those
        self.real = {name: getattr(os, name) for name in CALLS}
        for name in CALLS:
            patch.setattr(os, name, self.counted(name))
        opened = io.open

        def counted_open(file, mode="r", *args, **options):
            if not (set(mode) & set("wax+") and self.inside(file)):
                return opened(file, mode, *args, **options)
            self.step(f"open {mode}", file)
            return Written(opened(file, mode, *args, **options), self)

        patch.setattr(io, "open", counted_open)
        patch.setattr(builtins, "open", counted_open)
        locked = fcntl.flock

        def counted_flock(handle, operation):
            if self.inside(handle):
                self.step("flock", handle, errno.ENOLCK)
            return locked(handle, operation)

        patch.setattr(fcntl, "flock", counted_flock)
        if dies:
            patch.setattr(os, "getpid", lambda: DEAD)

    def inside(self, place):
        return os.path.abspath(path_of(place)).startswith(self.folder)  # noqa: PTH100 - links stay

    def counted(self, name):
        def call(*arguments, **options):
            if not self.inside(arguments[0]):
                return self.real[name](*arguments, **options)
            if not self.signal:
                self.step(name, arguments[0])
            done = self.real[name](*arguments, **options)
            if self.signal:
                self.step(name, arguments[0])
            return done

        return call

    def telling(self, tried, at):
        """The number of the first (at 0) or last (at -1) change of every way that is not in `tried`, where they go."""
        new = self.ways.keys() - tried
        tried |= new
        return sorted(self.ways[way][at] for way in new)

    def due(self, what, place):
        """Whether the call that comes now fails; counts it."""
        self.count += 1
        if self.number is None:
            way = (what, os.path.splitext(path_of(place))[1], *lines_of_the_package())  # noqa: PTH122
            self.ways.setdefault(way, []).append(self.count)
        return self.count == self.number or (self.dies and self.number is not None and self.count > self.number)

    def step(self, what, place, code=errno.ENOSPC):
        if self.due(what, place):
            self.fail(what, code)

    def fail(self, what, code=errno.ENOSPC):
        self.what = self.what or what
        if self.signal:
            os.kill(os.getpid(), self.signal)
            return
        if self.dies:
            raise Died
        raise OSError(code, os.strerror(code))


def path_of(place):
    """The path of a file that is named or open."""
    return str(place) if not isinstance(place, int) else os.readlink(f"/proc/self/fd/{place}")  # noqa: PTH115


def lines_of_the_package():
    """The lines of the package that are being run, the innermost first."""
    frame = inspect.currentframe()
    while frame := frame.f_back:
        if frame.f_code.co_filename.startswith(str(PACKAGE)):
            yield frame.f_code, frame.f_lineno


class Written:
    """A file that is written to; of a `write` that fails half arrives."""

    def __init__(self, file, faults):
        self.file, self.faults = file, faults

    def write(self, data):
        if self.faults.due("write", self.file.name):
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            self.faults.fail("write")
            data = data[len(data) // 2 :]
        return self.file.write(data)

    def truncate(self, size):
        if self.faults.dies and self.faults.due("truncate", self.file.name):  # the dead clear nothing up
            self.faults.fail("truncate")
        return self.file.truncate(size)

    def close(self):
        if not self.file.closed:
            self.file.close()
            self.faults.step("close", self.file.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __iter__(self):
        return iter(self.file)

    def __getattr__(self, name):
        return getattr(self.file, name)
