"""Work that goes on in a thread behind the one that gives it, which need not wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from segearth_cli.clock import stage

T = TypeVar("T")
ROOM = 2  # values that may wait


@contextmanager
def behind(
    act: Callable[[T], None], around: Callable[[], AbstractContextManager[object]], name: str
) -> Iterator[Callable[[T], None]]:
    """A function that gives values to a thread, where `act` takes one after the other, all of them by the block's end.

    around: what the thread does it in, e.g. settings that belong to threads. What `act` raises comes out of a later
    call, or at the end; when the block fails, what still waits is left.
    """
    pending: deque[Future[None]] = deque()

    def taken(value: T) -> None:
        with around():
            act(value)

    def give(value: T) -> None:
        while len(pending) > ROOM or (pending and pending[0].done()):
            with stage("wait"):
                pending.popleft().result()
        pending.append(pool.submit(taken, value))

    pool = ThreadPoolExecutor(1, name)
    try:
        yield give
        for future in pending:
            with stage("wait"):
                future.result()
    finally:
        pool.shutdown(cancel_futures=True)
