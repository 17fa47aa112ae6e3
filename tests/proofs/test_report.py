"""The page of `mopd report` in a real browser, with 2,000 rollouts of hostile text: `make proof-report`.

Needs Chromium (CHROMIUM names it, where it is not called chromium) and the package playwright.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time

import pytest

from mopd.page.report import write_report
from tests.report_pages import HOSTILE, train_byte_student, with_hostile_text

pytestmark = pytest.mark.slow
GIGABYTES = float(os.environ.get("GIGABYTES", "5"))
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
VIEWS = ("overview", "groups", "before-and-after", "tokens", "runs")
LONGEST_S = 2.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_byte_student(tmp_path_factory.mktemp("browsed"))


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    """The page of a run with 2,000 hostile rollouts beside one without."""
    folder = tmp_path_factory.mktemp("hostile")
    hostile = with_hostile_text(run, folder / "</script><script>window.hacked=1<".replace("/", "\u2215"), 2000)
    target, missing = write_report([hostile, run], folder / "page.html", score=12, quiet=True)
    print(f"{target.stat().st_size / 2**20:.1f} MiB; missing: {missing}")
    assert target.stat().st_size < 20 * 2**20
    assert not any("scores" in told for told in missing)
    return target


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright; it downloads no browser here")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is needed: apt-get install chromium, or CHROMIUM=its path"
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, page):
    """Opens the page in a window of some width and colours; it must not ask for anything, complain, or run its text."""
    contexts, odd = [], []

    def open_page(view="overview", width=1200, colours="light"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=colours)
        contexts.append(context)
        tab = context.new_page()
        tab.on("request", lambda asked: odd.append(asked.url) if not asked.url.startswith("file://") else None)
        tab.on("pageerror", lambda error: odd.append(str(error)))
        tab.on("console", lambda said: odd.append(said.text) if said.type in ("error", "warning") else None)
        tab.on("dialog", lambda dialog: odd.append(dialog.message))
        tab.goto(f"file://{page}#{view}")
        return tab

    yield open_page
    for context in contexts:
        for tab in context.pages:
            assert tab.evaluate("window.hacked") is None
            assert tab.evaluate("document.querySelectorAll('#evil, main img, main script').length") == 0
        context.close()
    assert odd == []


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_in_two_seconds(opened, view):
    tab = opened(view)
    took = tab.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") / 1000
    assert tab.locator("main [role=tabpanel]").count() == 1
    assert tab.locator("[role=tab][aria-selected=true]").get_attribute("data-view") == view
    print(f"{view}: {took:.2f} s")
    assert took < LONGEST_S


def test_hostile_text_is_shown_as_it_was_written(opened):
    tab = opened("groups")
    for item in tab.locator("details.item > summary").all()[:60]:
        item.click()
    shown = tab.locator("main").inner_text()
    for text in HOSTILE[:3]:
        assert text.split("\u2028")[0].strip()[:40] in shown
    assert "\\u202egnp.exe" in shown
    assert "\\x1b[31mred" in shown
    assert "👩‍👩‍👧‍👦" in shown
    assert tab.title().startswith("mopd: <∕script>")


def test_everything_is_reached_by_keyboard(opened):
    tab = opened("overview")
    tab.keyboard.press("j")
    tab.keyboard.press("ArrowLeft")
    assert tab.locator("figure output").first.inner_text().startswith("step ")
    tab.keyboard.press("2")
    assert tab.evaluate("location.hash") == "#groups"
    tab.keyboard.press("j")
    tab.keyboard.press("j")
    tab.keyboard.press("Enter")
    assert tab.locator("details.item[open]").count() == 1
    tab.keyboard.press("/")
    tab.keyboard.type("plain-")
    assert tab.locator("main output").first.inner_text() == "4 of 500"
    tab.keyboard.press("Tab")
    tab.keyboard.type("mixed")
    tab.locator("nav button").first.focus()
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    assert tab.evaluate("location.hash") == "#tokens"
    tab.locator(".tokens").first.focus()
    first = tab.locator("#panel").inner_text()
    tab.keyboard.press("ArrowRight")
    assert "teacher − student" in first
    assert tab.locator("#panel").inner_text() != first
    tab.keyboard.press("Escape")
    assert tab.locator("#panel").is_hidden()


def test_groups_are_filtered_and_sorted(opened):
    tab = opened("groups")
    tab.get_by_label("verdicts").select_option("mixed")
    tab.get_by_label("order").select_option("fewest")
    marks = tab.locator("details.item .verdicts").all_text_contents()
    assert marks
    assert all("✓" in text and "✗" in text for text in marks)
    assert [text.count("✓") for text in marks] == sorted(text.count("✓") for text in marks)
    tab.get_by_label("verdicts").select_option("any")
    tab.get_by_label("order").select_option("most")
    shares = [text.count("✓") for text in tab.locator("details.item .verdicts").all_text_contents()]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == 100
    tab.get_by_role("button", name="show more").click()
    assert tab.locator("details.item").count() == 200


def test_a_rollout_is_followed_to_its_tokens_and_its_context(opened):
    tab = opened("groups")
    tab.locator("details.item > summary").first.click()
    tab.locator("article details summary").first.click()
    tab.locator("article .shown.success").first.wait_for()
    tab.get_by_role("button", name="token by token").first.click()
    assert tab.evaluate("location.hash") == "#tokens"
    assert tab.locator(".tokens:focus").count() == 1
    assert tab.locator("#panel .tops").inner_text().count("%") >= 2
    plain = tab.locator(".tokens span").first.get_attribute("style")
    tab.get_by_label("style or content").check()
    assert tab.locator(".tokens span").first.get_attribute("style") != plain
    assert "alike: style" in tab.locator("main").inner_text()


def test_where_a_failed_rollout_goes_wrong_stands_beside_its_nearest_success(opened):
    tab = opened("tokens")
    select = tab.get_by_label("group")
    found = 0
    for value in [option.get_attribute("value") for option in select.locator("option").all()]:
        select.select_option(value)
        for article in tab.locator("article").filter(has_text="Here:").all():
            assert article.locator(".tokens .here").count() == 1
            assert article.locator("mark").count() == 1
            assert "nats" in article.inner_text()
            found += 1
    assert found


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_wider_than_a_phone(opened, view):
    tab = opened(view, width=360)
    for item in tab.locator("details.item > summary").all()[:12]:
        item.click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


CONTRAST = """() => {
  const part = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map((value) => part(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = light(getComputedStyle(document.body).backgroundColor);
  const has_text = (element) => [...element.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  const ratios = [...document.querySelectorAll('main *, nav *')]
    .filter((element) => has_text(element) && !element.closest('svg, .tokens b, .tokens span, mark'))
    .map((element) => light(getComputedStyle(element).color))
    .map((ink) => (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05));
  return Math.min(...ratios);
}"""


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(opened, view, colours):
    tab = opened(view, colours=colours)
    back = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (colours == "light")
    assert tab.evaluate(CONTRAST) >= 4.5


def test_a_log_of_gigabytes_is_read_in_bounded_memory(run, tmp_path):
    """GIGABYTES says of how many; the page is made in a process of its own, whose memory is looked at."""
    copied = shutil.copytree(run, tmp_path / "run")
    lines = (run / "groups.jsonl").read_text().splitlines()
    step = [json.loads(line) for line in lines[:4]]
    for group in step:
        for rollout in group["rollouts"]:
            rollout["completion"] = "a long completion of a model " * 700
    wanted = GIGABYTES * 1e9
    size = 0
    with open(copied / "groups.jsonl", "w") as file:
        number = 0
        while size < wanted:
            text = "".join(json.dumps({**group, "step": number}) + "\n" for group in step)
            size += file.write(text)
            number += 1
    began = time.monotonic()
    command = [sys.executable, "-m", "mopd", "report", str(copied), "--score", "0", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    page = (copied / "report.html").stat().st_size / 2**20
    print(f"{size / 1e9:.1f} GB in {time.monotonic() - began:.0f} s, peak {peak:.2f} GiB, page {page:.1f} MiB")
    assert peak < 1.5
    assert page < 20
