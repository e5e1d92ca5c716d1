"""Faces of packages that torch stands behind: a name is imported when somebody asks for it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def lazy_face(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`: homes names, for each of its modules, what outsiders may ask for, by blanks."""
    home = {name: module for module, names in homes.items() for name in names.split()}

    def attribute(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with loading():
            return getattr(import_module(f"{package}.{home[name]}"), name)

    return attribute


@contextmanager
def loading() -> Iterator[None]:
    """Has no garbage looked for: modules make none, and all their objects would be gone through time and again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
