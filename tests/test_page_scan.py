"""The scan on the page, in a real browser: begun, found again after a reload, stopped, its station.toml taken
along.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect, sync_playwright

from drivers.emulators.instruments import make
from drivers.emulators.port import PortThread, PtyPort
from drivers.emulators.world import World
from drivers.link import Line
from tests.pages import PASSWORD, StationWithPage, station_with_page

WITHIN_MS = 30_000
AXE = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
WORLD = World(1, "rain")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationWithPage]:
    with station_with_page(tmp_path_factory.mktemp("scan")) as found:
        found.start()
        yield found


@pytest.fixture(scope="module")
def page(place: StationWithPage) -> Iterator[Page]:
    """A phone, signed in; a message on its console fails the test that looks."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is missing: apt-get install chromium"
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(viewport={"width": 360, "height": 780}, locale="en", reduced_motion="reduce")
        page.add_init_script("try { localStorage.setItem('language', 'en') } catch {}")
        page.set_default_timeout(WITHIN_MS)
        page.goto(f"{place.url}/#/sign")
        page.fill("input[name=name]", "Aibek")
        page.fill("input[name=password]", PASSWORD)
        page.click("form button.main")
        expect(page.locator("main.view-now .card").first).to_be_visible(timeout=WITHIN_MS)
        yield page
        chromium.close()


def test_a_scan_is_begun_found_again_stopped_and_taken_along(
    place: StationWithPage, page: Page, tmp_path: Path
) -> None:
    wrong: list[str] = []
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    probe = PtyPort([make("yosemitech-y532", 1, WORLD, "probe")], name="free", line=Line(9600, "8N1"))
    with PortThread(probe):
        page.goto(f"{place.url}/#/scan")
        expect(page.locator("form")).to_contain_text("the station reads it: ph1, turb1", timeout=WITHIN_MS)
        own = page.locator("label", has_text="the station reads it").locator("input[name=port]")
        assert own.count() >= 3
        assert not any(box.is_checked() for box in own.all())  # nothing of the station's unasked
        for box in page.locator("input[name=port]").all():
            box.uncheck()  # this machine may have ports of its own
        page.fill("input[name=other]", probe.path)
        page.get_by_role("button", name="Begin the scan").click()
        port = page.locator(f"[data-port='{probe.path}']")
        expect(port).to_be_visible(timeout=WITHIN_MS)
        expect(page.locator(".step")).to_have_text(re.compile(r"\d+ (s|min) left"), timeout=WITHIN_MS)
        page.reload()  # the phone slept
        expect(port.locator("[data-model=yosemitech-y532]")).to_contain_text("address 1", timeout=WITHIN_MS)
        assert 0 < page.locator("progress").evaluate("p => p.value") < 1
        found = Axe().run(page, options=AXE).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"][:120]) for v in found] == []
        page.get_by_role("button", name="Stop, keep what was found").click()
        expect(page.locator("main [role=status]").first).to_contain_text("broken off", timeout=WITHIN_MS)
    link = page.get_by_role("link", name="Download")
    expect(link).to_be_visible(timeout=WITHIN_MS)
    with page.expect_download() as taking:
        link.click()
    file = tmp_path / "station.toml"
    taking.value.save_as(file)
    [sensor] = tomllib.loads(file.read_text(encoding="utf-8"))["sensor"]
    assert (sensor["model"], sensor["address"]) == ("yosemitech-y532", 1)
    page.get_by_role("button", name="Copy").click()
    expect(page.locator(".actions [role=status]")).to_have_text(
        re.compile("Copied|Marked"), timeout=WITHIN_MS
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    found = Axe().run(page, options=AXE).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"][:120]) for v in found] == []
    expect(page.locator("form")).to_be_visible(timeout=WITHIN_MS)
    assert wrong == []
