"""Shards as tasks of a Dask cluster: the same mask with any number of workers, also when one dies."""

import logging
import threading
from dataclasses import replace
from pathlib import Path

import noise
import pytest
from one_scene import only_one
from tiers import every

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

from segearth_cli.classes import parse  # noqa: E402
from segearth_cli.errors import RunError  # noqa: E402
from segearth_cli.jobs.compute import Job  # noqa: E402
from segearth_cli.jobs.dask import AHEAD, local_cluster  # noqa: E402
from segearth_cli.jobs.dask import cluster as workers_of  # noqa: E402
from segearth_cli.jobs.work_list import Entry, WorkList  # noqa: E402
from segearth_cli.prediction.plan import PredictOptions  # noqa: E402
from segearth_cli.prediction.scene_to_mask import Predictor, RunOptions, predict_scene  # noqa: E402
from segearth_cli.raster import Outputs  # noqa: E402
from segearth_cli.weights.assembly import ModelOptions, assemble  # noqa: E402

CLASSES = parse("water,building,road")
RUN = RunOptions(quiet=True)


@pytest.fixture(scope="module")
def made(model_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dask")
    scene = noise.save_scene(folder / "scene.tif", 1100, 1500, nodata=0, holes=[(0, 0, 512, 512)])
    options = ModelOptions(f"local-dir:{model_dir}", device="cpu", precision="fp32")
    return Job(str(scene), folder / "work", ("mask",), 512, options, PredictOptions(window=224, stride=200), CLASSES)


@pytest.fixture(scope="module")
def assembled(made):
    return assemble(made.model, CLASSES)


@pytest.fixture(scope="module")
def expected(made, assembled, tmp_path_factory):
    mask = tmp_path_factory.mktemp("expected") / "mask.tif"
    predict_scene(made.scene, Outputs(mask), predictor(assembled, made.options))
    return mask.read_bytes()


def predictor(assembled, options):
    return Predictor(lambda: assembled, CLASSES, options, RUN)


def in_folder(made, folder):
    return Job(made.scene, folder, made.kinds, made.shard_size, made.model, made.options, made.classes)


def computed(job, assembled, scheduler, mask):
    with workers_of(scheduler, 1, RUN, 60) as pool:
        only_one(Entry(job, Outputs(mask)), predictor(assembled, job.options), join=True, pool=pool)
    return mask.read_bytes()


def cluster(**options):
    return distributed.LocalCluster(
        threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL, **options
    )


@pytest.mark.parametrize("workers", every(2, [3, 1]))
def test_the_mask_does_not_depend_on_the_number_of_workers(tmp_path, made, assembled, expected, workers):
    with cluster(n_workers=workers, processes=False, resources={"GPU": 1}) as running:
        job = in_folder(made, tmp_path / "work")
        assert computed(job, assembled, running.scheduler_address, tmp_path / "mask.tif") == expected


UNDER_WAY = {"waiting", "no-worker", "queued", "processing"}


class Watch(distributed.SchedulerPlugin):
    """What a scheduler sees: its clients, and the most tasks that it had at once."""

    def __init__(self, scheduler):
        self.scheduler, self.clients, self.most = scheduler, set(), 0

    def add_client(self, scheduler, client):  # noqa: ARG002 - called by keyword
        self.clients.add(client)

    def transition(self, *_change, **_more):
        self.most = max(self.most, sum(task.state in UNDER_WAY for task in self.scheduler.tasks.values()))


@pytest.mark.slow
def test_scenes_share_one_client_and_few_tasks_are_under_way(tmp_path, made, assembled):
    entries = []
    for number, width in enumerate((2100, 600, 1100)):
        scene = noise.save_scene(tmp_path / f"s{number}.tif", 40, width, seed=number)
        job = replace(made, scene=str(scene), folder=tmp_path / f"work{number}")
        entries.append(Entry(job, Outputs(tmp_path / f"{number}.tif")))
    found = {}
    with cluster(n_workers=1, processes=False) as running:
        watch = Watch(running.scheduler)
        running.scheduler.add_plugin(watch)
        with workers_of(running.scheduler_address, 1, RUN, 60) as pool:
            WorkList(entries, predictor(assembled, made.options), found.__setitem__, pool).run()
    assert [Path(found[number].mask).name for number in range(3)] == ["0.tif", "1.tif", "2.tif"]
    assert len(watch.clients) == 1
    assert watch.most <= AHEAD
    for number, entry in enumerate(entries):
        alone = Outputs(tmp_path / f"alone{number}.tif")
        predict_scene(entry.job.scene, alone, predictor(assembled, made.options))
        assert alone.mask.read_bytes() == entry.outputs.mask.read_bytes()


def test_the_keys_of_a_scheduler_with_tls_are_those_of_dasks_configuration(made, tmp_path):
    keys = distributed.Security.temporary()
    with cluster(n_workers=0, processes=False, security=keys, protocol="tls://") as running:
        address = running.scheduler_address
        assert address.startswith("tls://")
        for name, text in (("ca", keys.tls_ca_file), ("key", keys.tls_client_key), ("cert", keys.tls_client_cert)):
            (tmp_path / name).write_text(text)
        tls = "distributed.comm.tls"
        own = {f"{tls}.{name}": str(tmp_path / end) for name, end in
               (("ca-file", "ca"), ("client.key", "key"), ("client.cert", "cert"))}  # fmt: skip
        with dask.config.set(own), workers_of(address, 1, RUN, 60) as pool:
            assert pool.room()
        with pytest.raises(RunError, match="no keys for tls://"), workers_of(address, 1, RUN, 60):
            pass


@pytest.mark.slow
def test_a_cluster_of_ones_own_computes_the_same_mask(tmp_path, made, assembled, expected):
    assert computed(in_folder(made, tmp_path / "work"), assembled, None, tmp_path / "mask.tif") == expected


@pytest.mark.slow
def test_a_cluster_of_ones_own_takes_tasks_from_nobody_else():
    with local_cluster(1) as running:
        place = running.scheduler_address
        assert place.startswith("tls://127.0.0.1:")
        for address, keys in ((place, distributed.Security.temporary()), (place.replace("tls://", "tcp://"), None)):
            with pytest.raises(OSError):  # noqa: PT011 - whatever TLS or its absence gives
                distributed.Client(address, timeout=3, set_as_default=False, security=keys)


@pytest.mark.thorough
def test_a_worker_that_is_killed_costs_nothing_but_its_shard(tmp_path, made, assembled, expected):
    job = in_folder(made, tmp_path / "work")
    with cluster(n_workers=1, processes=True) as running:
        nanny = next(iter(running.workers.values()))
        pid = nanny.pid

        def kill():
            import os
            import signal
            import time

            while not list((tmp_path / "work" / "shards").glob("*/*.json")):
                time.sleep(0.01)
            os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        assert computed(job, assembled, running.scheduler_address, tmp_path / "mask.tif") == expected
        killer.join()
        assert nanny.pid != pid


def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr("segearth_cli.jobs.dask.CONNECT", 0.5)
    with pytest.raises(RunError) as caught, workers_of("tcp://127.0.0.1:9", 1, RUN, 60):
        pass
    assert "--scheduler tcp://127.0.0.1:9: cannot be reached" in str(caught.value)
    assert "\n" not in str(caught.value)
