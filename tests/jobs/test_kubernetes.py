"""The manifests of docs/kubernetes: valid by the schemas of Kubernetes and Argo, and what they start makes the mask."""

from pathlib import Path

import noise
import pytest

MANIFESTS = Path(__file__).parents[2] / "docs" / "kubernetes"
JOB, WORKFLOW = MANIFESTS / "predict.yaml", MANIFESTS / "argo.yaml"


def read(path):
    return pytest.importorskip("yaml").safe_load(path.read_text())


def told(value):
    """A document without what is empty in it."""
    if isinstance(value, dict):
        return {key: told(one) for key, one in value.items() if one is not None}
    return [told(one) for one in value] if isinstance(value, list) else value


def test_the_job_is_one_of_kubernetes():
    schemas = pytest.importorskip("kubernetes_validate")
    schemas.validate(read(JOB), schemas.latest_version(), strict=True)
    with pytest.raises(schemas.ValidationError):
        schemas.validate(read(JOB) | {"specs": {}}, schemas.latest_version(), strict=True)


def test_the_workflow_is_one_of_argo():
    models = pytest.importorskip("hera.workflows.models")
    document = read(WORKFLOW)
    kept = models.Workflow.model_validate(document).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert told(kept) == told(document)  # a key that Argo does not know would be left out


@pytest.fixture
def run(segearth, model_dir, tmp_path, monkeypatch):
    """Runs a container's words, its /data a folder here, with the tiny model."""
    noise.save_scene(tmp_path / "scene.tif", 1100, 1500)
    monkeypatch.setenv("SEGEARTH_MODEL", f"local-dir:{model_dir}")

    def start(container, **inputs):
        words = [word.replace("/data/", f"{tmp_path}/") for word in (*container["command"], *container.get("args", []))]
        for name, value in inputs.items():
            words = [word.replace(f"{{{{inputs.parameters.{name}}}}}", value) for word in words]
        done = segearth(*words[1:])
        assert done.code == 0, done.err

    return start


@pytest.fixture
def whole(run, tmp_path):
    run({"command": ["", "predict", "/data/scene.tif", "-c", "water|river,building,road", "-o", "/data/whole.tif"]})
    return (tmp_path / "whole.tif").read_bytes()


@pytest.mark.thorough
def test_the_pods_of_the_job_compute_all_shards(run, whole, tmp_path, monkeypatch):
    spec = read(JOB)["spec"]
    container = spec["template"]["spec"]["containers"][0]
    for index in range(spec["completions"]):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        run(container)
    run({"command": ["", "merge", "/data/run", "-o", "/data/mask.tif"]})
    assert (tmp_path / "mask.tif").read_bytes() == whole


@pytest.mark.thorough
def test_the_steps_of_the_workflow_make_mask_and_polygons(run, whole, tmp_path):
    templates = {one["name"]: one for one in read(WORKFLOW)["spec"]["templates"]}
    tasks = {task["name"]: task for task in templates["all"]["dag"]["tasks"]}
    for index in range(int(tasks["predict"]["withSequence"]["count"])):
        run(templates["predict"]["container"], index=str(index))
    run(templates["merge"]["container"])
    run(templates["vectorize"]["container"])
    assert (tmp_path / "mask.tif").read_bytes() == whole
    assert (tmp_path / "mask.gpkg").exists()
