"""An iterator that runs in a thread of its own while its results are used."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from queue import Full, Queue
from typing import TypeVar

T = TypeVar("T")
_WAIT = 0.1  # seconds between two looks at whether anybody still wants the results


def ahead(items: Iterable[T], depth: int = 1) -> Generator[T, None, None]:
    """The same items; up to `depth` are made before they are asked for. Errors are raised in their place.

    >>> list(ahead(range(4)))
    [0, 1, 2, 3]
    """
    queue: Queue[tuple[T] | BaseException | None] = Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[T] | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                queue.put(entry, timeout=_WAIT)
            except Full:
                continue
            break

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                put((item,))
                if stopped.is_set():
                    break
            put(None)
        except BaseException as e:
            put(e)
        finally:
            if isinstance(iterator, Generator):
                iterator.close()  # in the thread whose files it has open

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (entry := queue.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            yield entry[0]
    finally:
        stopped.set()
        thread.join()
