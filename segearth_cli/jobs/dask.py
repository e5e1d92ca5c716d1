"""Shards as tasks of a Dask cluster: one client a run, one model a worker, a folder that all of them reach.

A task is a function by name, with bytes that only a worker reads; its answer is JSON. So the scheduler needs neither
segearth nor torch.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from segearth_cli import errors
from segearth_cli.errors import RunError, SegEarthError, said
from segearth_cli.jobs.at_hand import compute_at_hand
from segearth_cli.jobs.compute import Job, Session
from segearth_cli.jobs.pool import Answer, Item
from segearth_cli.prediction import RunOptions
from segearth_cli.progress import Progress

RETRIES = 3  # of a shard whose worker is lost or raises what is no error of ours
CONNECT = 10.0  # seconds to reach the scheduler in
LOOK = 2.0  # seconds between looks at scheduler and workers; twice that is told
AHEAD = 2  # tasks for each thread of a worker, so that it need not wait for the next

# Sent by value: a scheduler unpickles it, and must not import segearth for it.
_BY_NAME = """
def segearth_shard(given):
    import importlib
    return importlib.import_module("segearth_cli.jobs.dask").compute_task(given)
"""


def compute_task(given: bytes) -> str:
    """Computes one shard on a worker; what became of it as JSON. given: job, shard, how to run, whether to wait."""
    import distributed

    job, shard, run, wait, folder = pickle.loads(given)
    if os.path.isdir(folder):  # noqa: PTH112 - relative names of models are those of the client
        os.chdir(folder)
    try:
        return json.dumps({"state": compute_at_hand(job, shard, run, wait=wait)})
    except SegEarthError as e:
        worker = cast(Any, distributed).get_worker().address
        return json.dumps({"error": type(e).__name__, "text": f"{e} (on worker {worker})"})


class Cluster:
    """The workers of a Dask scheduler."""

    unit = "shard"

    def __init__(self, connect: Callable[[float], Any], name: str, run: RunOptions, patience: float) -> None:
        self._connect, self._name, self._patience = connect, name, patience
        self._notice = run.notice
        self._run = run.silent()
        self._task = _task()
        self._flying: dict[Any, tuple[Item, Job]] = {}  # by future
        self._again: deque[tuple[Item, Job]] = deque()
        self._attempts: dict[Item, int] = {}
        self._woken = threading.Event()
        self._threads, self._gpus, self._looked = 0, False, 0.0
        self._since: float | None = None  # nobody computes
        self._told = False
        self._client = self._connect(CONNECT)
        self._look()

    def close(self) -> None:
        """Takes back what is under way, and leaves the cluster."""
        with suppress(Exception):
            self._client.cancel(list(self._flying), asynchronous=False)
        with suppress(Exception):
            self._client.close(timeout=CONNECT)

    def room(self) -> bool:
        """Whether the workers take one more shard now; one is given even when there are none."""
        return len(self._flying) + len(self._again) < max(1, AHEAD * self._threads)

    def submit(self, item: Item, work: Session, advance: Progress) -> None:  # noqa: ARG002 - told by shard
        """Makes a task of an item."""
        self._again.append((item, work.job))

    def answer(self) -> tuple[Item, Answer]:
        """What became of an item. Raises RunError when nobody computes for longer than was to be waited."""
        while True:
            if time.monotonic() - self._looked >= LOOK:
                self._look()
            while self._again and self._threads:
                self._send(*self._again.popleft())
            self._woken.clear()
            for future in [future for future in self._flying if future.status != "pending"]:
                found = self._settled(future)
                if found is not None:
                    return found
            if not self._again or not self._threads:
                self._woken.wait(LOOK / 2)

    def _send(self, item: Item, job: Job) -> None:
        number = self._attempts.get(item, 0)
        given = pickle.dumps((job, item.shard, self._run, item.wait, str(Path.cwd())))
        future = self._client.submit(
            self._task, given, key=f"segearth-{os.getpid()}-{item.scene}-{item.shard.name}-{item.wait}-{number}-"
            f"{time.monotonic_ns()}", pure=False, resources={"GPU": 1} if self._gpus else None, retries=0,
        )  # fmt: skip
        self._flying[future] = item, job
        future.add_done_callback(lambda _future: self._woken.set())

    def _settled(self, future: Any) -> tuple[Item, Answer] | None:
        """The answer of a task that has ended; None when its item goes to another worker."""
        item, job = self._flying.pop(future)
        if future.status == "finished":
            with suppress(Exception):  # its result lay on a worker that is gone
                return item, _answer(future.result(timeout=CONNECT))
        error = future.exception(timeout=CONNECT) if future.status == "error" else None
        if error is not None:
            self._attempts[item] = self._attempts.get(item, 0) + 1
            if self._attempts[item] > RETRIES:
                worker = getattr(getattr(error, "last_worker", None), "address", "")
                return item, RunError(f"{said(error)[:300]}{f' (on worker {worker})' if worker else ''}")
        self._again.append((item, job))
        return None

    def _look(self) -> None:
        """Looks whether scheduler and workers are there. Raises RunError when they were not for too long."""
        lost = self._ask()
        self._looked = time.monotonic()
        if not lost and self._threads:
            if self._told:
                self._notice(f"--scheduler {self._name}: {self._threads} threads of workers are there, going on")
            self._since, self._told = None, False
            return
        self._since = self._since or time.monotonic()
        waited = time.monotonic() - self._since
        what = lost or f"no worker{' offers the resource GPU' if self._gpus else ''}"
        if waited >= self._patience:
            raise RunError(
                f"--scheduler {self._name}: {what} for {waited:.0f} s; what is computed is kept, go on with --resume, "
                "or wait longer with --wait-workers SECONDS"
            )
        if not self._told:
            self._notice(f"--scheduler {self._name}: {what}; waiting up to {self._patience:.0f} s for it")
            self._told = True
        if lost:
            self._reconnect()

    def _ask(self) -> str:
        """Why the scheduler cannot be asked, "" where it can; counts the threads that tasks can run on."""
        if self._client.status != "running":
            return "the scheduler is lost"
        try:
            known = self._client.sync(self._client.scheduler.identity, n_workers=-1, callback_timeout=LOOK * 2)
        except Exception as e:
            return f"the scheduler does not answer ({type(e).__name__})"
        workers = list(known["workers"].values())
        gpus = [worker for worker in workers if worker.get("resources", {}).get("GPU")]
        self._gpus = self._gpus or bool(gpus)
        useful = gpus if self._gpus else workers
        self._threads = sum(int(worker["nthreads"]) for worker in useful)
        return ""

    def _reconnect(self) -> None:
        """Another client in place of one that lost its scheduler; the tasks of the old one are given out again."""
        self._threads = 0
        self._again.extend(self._flying.values())
        self._flying.clear()
        with suppress(Exception):
            self._client.close(timeout=LOOK)
        with suppress(RunError):
            self._client = self._connect(LOOK * 2)


def _task() -> Any:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(_BY_NAME, space)
    return space["segearth_shard"]


def _answer(text: str) -> Answer:
    found = json.loads(text)
    if "error" not in found:
        return cast(Answer, found["state"])
    kind = getattr(errors, found["error"], RunError)
    return cast(SegEarthError, kind(found["text"]))


@contextmanager
def cluster(scheduler: str | None, local_workers: int, run: RunOptions, patience: float) -> Iterator[Cluster]:
    """The workers of a scheduler; of a local cluster of processes when no address is given.

    A task asks for one `GPU` where a worker offers that resource. patience: seconds to wait for scheduler and workers.
    Raises RunError when the scheduler cannot be reached.
    """
    dask = _distributed()
    with ExitStack() as stack:
        security, address = _security(scheduler), scheduler
        if scheduler is None:
            local = stack.enter_context(local_cluster(local_workers))
            address, security = local.scheduler_address, local.security

        def connect(seconds: float) -> Any:
            try:
                return dask.Client(address, timeout=seconds, set_as_default=False, security=security)
            except (OSError, ValueError, RuntimeError) as e:
                raise RunError(f"--scheduler {address}: cannot be reached ({said(e)[:200]})") from None
            except TypeError:  # of Dask where its configuration has no keys
                raise RunError(
                    f"--scheduler {address}: no keys for tls:// in Dask's configuration; name them by "
                    "distributed.comm.tls.ca-file, .client.key and .client.cert"
                ) from None

        found = Cluster(connect, str(address), run, patience)
        stack.callback(found.close)
        yield found


def _security(scheduler: str | None) -> Any:
    """Keys for `tls://`, from Dask's own configuration (distributed.comm.tls, DASK_DISTRIBUTED__COMM__TLS__...)."""
    return _distributed().Security() if scheduler and scheduler.startswith("tls://") else None


@contextmanager
def local_cluster(workers: int) -> Iterator[Any]:
    """A cluster of processes on this machine, which nobody but its maker can give tasks to.

    It talks over TLS by a key made for it alone. Raises RunError where Dask, or what makes keys, is not installed.
    """
    dask = _distributed()
    try:
        cluster = dask.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR, security=True
        )
    except ImportError as e:
        raise RunError(f"--engine dask: {e}; pip install 'segearth[dask]'") from None
    with cluster:
        yield cluster


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise RunError("--engine dask: dask is not installed; pip install 'segearth[dask]'") from None
    logging.getLogger("distributed").setLevel(logging.ERROR)
    return cast(Any, distributed)  # untyped
