"""The documentation says what the code does: links lead somewhere, commands parse, the Python example runs."""

import re
import shlex
from pathlib import Path

import pytest

from mopd.cli import _parse
from tests.conftest import TINY

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_named_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), flags=re.MULTILINE))
    assert named <= targets


def blocks(language):
    readme = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)


def test_every_command_of_the_readme_parses():
    commands = [line for block in blocks("") for line in block.splitlines() if line.startswith("mopd ")]
    assert len(commands) >= 5
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        options = _parse(words)
        assert callable(options.command)
        if getattr(options, "config", None):
            assert (ROOT / options.config).exists()


def test_the_python_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    example = next(block for block in blocks("python") if "import load_config" in block)
    assert len(example.strip().splitlines()) <= 5
    monkeypatch.chdir(tmp_path)
    exec(example.replace("configs/demo.toml", str(TINY)), {})
    before, after = map(float, capsys.readouterr().out.split())
    assert 0 <= before <= 1
    assert 0 <= after <= 1
    assert (tmp_path / "runs" / "python" / "summary.json").exists()
