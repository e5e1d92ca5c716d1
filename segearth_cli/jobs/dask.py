"""The shards of a scene as tasks of a Dask cluster: one model a worker, a folder that all of them reach."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

from segearth_cli.console import Progress, progress
from segearth_cli.errors import RunError, SceneChangedError
from segearth_cli.jobs.compute import Failures, Job, Session, Share, outstanding, predictor_of, session
from segearth_cli.jobs.run_folder import Shard
from segearth_cli.prediction import RunOptions

RETRIES = 3  # of a shard whose worker is lost or raises
CONNECT = 30.0  # seconds to reach the scheduler in

_one_at_a_time = threading.Lock()  # a worker with many threads still has one model
_sessions: dict[Job, tuple[Session, ExitStack]] = {}


def compute_with_dask(work: Session, share: Share, scheduler: str | None, local_workers: int = 1) -> list[Shard]:
    """Computes a share of shards as tasks of a scheduler; of a local cluster of processes when no address is given.

    A task asks for one `GPU` where workers offer that resource. Returns the shards of the share. Raises RunError when
    the scheduler cannot be reached or shards failed for good.
    """
    shards = share.of(work.ledger.shards)
    left = outstanding(work, shards)
    failures = Failures(work.job.folder, len(shards))
    with (
        _client(scheduler, local_workers) as client,
        progress(work.prepared.scene.stem, len(left), unit="shard", quiet=work.run.quiet) as advance,
    ):
        _compute(client, work, left, failures, advance)
    failures.report()
    return shards


def _compute(client: Any, work: Session, shards: Sequence[Shard], failures: Failures, advance: Progress) -> None:
    import distributed

    resources = {"GPU": 1} if _offers_gpus(client) else None
    run = RunOptions(batch=work.run.batch, threads=work.run.threads, quiet=True)
    attempts = dict.fromkeys(shards, 1)

    def submit(shard: Shard) -> Any:
        return client.submit(
            compute_shard, work.job, shard, run, key=f"segearth-{work.ledger.hash[:12]}-{shard.name}-{attempts[shard]}",
            pure=False, resources=resources, retries=0,
        )  # fmt: skip

    futures = {submit(shard): shard for shard in shards}
    pool: Any = cast(Any, distributed).as_completed(list(futures), loop=client.loop)
    try:
        for future in pool:
            shard = futures.pop(future)
            error = future.exception() if future.status == "error" else None
            if future.status == "finished" and error is None:
                advance(1)
                failures.passed()
            elif attempts[shard] <= RETRIES and not isinstance(error, SceneChangedError):
                attempts[shard] += 1
                again = submit(shard)
                futures[again] = shard
                pool.add(again)
            else:
                failures.add(shard, error)
    finally:
        client.cancel(list(futures))


def compute_shard(job: Job, shard: Shard, run: RunOptions) -> str:
    """Computes one shard on a worker, waiting for whoever is at it; its state.

    The scene and the model stay at hand for the next one of the same job.
    """
    with _one_at_a_time:
        if job not in _sessions:
            while _sessions:
                _sessions.popitem()[1][1].close()
            with ExitStack() as stack:
                opened = stack.enter_context(session(job, predictor_of(job, run), join=True))
                _sessions[job] = opened, stack.pop_all()
        return str(_sessions[job][0].compute(shard, lambda _windows: None, wait=True))


@contextmanager
def _client(scheduler: str | None, local_workers: int) -> Iterator[Any]:
    dask = _distributed()
    with ExitStack() as stack:
        security = None
        if scheduler is None:
            cluster = stack.enter_context(local_cluster(local_workers))
            scheduler, security = cluster.scheduler_address, cluster.security
        try:
            client = dask.Client(scheduler, timeout=CONNECT, set_as_default=False, security=security)
        except (OSError, ValueError) as e:
            raise RunError(f"--scheduler {scheduler}: cannot be reached ({' '.join(str(e).split())[:200]})") from None
        yield stack.enter_context(client)


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


def _offers_gpus(client: Any) -> bool:
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return any(worker.get("resources", {}).get("GPU") for worker in workers)
