"""The documentation as a site, built as `make site` builds it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True)  # strict: a dead link or anchor ends it
    return folder


def test_every_page_of_docs_is_in_the_site_and_fetches_nothing(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    for page in pages | {Path("index.html"), Path("reference.html"), Path("changelog.html")}:
        text = (site / page).read_text()
        fetched = re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]+"', text)
        assert [tag for tag in fetched if 'rel="canonical"' not in tag] == [], page


def test_what_searching_from_a_file_needs_is_there(site):
    assert (site / "search" / "search_index.js").is_file()  # the plugin `offline` makes a script of the index
    assert "assets/iframe-worker.js" in (site / "index.html").read_text()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to open the site with")
def test_search_finds_pages_in_a_browser_that_opened_a_file(site):
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", "--dump-dom"]
    page = f"file://{site / 'index.html'}?q=divergence"
    shown = subprocess.run([*words, page], capture_output=True, text=True, timeout=120).stdout
    assert "md-search-result__link" in shown


def test_the_reference_shows_what_is_public_with_its_meaning(site):
    text = (site / "reference.html").read_text()
    for name in ("mopd.config.loading.load_config", "mopd.training.loop.train", "mopd.method.divergence"):
        assert f'id="{name}"' in text
    assert "on_step" in text


def test_a_link_to_a_source_file_leads_to_the_repository(site):
    text = (site / "design.html").read_text()
    assert re.search(r'href="https://[^"]+/src/mopd/training"', text)
