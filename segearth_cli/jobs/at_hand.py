"""Shards computed by a process that is given one after another: scene and model stay at hand for the next."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from segearth_cli.jobs.compute import Job, Session, predictor_of, session
from segearth_cli.jobs.run_folder import Shard, State
from segearth_cli.prediction import RunOptions

AT_HAND = 4  # scenes that stay open

_one_at_a_time = threading.Lock()  # a process with many threads still has one model
_sessions: dict[Job, tuple[Session, ExitStack]] = {}


def compute_at_hand(job: Job, shard: Shard, run: RunOptions, *, wait: bool) -> State | None:
    """Computes one shard; its state, None when another process is at it and `wait` is off.

    Raises SegEarthError when it cannot be computed.
    """
    with _one_at_a_time:
        if job not in _sessions:
            while len(_sessions) >= AT_HAND:
                _sessions.pop(next(iter(_sessions)))[1].close()
            with ExitStack() as stack:
                opened = stack.enter_context(session(job, predictor_of(job, run), join=True))
                _sessions[job] = opened, stack.pop_all()
        try:
            return _sessions[job][0].compute(shard, lambda _windows: None, wait=wait)
        except BaseException:  # the scene may have changed: the next one opens it anew
            _sessions.pop(job)[1].close()
            raise
