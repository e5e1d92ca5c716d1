"""The shards of a scene on several devices of one machine: a process for each, sharing a folder."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import NoReturn

from segearth_cli.console import note, progress
from segearth_cli.errors import RunError, SegEarthError
from segearth_cli.jobs.compute import Job, Session, Share, compute_part, predictor_of
from segearth_cli.jobs.run_folder import COMPLETE, Shard
from segearth_cli.prediction import RunOptions

POLL = 0.5  # seconds between looks at the folder
GRACE = 30.0  # seconds that a process has to end in after it was asked to


def compute_on(work: Session, share: Share, devices: Sequence[str]) -> list[Shard]:
    """Computes a share of shards with one process a device; each takes what no other is at.

    Returns the shards of the share. Raises RunError when a process fails; the others end their work first.
    """
    shards = share.of(work.ledger.shards)
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(
            target=_main, args=(_on(work.job, device), share, _silent(work.run), devices.count(device)), name=device
        )
        for device in devices
    ]
    try:
        for process in processes:
            process.start()
        _follow(work, shards, processes)
    except BaseException:
        for process in processes:
            if process.pid is not None:
                process.terminate()
                process.join(GRACE)
                process.kill()
        raise
    if broken := [f"{process.name} (exit code {process.exitcode})" for process in processes if process.exitcode]:
        raise RunError(f"{work.job.folder}: ended early: {', '.join(broken)}; go on with --resume")
    return shards


def _follow(work: Session, shards: list[Shard], processes: Sequence[BaseProcess]) -> None:
    """Shows progress until all processes have ended."""
    left = {shard for shard in shards if work.ledger.told(shard).state not in COMPLETE}
    with progress(work.prepared.scene.stem, len(left), unit="shard", quiet=work.run.quiet) as advance:
        while True:
            alive = any(process.is_alive() for process in processes)
            done = {shard for shard in left if work.ledger.told(shard).state in COMPLETE}
            left -= done
            if done:
                advance(len(done))
            if not alive:
                return
            time.sleep(POLL)


def _on(job: Job, device: str) -> Job:
    return replace(job, model=replace(job.model, device=device))


def _silent(run: RunOptions) -> RunOptions:
    return RunOptions(batch=run.batch, threads=run.threads, quiet=True)


def _main(job: Job, share: Share, run: RunOptions, beside: int) -> NoReturn:
    """A process of one device, one of `beside` that are at it; its exit code is that of the command line."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // beside))
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _terminate)
    _end_with_parent()
    try:
        compute_part(job, predictor_of(job, run), share)
    except SegEarthError as e:
        note(f"{job.model.device}: {e}")
        sys.exit(e.exit_code)
    sys.exit(0)


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
