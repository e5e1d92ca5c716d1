"""Shards computed on several devices of one machine: a process for each, given one shard after another by pipes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, NoReturn

from segearth_cli.console import note
from segearth_cli.errors import RunError, SegEarthError
from segearth_cli.jobs.at_hand import compute_at_hand
from segearth_cli.jobs.compute import Job, Session
from segearth_cli.jobs.pool import Answer, Item
from segearth_cli.model import pick_device
from segearth_cli.prediction import RunOptions
from segearth_cli.progress import Progress

POLL = 0.5  # seconds between looks at the parent
GRACE = 30.0  # seconds that a process has to end in after it was asked to
AHEAD = 2  # shards that a process has, so that it need not wait for the next


@dataclass
class _Worker:
    device: str
    process: BaseProcess
    pipe: Connection
    items: dict[Item, Job]


class Devices:
    """A process a device. One that ends early leaves its shards to the others."""

    unit = "shard"

    def __init__(self, workers: list[_Worker]) -> None:
        self._workers = workers
        self._again: deque[tuple[Item, Job]] = deque()  # of processes that ended
        self._broken: list[str] = []

    def room(self) -> bool:
        """Whether a process takes one more shard now."""
        return not self._again and any(len(worker.items) < AHEAD for worker in self._workers)

    def submit(self, item: Item, work: Session, advance: Progress) -> None:  # noqa: ARG002 - told by shard
        """Gives an item to the process that has the least to do."""
        self._give(item, work.job)

    def _give(self, item: Item, job: Job) -> None:
        worker = min(self._workers, key=lambda worker: len(worker.items))
        worker.items[item] = job
        with suppress(OSError):  # it ended: seen when its answers are waited for
            worker.pipe.send((item, replace(job, model=replace(job.model, device=worker.device))))

    def answer(self) -> tuple[Item, Answer]:
        """What became of an item. Raises RunError when all processes have ended."""
        while True:
            if not self._workers:
                raise RunError(f"ended early: {', '.join(self._broken)}; go on with --resume")
            while self._again:
                self._give(*self._again.popleft())
            for pipe in wait([worker.pipe for worker in self._workers]):
                worker = next(worker for worker in self._workers if worker.pipe is pipe)
                try:
                    item, answer = worker.pipe.recv()
                except (EOFError, OSError):
                    self._lost(worker)
                    continue
                del worker.items[item]
                return item, answer

    def _lost(self, worker: _Worker) -> None:
        worker.process.join(GRACE)
        self._workers.remove(worker)
        self._broken.append(f"{worker.device} (exit code {worker.process.exitcode})")
        self._again.extend(worker.items.items())
        if self._workers:
            note(f"--devices: the process on {self._broken[-1]} ended early; the others go on with its shards")


@contextmanager
def devices(names: Sequence[str], run: RunOptions) -> Iterator[Devices]:
    """A process for each device, ended in the end. Raises as `pick_device` before any is started."""
    for name in names:
        pick_device(name)
    context = multiprocessing.get_context("spawn")
    workers, ends = [], []
    for name in names:
        here, there = context.Pipe()
        ends.append(there)
        arguments = (there, run.silent(), names.count(name))
        workers.append(_Worker(name, context.Process(target=_main, args=arguments, name=name), here, {}))
    started = list(workers)
    try:
        for worker in workers:
            worker.process.start()
        for end in ends:
            end.close()  # the process has its own, whose end is seen when it goes
        yield Devices(workers)
        for worker in workers:
            with suppress(OSError):
                worker.pipe.send(None)
        for worker in started:
            worker.process.join(GRACE)
    finally:
        for worker in started:
            if worker.process.pid is not None:
                worker.process.terminate()
                worker.process.join(GRACE)
                worker.process.kill()


def _main(pipe: Connection, run: RunOptions, beside: int) -> NoReturn:
    """A process of one device, one of `beside` that are at it."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // beside))
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _terminate)
    _end_with_parent()
    while (given := _received(pipe)) is not None:
        item, job = given
        answer: Answer
        try:
            answer = compute_at_hand(job, item.shard, run, wait=item.wait)
        except SegEarthError as e:
            answer = type(e)(f"{e} (on {job.model.device})")
        pipe.send((item, answer))
    sys.exit(0)


def _received(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        return None


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(143)


def _end_with_parent() -> None:
    """Ends this process when its parent is killed."""
    import threading

    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
