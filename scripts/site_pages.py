"""Hooks of the documentation site: pages that are not in docs/, and links that lead out of it.

README, CONTRIBUTING and CHANGELOG lie at the root, where a repository has them; the reference is made from docstrings.
What links to source files leads to the repository (`[project.urls]` in pyproject.toml).
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
SOURCE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]

AT_THE_ROOT = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files of the repository's root by the pages that they become."""

REFERENCE = {
    "Runs": ["mopd.config.loading.load_config", "mopd.training.loop", "mopd.evaluation.target.evaluate"],
    "Runs as data": ["mopd.report.loaded", "mopd.training.watching"],
    "The method": [f"mopd.method.{name}" for name in ("peers", "contexts", "predictions", "divergence", "objective")],
    "Statistics": ["mopd.core.statistics"],
    "Problems and verdicts": ["mopd.core.types", "mopd.verifiers"],
    "Errors": ["mopd.core.errors"],
}
"""What the page of the reference shows, by heading."""

NAMED_BLOCK = re.compile(r"^```(\w+) (\S+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    pages = {page: (ROOT / name).read_text(encoding="utf-8") for name, page in AT_THE_ROOT.items()}
    for page, text in {**pages, "reference.md": reference()}.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead each link to a page of the site, or else to the repository; a block that is a file has its name above it."""
    markdown = NAMED_BLOCK.sub(r'```\1 title="\2"', markdown)
    from_root = page.file.src_uri in AT_THE_ROOT.values()
    place = ROOT if from_root else (ROOT / "docs" / page.file.src_uri).parent
    return LINK.sub(lambda link: f"]({_led(place, link[1], page.file.src_uri)}{link[2] or ''})", markdown)


def _led(place: Path, target: str, page: str) -> str:
    path = (place / target).resolve()
    up = "../" * page.count("/")
    for name, becomes in AT_THE_ROOT.items():
        if path == ROOT / name:
            return up + becomes
    docs = ROOT / "docs"
    if path.is_relative_to(docs) and path.is_file():
        return up + path.relative_to(docs).as_posix()
    return f"{SOURCE}/{path.relative_to(ROOT).as_posix()}"


def reference() -> str:
    """The page of functions and classes, for mkdocstrings."""
    lines = ["# Functions and classes", "", "Made from docstrings. [Python](python.md) has examples."]
    for heading, modules in REFERENCE.items():
        lines += ["", f"## {heading}", ""]
        lines += [f"::: {module}\n" for module in modules]
    return "\n".join(lines)
