"""Debian's Chromium for tests of the page, driven by Playwright, and a page that is watched: what its console
says, which addresses it asks, whether a foreign word ran."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.pages import PASSWORD, StationWithPage

WITHIN_MS = 30_000
STATIC = Path(__file__).parent.parent / "gateway" / "web" / "static"
EVIL = '<img src=x onerror="window.hacked=1">'
"""What a hostile operator, or whoever sends an SMS, would write."""
_AXE = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


def without_uplot() -> str:
    """Why uPlot is not there; "" if it is. Where the working tree has none yet it is fetched as the build
    does."""
    hook = STATIC.parents[2] / "deploy" / "build_hook.py"
    done = subprocess.run(
        [sys.executable, str(hook)], capture_output=True, text=True, timeout=120, check=False
    )
    return done.stderr.strip() if done.returncode else ""


@contextmanager
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is missing: apt-get install chromium"
    with sync_playwright() as p:
        found = p.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


class Watched:
    """A page, and what went wrong on it."""

    def __init__(self, page: Page, place: StationWithPage) -> None:
        self.page, self.place = page, place
        self.wrong: list[str] = []
        self.abroad: list[str] = []
        page.set_default_timeout(WITHIN_MS)
        page.on("console", self._said)
        page.on("pageerror", lambda e: self.wrong.append(str(e)))
        page.on("request", self._request)

    def _said(self, message: Any) -> None:
        ours = "willReadFrequently" not in message.text  # that is about a test that reads the canvas
        if message.type in ("error", "warning") and ours:
            self.wrong.append(message.text)

    def _request(self, request: Any) -> None:
        here = urlsplit(request.url).netloc == f"127.0.0.1:{self.place.port}"
        if not here and not request.url.startswith("data:"):
            self.abroad.append(request.url)

    def open(self, view: str) -> None:
        self.page.goto(f"{self.place.url}/#/{view}")
        expect(self.page.locator(f"main.view-{view.partition('?')[0]}")).to_be_visible(timeout=WITHIN_MS)

    def sign_in(self, name: str = "Aibek") -> None:
        self.open("sign")
        self.page.fill("input[name=name]", name)
        self.page.fill("input[name=password]", PASSWORD)
        self.page.click("form button.main")
        expect(self.page.locator("main.view-now .card").first).to_be_visible(timeout=WITHIN_MS)

    def is_accessible(self, where: str = "") -> None:
        """Axe finds no violation of WCAG 2.2 A and AA, and nothing is wider than the screen."""
        found = Axe().run(self.page, options=_AXE).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"][:120]) for v in found] == [], where
        width = self.page.viewport_size["width"] if self.page.viewport_size else 0
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width, f"{where} is too wide"

    def is_well(self) -> None:
        assert self.wrong == []
        assert self.abroad == []
        assert self.page.evaluate("window.hacked") is None


@contextmanager
def watched(
    browser: Browser,
    place: StationWithPage,
    language: str = "en",
    size: tuple[int, int] = (1280, 900),
    theme: str = "light",
    **more: Any,
) -> Iterator[Watched]:
    """A browser of its own, in this language and size, by day (`light`) or night (`dark`)."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, locale=language, color_scheme=theme,
        reduced_motion="reduce", **more,
    )  # fmt: skip
    context.add_init_script(f"try {{ localStorage.setItem('language', '{language}') }} catch {{}}")
    try:
        yield Watched(context.new_page(), place)
    finally:
        context.close()
