"""The page in a browser without a network: no complaint, filters, marks, themes. Needs playwright and a Chromium."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageStat

from sweeps.analysis.report import whole_page
from sweeps.analysis.report.study_record import Origin
from tests.analysis.invented import grid, with_ends
from tests.analysis.report.invented_records import contact_sheet, record

pytestmark = pytest.mark.slow
EVIL = "<img src=x onerror=document.title='broken'>$$x$$"
IN_ORDER = """rows => rows.map(row => [row.getBoundingClientRect().y, row.innerText]).sort((a, b) => a[0] - b[0])
    .map(([, text]) => text)"""
"""Texts of rows from the top down: in the document they lie in the order in which they were drawn."""
RANGE = """[...document.querySelectorAll('.plot [data-root-id]')].slice(0, 1)
    .map(place => Bokeh.documents[0].get_model_by_id(place.dataset.rootId).x_range)
    .flatMap(range => [range.start, range.end])"""
"""Ends of the first plot's axis."""
RUNS = "http://mlflow:5000/#/experiments/1/runs/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with api.sync_playwright() as playwright:
        if chromium is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("there is no Chromium on this machine")
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 132 members, with a failure whose reason would be markup."""
    members = grid(range(11), (0.01, 0.02), range(6))
    ends = {(3.0, 0.01, 2): ("FAILED", EVIL), (4.0, 0.02, 1): ("SCHEDULED", "")}
    study = record(with_ends(members, ends), study=EVIL, origin=Origin("memory", {}, RUNS), picture=contact_sheet(300))
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(whole_page.page(study))
    return path


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 2,000 members."""
    study = record(grid(range(20), (0.01, 0.02), range(50)), origin=Origin("memory", {}, RUNS))
    path = tmp_path_factory.mktemp("large") / "report.html"
    path.write_text(whole_page.page(study))
    return path


def colours(screenshot: bytes) -> tuple[int, float]:
    """How many colours a picture of the window has, and its mean lightness: of an empty one that is one colour."""
    with Image.open(io.BytesIO(screenshot)) as picture:
        return len(set(picture.convert("RGB").getdata())), float(ImageStat.Stat(picture.convert("L")).mean[0])


def test_it_shows_and_filters_2000_members_in_either_theme(browser: Any, large_file: Path, tmp_path: Path) -> None:
    """Pictures of the window lie beside the test's files."""
    expect = pytest.importorskip("playwright.sync_api").expect
    page = browser.new_page(color_scheme="light", viewport={"width": 1280, "height": 900})
    page.goto(large_file.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.wait_for_selector(".slick-row")
    expect(page.locator("#count")).to_have_text("2,000 of 2,000 members")
    light = colours(page.screenshot(path=tmp_path / "light.png"))
    page.fill("#text", "tau=19 seed=49")
    expect(page.locator("#count")).to_have_text("2 of 2,000 members")
    page.click("#theme")
    page.wait_for_timeout(500)
    dark = colours(page.screenshot(path=tmp_path / "dark.png"))
    assert min(light[0], dark[0]) > 100
    assert light[1] > 180 > 80 > dark[1]
    page.locator(".slick-row").first.scroll_into_view_if_needed()
    assert colours(page.screenshot(path=tmp_path / "table.png"))[0] > 50
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_works_offline_in_both_themes(browser: Any, file: Path, scheme: str) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900}, offline=True)
    page, complaints, requests = context.new_page(), [], []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.wait_for_selector(".slick-row")
    assert page.title() == EVIL

    page.locator(".slick-header-column", has_text="MIG").first.click()  # sorts: the best first, the failed one last
    page.wait_for_timeout(300)
    rows = page.locator(".slick-row").evaluate_all(IN_ORDER)
    assert "0.325" in rows[0]

    page.select_option("select[data-column=status]", label="FAILED")
    expect(page.locator("#count")).to_have_text("1 of 132 members")
    page.locator(".slick-row .slick-cell").first.click()
    card = page.locator(".card")
    assert EVIL in card.inner_text()
    assert str(card.locator("a").get_attribute("href")).startswith(RUNS)
    page.click("#all")
    page.click("#clear")
    expect(page.locator("#count")).to_have_text("132 of 132 members")
    assert card.count() == 0

    page.focus("#clear")
    page.keyboard.press("Tab")  # from the button into the table
    page.keyboard.press("ArrowDown")
    page.wait_for_selector(".card")
    page.fill("#text", "tau=10 seed=5")
    expect(page.locator("#count")).to_have_text("2 of 132 members")

    whole = page.evaluate(RANGE)
    page.locator(".plot").first.focus()
    for key, turned in (("+", [True, False]), ("ArrowRight", [True, True]), ("-", [False, True])):
        last = page.evaluate(RANGE)
        page.keyboard.press(key)
        assert [now > then for now, then in zip(page.evaluate(RANGE), last, strict=True)] == turned
    page.keyboard.press("0")
    assert page.evaluate(RANGE) == whole

    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (before == "rgb(255, 255, 255)") == (scheme == "light")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()
