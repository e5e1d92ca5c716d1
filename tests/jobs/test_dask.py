"""Shards as tasks of a Dask cluster: the same mask with any number of workers, also when one dies."""

import logging
import threading

import noise
import pytest

distributed = pytest.importorskip("distributed")

from segearth_cli.classes import parse  # noqa: E402
from segearth_cli.errors import RunError  # noqa: E402
from segearth_cli.jobs.compute import Job  # noqa: E402
from segearth_cli.jobs.dask import cluster as workers_of  # noqa: E402
from segearth_cli.jobs.dask import local_cluster  # noqa: E402
from segearth_cli.jobs.work_list import Entry, only_one  # noqa: E402
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
    return Job(str(scene), folder / "work", ("mask",), 512, options, PredictOptions(), CLASSES)


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


@pytest.mark.parametrize("workers", [1, 3])
def test_the_mask_does_not_depend_on_the_number_of_workers(tmp_path, made, assembled, expected, workers):
    with cluster(n_workers=workers, processes=False, resources={"GPU": 1}) as running:
        job = in_folder(made, tmp_path / "work")
        assert computed(job, assembled, running.scheduler_address, tmp_path / "mask.tif") == expected


@pytest.mark.slow
@pytest.mark.slow
def test_a_cluster_of_ones_own_computes_the_same_mask(tmp_path, made, assembled, expected):
    assert computed(in_folder(made, tmp_path / "work"), assembled, None, tmp_path / "mask.tif") == expected


def test_a_cluster_of_ones_own_takes_tasks_from_nobody_else():
    with local_cluster(1) as running:
        place = running.scheduler_address
        assert place.startswith("tls://127.0.0.1:")
        for address, keys in ((place, distributed.Security.temporary()), (place.replace("tls://", "tcp://"), None)):
            with pytest.raises(OSError):  # noqa: PT011 - whatever TLS or its absence gives
                distributed.Client(address, timeout=3, set_as_default=False, security=keys)


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
