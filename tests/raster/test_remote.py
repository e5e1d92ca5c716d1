"""Keys of a cloud: whose they are, and that nobody looks for them where all files are of this machine."""

import os

import pytest
import rasterio
from rasterio.env import getenv
from rasterio.session import AWSSession

from segearth_cli.raster import environment

boto3 = pytest.importorskip("boto3")


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    """Keys in the environment, whose secret is the identifier in small letters; a function that sets others."""

    def given(identifier):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", identifier)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", identifier.lower())

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    given("FIRST")
    return given


def key_for(path):
    with environment(path):
        return getenv().get("AWS_ACCESS_KEY_ID")


def test_files_of_this_machine_ask_for_no_keys(segearth, model_dir, write_raster, noise, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked, scene = [], write_raster("scene.tif", noise(3, 80, 96))
    monkeypatch.setattr(boto3, "Session", lambda **_: asked.append(True))
    model = ("-m", f"local-dir:{model_dir}", "--upsampler", "none", "-d", "cpu")
    assert segearth("predict", scene, *model, "-c", "water,roof", "-o", "mask.tif").code == 0
    assert segearth("predict", scene, *model, "-c", "water,roof", "-o", "cut.tif", "--work", "run").code == 0
    assert segearth("vectorize", "mask.tif", "-o", "mask.gpkg").code == 0
    assert segearth("evaluate", "mask.tif", "cut.tif").code == 0
    assert asked == []


def test_what_is_read_from_a_bucket_is_asked_for_with_the_keys_of_now(keys):
    assert (key_for("x.tif"), key_for("s3://bucket/x.tif")) == (None, "FIRST")
    keys("SECOND")
    assert key_for("s3://bucket/x.tif") == "SECOND"


def test_keys_are_looked_for_once(monkeypatch):
    asked, session = [], boto3.Session
    monkeypatch.setattr(boto3, "Session", lambda **how: (asked.append(True), session(**how))[1])
    monkeypatch.setenv("AWS_REGION", "eu-north-1")  # unlike the other tests
    assert [key_for("s3://bucket/x.tif") for _ in range(3)] == ["FIRST"] * 3
    assert len(asked) == 1


def test_keys_of_a_callers_own_environment_stay_in_force():
    own = AWSSession(aws_access_key_id="OWN", aws_secret_access_key="own")
    with rasterio.Env(own):
        assert key_for("s3://bucket/x.tif") == "OWN"
