"""The pictures of the README, made anew from what runs now: the demo in a terminal (docs/demo.svg), the page
of a station with thirty days behind it (docs/page). Small files: few colours, as on a map.

    python -m tests.gallery            both; "demo" or "page": one of them
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page
from rich.console import Console
from rich.text import Text

from tests import browsing
from tests.lived_in import HOUR_MS, lived
from tests.pages import StationWithPage, station_with_page

DOCS = Path(__file__).parent.parent / "docs"
NAME = "Kanysh-Kyia · Каныш-Кыя"
WIDE, PHONE = (1280, 800), (390, 780)
COLOURS = 80
DEMO_S = 24
READINGS, AFTER = 9, 4
"""Lines of readings before the alarm and behind its SMS that are shown."""


def main(which: str = "") -> None:
    if which in ("", "demo"):
        demo()
    if which in ("", "page"):
        page()


def demo() -> None:
    """The demo as it prints itself, shortened to what happens."""
    command = [sys.executable, "-m", "gateway.cli", "demo", "--seconds", str(DEMO_S)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    lines = done.stdout.splitlines()
    alarm = next(i for i, line in enumerate(lines) if "ALARM" in line)
    sms = next(i for i, line in enumerate(lines) if "└" in line and i > alarm)
    readings = [line for line in lines[:alarm] if re.match(r"\d\d:\d\d:\d\d  (water|air)", line)]
    shown = [lines[0], "…", *readings[-READINGS:], *lines[alarm : sms + 1], *lines[sms + 1 :][:AFTER]]
    shown = [line for line in [*shown, "…", lines[-1]] if line.strip()] + [""]
    console = Console(record=True, width=112, file=io.StringIO())
    for line in shown:
        text = Text(re.sub(r"^/\S+", "…", line)[:111])
        text.highlight_regex(r"^\d\d:\d\d:\d\d", "grey62")
        text.highlight_regex(r"ALARM.*", "bold red")
        text.highlight_regex(r"(┌.*|│.*|└)", "bold yellow")
        text.highlight_regex(r"(?<=  )(water|air|sms)\b", "cyan")
        console.print(text)
    console.save_svg(str(DOCS / "demo.svg"), title="suuaba demo")


def page() -> None:
    with tempfile.TemporaryDirectory(prefix="suuaba-gallery-") as name:
        folder = Path(name)
        lived(folder / "data", round(time.time() * 1000) - 4000, every_ms=120_000, close_ms=HOUR_MS)
        with station_with_page(folder, story="rain") as place, browsing.chromium() as browser:
            text = place.file.read_text(encoding="utf-8")
            text = re.sub(r'^name = ".*"$', f'name = "{NAME}"', text, flags=re.M)
            place.file.write_text(text, encoding="utf-8")
            place.start()
            client = place.client()
            place.until(lambda: "unack" in client.get("/api/alarms").json["alarms"][0]["state"])
            time.sleep(4)
            cookies = _signed_in(browser, place)
            _shoot(browser, place, cookies, "alarms", "ru", PHONE, "dark", "alarms")
            _shoot(browser, place, cookies, "now", "en", WIDE, "light", "now")
            _shoot(browser, place, cookies, "night", "ru", WIDE, "dark", "now")
            chart = "charts?sensor=ph1&quantity=ph&s=604800"
            _shoot(browser, place, cookies, "chart", "en", WIDE, "light", chart)
            _shoot(browser, place, [], "public", "ky", PHONE, "light", "public")
            _shoot(browser, place, cookies, "calibrate", "ru", PHONE, "light", "calibrate")


def _signed_in(browser: Browser, place: StationWithPage) -> list[dict[str, str]]:
    with browsing.watched(browser, place) as found:
        found.sign_in("Айбек")
        return list(found.page.context.cookies())  # type: ignore[arg-type]  # Playwright's own type of a dictionary


def _shoot(
    browser: Browser,
    place: StationWithPage,
    cookies: list[dict[str, str]],
    name: str,
    language: str,
    size: tuple[int, int],
    theme: str,
    view: str,
) -> None:
    with browsing.watched(browser, place, language, size, theme) as found:
        found.page.context.add_cookies(cookies)  # type: ignore[arg-type]  # as above
        if not cookies:
            _as_anybody(found.page, place)
        found.open(view)
        if view == "calibrate":
            found.page.locator("form button.main").click()
            found.page.wait_for_selector("[data-step=found]")
            found.page.wait_for_selector(".settle[data-stable=true]", timeout=120_000)
        found.page.wait_for_timeout(2500)
        found.page.evaluate("scrollTo(0, 0)")
        shot = Image.open(io.BytesIO(found.page.screenshot())).convert("RGB")
    shot.quantize(COLOURS, dither=Image.Dither.NONE).save(DOCS / "page" / f"{name}.png", optimize=True)


def _as_anybody(page: Page, place: StationWithPage) -> None:
    """As whoever comes from elsewhere sees it."""
    page.route(
        f"{place.url}/**",
        lambda route: route.continue_(headers={**route.request.headers, "X-Forwarded-For": "203.0.113.7"}),
    )


if __name__ == "__main__":
    main(*sys.argv[1:2])
