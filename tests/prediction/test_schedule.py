"""A schedule gives each batch back with its logits, in order, however windows are run and whatever memory there is."""

import threading
from concurrent.futures import Future

import numpy as np
import pytest
import torch

from segearth_cli.errors import SegEarthError
from segearth_cli.model import Overlap
from segearth_cli.prediction.schedule import Attempt, WindowBatch, Work, scheduled
from segearth_cli.raster import Chip, Window

CPU = torch.device("cpu")
SIDE = 4
NO_MEMORY = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")


def chip(value):
    return Chip(np.full((3, SIDE, SIDE), value, np.uint8), np.ones((SIDE, SIDE), bool))


def batches(sizes):
    """Batches of these sizes, a row of windows each; window n holds the value n."""
    made, number = [], 0
    for row, size in enumerate(sizes):
        values = range(number, number + size)
        number += size
        windows = [Window(row * SIDE, i * SIDE, SIDE, SIDE) for i in range(size)]
        made.append(WindowBatch(row * SIDE, windows, [chip(value) for value in values]))
    return made


def values(chips, valid=None, overlap=None):
    """A model whose logits are the values of the pixels."""
    return chips.float()


class Memory:
    """A model that holds at most `room` windows at once, in all threads together."""

    def __init__(self, room, meet=0):
        self._lock, self._held, self._room = threading.Lock(), 0, room
        self._barrier = threading.Barrier(meet, timeout=30) if meet else None  # so many come together at first

    def __call__(self, chips, *_):
        with self._lock:
            self._held += len(chips)
        try:
            if self._barrier is not None:
                self._barrier.wait()
                short = self._held > self._room
                self._barrier.wait()
                self._barrier = None
            else:
                short = self._held > self._room
            if short:
                raise NO_MEMORY
            return values(chips)
        finally:
            with self._lock:
                self._held -= len(chips)


def run(model, made, work):
    """The value of each window as the schedule gives it, batch by batch."""
    results = scheduled(model, iter(made), Overlap(SIDE, 0), work)
    return [(batch.row, [int(values[0, 0, 0]) for logits in found for values in logits]) for batch, found in results]


def expected(made):
    return [(batch.row, [int(chip.image[0, 0, 0]) for chip in batch.chips]) for batch in made]


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("room", [1, 2, 100])
def test_batches_come_in_order_whatever_fits_into_memory(batch, room):
    made = batches([batch, 0, batch, min(2, batch)])
    assert run(Memory(room), made, Work(CPU, batch)) == expected(made)


@pytest.mark.parametrize("beside", [1, 2, 5])
@pytest.mark.parametrize("room", [1, 2, 100])
def test_windows_side_by_side_come_in_order_whatever_fits_into_memory(beside, room):
    made = batches([1, 1, 0, 1, 1, 0, 0, 1, 1, 1])
    assert run(Memory(room), made, Work(CPU, beside=beside)) == expected(made)


def test_windows_are_in_work_together_and_fewer_when_memory_runs_out():
    lines = []
    made = batches([1] * 9)
    work = Work(CPU, beside=4, notice=lines.append)
    assert run(Memory(2, meet=4), made, work) == expected(made)
    assert lines[0] == "out of memory: going on with --batch-size 2"
    assert work.beside <= 2


def test_half_the_batch_is_taken_for_good_when_memory_runs_out():
    lines = []
    made = batches([8, 8])
    work = Work(CPU, 8, notice=lines.append)
    assert run(Memory(3), made, work) == expected(made)
    assert (work.batch, lines) == (2, [f"out of memory: going on with --batch-size {n}" for n in (4, 2)])


@pytest.mark.parametrize("work", [Work(CPU, 4), Work(CPU, beside=4)], ids=["batches", "side by side"])
def test_no_memory_for_one_window_names_the_option_that_helps(work):
    with pytest.raises(SegEarthError, match=f"out of memory with one window of {SIDE} px; use a smaller --window"):
        run(Memory(0), batches([1, 1, 1]), work)


@pytest.mark.parametrize("work", [Work(CPU, 4), Work(CPU, beside=2)], ids=["batches", "side by side"])
def test_what_the_model_raises_comes_out_and_no_thread_stays(work):
    def broken(chips, valid=None, overlap=None):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        run(broken, batches([1, 1, 1]), work)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("segearth-run")]


def test_an_attempt_says_how_it_stands():
    (batch,) = batches([1])
    assert Attempt(WindowBatch(), None).state == "nothing"
    future = Future()
    attempt = Attempt(batch, future)
    assert attempt.state == "running"
    future.set_exception(NO_MEMORY)
    assert (attempt.settled().state, attempt.error()) == ("short", NO_MEMORY)
    attempt.repeat(lambda _batch: torch.zeros(1))
    assert (attempt.state, len(attempt.logits())) == ("done", 1)
    failed = Future()
    failed.set_exception(ValueError("no"))
    assert Attempt(batch, failed).state == "failed"
