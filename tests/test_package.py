"""What is installed is whole: the wheel runs its demo, the sdist brings its tests and what its README links to."""

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\((?!https?://)([^)#\s]+)")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder that holds a wheel, which was built from the sdist beside it."""
    out = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def sdist(built, tmp_path_factory):
    """The sdist, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.iterdir())


def test_all_of_the_package_is_in_the_wheel(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        there = {name: wheel.getinfo(name).file_size for name in wheel.namelist()}
    package = [path for path in (ROOT / "segearth_cli").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {str(p.relative_to(ROOT)): p.stat().st_size for p in package}.items() <= there.items()


def test_the_demo_runs_from_an_installed_wheel_in_an_empty_folder(built, wide_model_dir, tmp_path):
    """The libraries are those of this environment; the package itself is the wheel's alone."""
    venv.create(tmp_path / "venv", with_pip=False, system_site_packages=False)
    python = tmp_path / "venv" / "bin" / "python"
    words = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    subprocess.run([*words, next(built.glob("*.whl"))], check=True, capture_output=True)
    site = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    (site / "others.pth").write_text(os.pathsep.join([next(p for p in sys.path if p.endswith("site-packages"))]))
    here = tmp_path / "here"
    here.mkdir()
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    run = {"cwd": here, "env": environment, "capture_output": True, "text": True, "check": False}
    told = subprocess.run([python, "-c", "import segearth_cli; print(segearth_cli.__file__)"], **run)
    assert told.stdout.strip() == str(site / "segearth_cli" / "__init__.py")
    run["env"] |= {"SEGEARTH_MODEL": f"local-dir:{wide_model_dir}"}  # the embedded one takes half a minute
    done = subprocess.run([tmp_path / "venv" / "bin" / "segearth", "demo", "-q"], **run)
    assert (done.returncode, done.stderr) == (0, "")
    made = done.stdout.split()
    assert {Path(name).suffix for name in made} == {".tif", ".gpkg", ".png", ".html"}
    assert all((here / name).stat().st_size for name in made)


def test_what_the_readme_links_to_is_in_the_sdist(sdist):
    links = LINK.findall((sdist / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 20
    assert [link for link in links if not (sdist / link).exists()] == []


@pytest.mark.thorough
def test_some_tests_run_from_the_sdist(sdist):
    tests = ("tests/test_layers.py", "tests/commands/test_inspect.py")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(sdist), "SEGEARTH_SHARED": str(sdist / "nowhere")}
    done = subprocess.run(words, cwd=sdist, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout


def test_nothing_that_is_tracked_is_missing_from_the_sdist(sdist):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no checkout of git")
    assert [name for name in listed.stdout.splitlines() if not (sdist / name).exists()] == []
