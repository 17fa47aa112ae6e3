"""The wheel, built and installed apart from the source: the commands work in an empty folder."""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import mopd
from mopd.starters import kinds

ROOT = Path(__file__).parents[2]
OTHER = "import mopd, sys; from mopd import load_config; from mopd.problems import load_problems; "


def run(command, folder, **environment):
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the source archive and of the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    done = run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Where the wheel alone is installed; what it depends on stays where it is."""
    folder = tmp_path_factory.mktemp("installed")
    (wheel,) = built.glob("*.whl")
    options = ["--no-deps", "--no-index", "--quiet", "--target", str(folder)]
    done = run([sys.executable, "-m", "pip", "install", *options, str(wheel)], folder)
    assert done.returncode == 0, done.stderr
    return folder


def run_installed(installed, folder, *words):
    return run([str(installed / "bin" / "mopd"), *words], folder, PYTHONPATH=str(installed))


def test_the_installed_command_helps_and_prints_a_starter_whose_problems_load(installed, tmp_path):
    helped = run_installed(installed, tmp_path, "--help")
    assert helped.returncode == 0, helped.stderr
    assert "init" in helped.stdout
    printed = run_installed(installed, tmp_path, "init", "math")
    assert printed.returncode == 0, printed.stderr
    (tmp_path / "mine.toml").write_text(printed.stdout)
    code = OTHER + "print(mopd.__file__, len(load_problems(load_config('mine.toml').problems).train))"
    loaded = run([sys.executable, "-c", code], tmp_path, PYTHONPATH=str(installed))
    assert loaded.returncode == 0, loaded.stderr
    file, count = loaded.stdout.split()
    assert Path(file).is_relative_to(installed)
    assert int(count) == 52


def test_the_wheel_holds_every_file_of_the_package(installed):
    source = ROOT / "src" / "mopd"
    ours = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    ours = {name for name in ours if "__pycache__" not in name}
    assert {"py.typed", *(f"starters/{kind}.toml" for kind in kinds())} <= ours
    assert {name for name in ours if not (installed / "mopd" / name).is_file()} == set()


def test_the_source_archive_holds_what_the_tests_need_and_nothing_that_was_made(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"Makefile", "README.md", "CITATION.cff", "tests/conftest.py", "configs/demo.toml"} <= names
    assert [name for name in names if name.startswith((".cache", "runs", "models", "dist", ".venv"))] == []


def test_the_citation_names_this_version_and_the_paper():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (\S+)$", citation, flags=re.MULTILINE) == [mopd.__version__]
    assert "2605.12652" in citation


def test_the_extra_of_all_trackers_is_the_single_ones_together(installed):
    (metadata,) = installed.glob("mopd-*.dist-info/METADATA")
    needs = re.findall(r"^Requires-Dist: (\S+?)>=\S+; extra == '(\w+)'$", metadata.read_text(), flags=re.MULTILINE)
    single = {name for name, extra in needs if extra in ("tensorboard", "trackio", "wandb")}
    assert {name for name, extra in needs if extra == "trackers"} == single == {"tensorboard", "trackio", "wandb"}
