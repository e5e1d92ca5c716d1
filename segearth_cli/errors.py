"""Errors a user can mend. Each becomes one line on stderr and a documented exit code."""

import difflib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_NO_MEMORY = (
    "bad_alloc",
    "failed to map segment",
    "can't allocate memory",
    "Cannot allocate memory",
    "out of memory",
    "Unable to allocate",
)
_LIKE = 0.7  # of two names, as difflib counts; two letters of four exchanged are 0.75, cloud and flood 0.6
OUT_OF_MEMORY = "out of memory; predict takes less with --batch-size 1 or --work, vectorize with --block-rows"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of the known names that a mistyped one comes nearest to, whatever the case; None when none is near.

    >>> nearest("watre", ["road", "Water"]), nearest("lake", ["road", "Water"])
    ('Water', None)
    """
    by_fold = {one.casefold(): one for one in sorted(known)}
    found = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=_LIKE)
    return by_fold[found[0]] if found else None


def said(error: BaseException) -> str:
    """What an error says, as one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def traced() -> bool:
    """Whether the user wants to see where errors come from: by the environment variable SEGEARTH_TRACEBACK."""
    return os.environ.get("SEGEARTH_TRACEBACK", "") not in ("", "0")


def first_line(error: BaseException) -> str:
    """The first line of what an error says, for libraries that say much; its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


class SegEarthError(Exception):
    """Base of every expected failure; the message is the whole line shown to the user."""

    exit_code = 1


class UsageError(SegEarthError, ValueError):
    """An option or a combination of options that cannot be meant."""

    exit_code = 2


class ClassesError(UsageError):
    """A class list or class file that cannot be read."""


class GridError(UsageError):
    """Window, stride or scale that does not tile a scene."""


class RasterError(SegEarthError, OSError):
    """A raster that cannot be read as a scene or written as a mask."""


class SceneChangedError(RasterError):
    """A scene that changed while it was read."""


class CalibrationError(UsageError):
    """Labels that give no calibration, or a calibration that does not fit a run."""


class VectorError(SegEarthError, OSError):
    """A vector layer that cannot be written."""


class WeightsError(SegEarthError, RuntimeError):
    """A model or upsampler that is absent, damaged, or does not fit."""


class TrainingError(SegEarthError, RuntimeError):
    """Training that cannot start or must not go on."""


class RunError(SegEarthError, RuntimeError):
    """A sharded run that cannot be started, resumed or merged."""


class SomeFailedError(SegEarthError):
    """Some of several inputs could not be done; each was told on its own, the others are done."""

    exit_code = 3


def is_of_gdal(error: BaseException) -> bool:
    """Whether an error comes from GDAL's libraries; so does a name or a message that they pass on as they found it."""
    return isinstance(error, UnicodeDecodeError) or type(error).__module__.startswith(("rasterio", "fiona"))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the system refused memory, by what Python and the libraries say then."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _NO_MEMORY)


@contextmanager
def of_input(name: str) -> Iterator[None]:
    """Tells what nobody expected of GDAL, and refused memory, as errors of one input, which the next need not meet.

    All else passes as it is.
    """
    try:
        yield
    except SegEarthError:
        raise
    except Exception as e:
        if is_out_of_memory(e):
            raise RunError(f"{name}: {OUT_OF_MEMORY}") from e
        if is_of_gdal(e):
            raise RasterError(f"{name}: GDAL: {said(e)}") from e
        raise
