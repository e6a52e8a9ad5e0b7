"""The page in a real browser: Debian's Chromium on a real station with emulated instruments.

One browser and one station for all of it. Nothing may leave the machine, no script may fail, and axe finds no
violation of WCAG 2.2 A and AA.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.pages import PASSWORD, StationWithPage, station_with_page
from tests.services import until

WITHIN_MS = 30_000
VIEWS = (
    "now",
    "charts",
    "alarms",
    "instruments",
    "calibrate",
    "visits",
    "scan",
    "doctor",
    "capture",
    "sinks",
    "gaps",
    "log",
    "sms",
    "clock",
    "public",
    "about",
    "sign",
)
TEXTS = Path(__file__).parent.parent / "gateway" / "web" / "static" / "texts"
AXE = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
EVIL = '<img src=x onerror="window.hacked=1">'
"""What a hostile operator, or whoever sends an SMS, would write."""


@pytest.fixture(scope="module")
def without_uplot() -> str:
    """Why uPlot is not there; "" if it is. Where the working tree has none yet it is fetched as the build
    does."""
    hook = TEXTS.parents[3] / "deploy" / "build_hook.py"
    done = subprocess.run(
        [sys.executable, str(hook)], capture_output=True, text=True, timeout=120, check=False
    )
    return done.stderr.strip() if done.returncode else ""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, without_uplot: str) -> Iterator[StationWithPage]:
    with station_with_page(tmp_path_factory.mktemp("site")) as found:
        text = found.file.read_text(encoding="utf-8")
        text = text.replace("below the tailings dam (emulated)", EVIL.replace('"', "'"))
        found.file.write_text(text, encoding="utf-8")
        found.start()
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is missing: apt-get install chromium"
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


class Watched:
    """A page, and what went wrong on it."""

    def __init__(self, page: Page, place: StationWithPage) -> None:
        self.page, self.place = page, place
        self.wrong: list[str] = []
        self.abroad: list[str] = []
        self.bytes = 0
        page.set_default_timeout(WITHIN_MS)
        page.on("console", lambda m: self.wrong.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.wrong.append(str(e)))
        page.on("request", self._request)

    def _request(self, request: Any) -> None:
        if urlsplit(request.url).netloc != f"127.0.0.1:{self.place.port}" and not request.url.startswith(
            "data:"
        ):
            self.abroad.append(request.url)

    def open(self, view: str) -> None:
        self.page.goto(f"{self.place.url}/#/{view}")
        expect(self.page.locator(f"main.view-{view.partition('?')[0]}")).to_be_visible(timeout=WITHIN_MS)

    def sign_in(self) -> None:
        self.open("sign")
        self.page.fill("input[name=name]", "Aibek")
        self.page.fill("input[name=password]", PASSWORD)
        self.page.click("form button.main")
        expect(self.page.locator("main.view-now .card").first).to_be_visible(timeout=WITHIN_MS)

    def is_well(self) -> None:
        assert self.wrong == []
        assert self.abroad == []
        assert self.page.evaluate("window.hacked") is None


@pytest.fixture(scope="module")
def opened(browser: Browser, place: StationWithPage) -> Callable[..., Any]:
    @contextmanager
    def open_(
        language: str = "en", size: tuple[int, int] = (1280, 900), theme: str = "light"
    ) -> Iterator[Watched]:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            locale=language,
            color_scheme=theme,
            reduced_motion="reduce",
        )
        context.add_init_script(f"try {{ localStorage.setItem('language', '{language}') }} catch {{}}")
        try:
            yield Watched(context.new_page(), place)
        finally:
            context.close()

    return open_


@pytest.fixture(scope="module")
def technician(opened: Callable[..., Any]) -> Iterator[Watched]:
    with opened() as watched:
        watched.sign_in()
        yield watched


# ── every view, three languages, phone and desktop, day and night ──


@pytest.mark.parametrize(
    ("language", "size", "theme"),
    [("en", (1280, 900), "light"), ("ru", (360, 780), "dark"), ("ky", (320, 640), "light")],
)
def test_every_view(opened: Callable[..., Any], language: str, size: tuple[int, int], theme: str) -> None:
    texts = json.loads((TEXTS / f"{language}.json").read_text(encoding="utf-8"))
    axe = Axe()
    with opened(language, size, theme) as watched:
        page = watched.page
        for view in VIEWS:
            watched.open(view)
            expect(page).to_have_title(re.compile(re.escape(texts[f"view.{view}"])), timeout=WITHIN_MS)
            page.wait_for_load_state("load")
            expect(page.locator("main")).not_to_be_empty()
            if view in ("now", "instruments"):
                expect(page.locator("main [data-sensor=ph1]")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], f"{view} is too wide"
            found = axe.run(page, options=AXE).response["violations"]
            assert [(v["id"], v["nodes"][0]["html"][:120]) for v in found] == [], view
            assert page.evaluate("document.documentElement.lang") == language
        watched.is_well()


def test_the_texts_of_all_languages_have_the_same_keys() -> None:
    keys = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in TEXTS.glob("*.json")}
    assert set(keys) == {"ky", "ru", "en"}
    for language, texts in keys.items():
        assert set(texts) == set(keys["en"]), language
        for key, text in texts.items():
            assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", keys["en"][key])), (
                language,
                key,
            )


def test_every_text_that_a_view_asks_for_is_there() -> None:
    texts = json.loads((TEXTS / "en.json").read_text(encoding="utf-8"))
    static = TEXTS.parent
    asked = {
        key
        for file in [*static.glob("*.js"), *static.glob("lib/*.js"), *static.glob("views/*.js")]
        for key in re.findall(r"""\bt\(["']([\w.]+)["']""", file.read_text(encoding="utf-8"))
        if key != "key"  # an example
    }
    assert len(asked) > 100
    assert sorted(asked - set(texts)) == []


# ── what a technician does ──


def test_values_come_by_themselves(technician: Watched) -> None:
    technician.open("now")
    card = technician.page.locator("[data-sensor=dust2]")
    number = card.locator(".big .number")
    before = number.inner_text()
    expect(number).not_to_have_text(before, timeout=WITHIN_MS)
    expect(card.locator(".quality").first).to_have_text("Valid")
    technician.is_well()


def test_an_alarm_is_acknowledged(technician: Watched) -> None:
    page = technician.page
    technician.open("alarms")
    alarm = page.locator("[data-rule=turbidity-high]")
    expect(alarm).to_have_class(re.compile("active_unacknowledged"), timeout=60_000)
    alarm.get_by_role("button", name="Acknowledge").click()
    expect(alarm).to_have_class(re.compile("active_acknowledged"), timeout=WITHIN_MS)
    log = technician.place.client()
    log.cookie = "; ".join(f"{c['name']}={c['value']}" for c in page.context.cookies())
    [event] = log.get("/api/events?what=acknowledge").json["events"]
    assert event["detail"]["by"] == "Aibek (page)"
    technician.is_well()


def test_an_alarm_is_shelved_with_a_reason_and_told_again(technician: Watched) -> None:
    page = technician.page
    technician.open("alarms")
    alarm = page.locator("[data-rule=turbidity-high]")
    alarm.locator("summary").click()
    alarm.locator("input[name=why]").fill(EVIL)
    alarm.locator("form button").click()
    expect(alarm).to_have_class(re.compile("shelved"), timeout=WITHIN_MS)
    expect(alarm).to_contain_text(EVIL)
    alarm.get_by_role("button", name="Tell again").click()
    expect(alarm).not_to_have_class(re.compile("shelved"), timeout=WITHIN_MS)
    technician.open("log")
    expect(page.locator("main")).to_contain_text(EVIL, timeout=WITHIN_MS)
    technician.is_well()


def test_the_chart_is_drawn_moved_and_zoomed(without_uplot: str, technician: Watched) -> None:
    if without_uplot:
        pytest.skip(without_uplot)
    page = technician.page
    technician.open("charts?sensor=turb1&quantity=turbidity")
    canvas = page.locator(".chart canvas")
    expect(canvas).to_be_visible(timeout=WITHIN_MS)
    assert (
        canvas.evaluate("c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size")
        > 8
    )
    span = page.locator(".span")
    first = span.inner_text()
    page.get_by_role("button", name="Earlier").click()
    expect(span).not_to_have_text(first, timeout=WITHIN_MS)
    page.get_by_role("button", name="now").click()
    expect(span).to_have_text(re.compile("now"), timeout=WITHIN_MS)
    page.get_by_role("button", name="7 days").click()
    expect(page.locator(".chart + div")).to_contain_text("Means of 30 min", timeout=WITHIN_MS)
    page.get_by_role("button", name="1 h", exact=True).click()
    expect(canvas).to_be_visible(timeout=WITHIN_MS)
    box = until("the chart, drawn anew", page.locator(".u-over").bounding_box)
    second = span.inner_text()
    page.mouse.move(box["x"] + 300, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 500, box["y"] + 50, steps=4)
    page.mouse.up()
    expect(span).not_to_have_text(second, timeout=WITHIN_MS)
    technician.is_well()


def test_without_the_chart_library_a_simple_line_is_drawn(opened: Callable[..., Any]) -> None:
    with opened() as watched:
        watched.page.route("**/vendor/*", lambda route: route.fulfill(status=404, body="{}"))
        watched.open("charts?sensor=dust1&quantity=pm2_5")
        expect(watched.page.locator(".chart svg.spark path")).to_be_visible(timeout=WITHIN_MS)
        expect(watched.page.locator(".chart")).to_contain_text("A simple chart")


def test_the_last_frame_is_shown_with_its_meaning(technician: Watched) -> None:
    technician.open("instruments")
    dust = technician.page.locator("[data-sensor=dust1]")
    dust.locator("summary").click()
    expect(dust.locator("pre")).to_contain_text("42 4d", timeout=WITHIN_MS)
    expect(dust.locator("table")).to_contain_text("Fine dust PM2.5")


def test_a_test_message_leaves_by_the_modem(technician: Watched) -> None:
    technician.open("sms")
    page = technician.page
    page.fill("input[name=number]", "+996 555 000 777")
    page.fill("input[name=text]", "Hello from the page")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("main [role=status] .good")).to_have_text("Handed over", timeout=60_000)
    sent = [(m.to, m.text) for m in technician.place.outside.modem.sent]
    assert ("+996555000777", "Hello from the page") in sent
    technician.is_well()


def test_with_the_keyboard_alone(opened: Callable[..., Any]) -> None:
    with opened() as watched:
        watched.open("now")
        page = watched.page
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.hash") == "#/alarms":
                break
        else:
            raise AssertionError("the menu is not reached with Tab")
        page.keyboard.press("Enter")
        expect(page.locator("main.view-alarms")).to_be_visible(timeout=WITHIN_MS)
        assert page.evaluate("document.activeElement.id") == "main"


# ── hostile words, and who sees what ──


def test_markup_in_names_is_text(technician: Watched) -> None:
    technician.open("now")
    expect(technician.page.locator("h1")).to_contain_text("<img src=x", timeout=WITHIN_MS)
    technician.is_well()


def test_hostile_answers_of_the_station_are_text(opened: Callable[..., Any]) -> None:
    """Whatever stands in names, units, reasons and messages, wherever it came from."""

    def poison(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=_poisoned(answer.json()))

    with opened() as watched:
        for path in (
            "now",
            "alarms",
            "instruments",
            "events*",
            "marks*",
            "gaps*",
            "sinks",
            "about",
            "sms",
            "clock",
        ):
            watched.page.route(f"**/api/{path}", poison)
        for view in (
            "now",
            "alarms",
            "instruments",
            "sinks",
            "gaps",
            "log",
            "sms",
            "clock",
            "public",
            "about",
        ):
            watched.page.goto(f"{watched.place.url}/#/{view}")
            expect(watched.page.locator(f"main.view-{view}")).to_contain_text("<img", timeout=WITHIN_MS)
            assert watched.page.locator("main img").count() == 0
        assert watched.page.evaluate("window.hacked") is None


NEEDED = ("timezone", "language", "quantity", "name", "medium", "state", "from", "to")
"""Words of ours that choose a text or a format."""


def _poisoned(said: Any, key: str = "") -> Any:
    if isinstance(said, dict):
        return {k: _poisoned(v, k) for k, v in said.items()}
    if isinstance(said, list):
        invented = {
            "seq": 1,
            "at_ms": 1,
            "what": "note",
            "sensor": EVIL,
            "why": EVIL,
            "detail": {"text": EVIL},
        }
        return [_poisoned(v, key) for v in said] or ([invented] if key in ("events", "gaps") else [])
    return EVIL if key == "trouble" or (isinstance(said, str) and key not in NEEDED) else said


def test_the_public_face(opened: Callable[..., Any]) -> None:
    with opened("ky", (360, 740)) as watched:
        page = watched.page
        page.route(
            "**/api/*",
            lambda route: route.continue_(
                headers={**route.request.headers, "X-Forwarded-For": "203.0.113.7"}
            ),
        )
        page.goto(watched.place.url)
        expect(page.locator("main.view-public .light")).to_be_visible(timeout=WITHIN_MS)
        expect(page.locator("main .number").first).not_to_be_empty()
        assert page.locator("#nav a").count() <= 1
        page.goto(f"{watched.place.url}/#/log")
        expect(page.locator("main input[name=password]")).to_be_visible(timeout=WITHIN_MS)
        watched.is_well()


# ── the station dies and comes back (last, for it is the same station) ──


def test_a_station_that_dies_and_comes_back(opened: Callable[..., Any], place: StationWithPage) -> None:
    with opened() as watched:
        watched.open("now")
        page = watched.page
        card = page.locator("[data-sensor=dust2]")
        expect(card).not_to_have_class(re.compile("old"), timeout=WITHIN_MS)
        value = card.locator(".big .number").inner_text()
        place.stop(kill=True)
        expect(page.locator("#link")).to_contain_text("No connection", timeout=WITHIN_MS)
        expect(card).to_have_class(re.compile("old"), timeout=WITHIN_MS)
        expect(card.locator(".quality").first).to_have_text("Old")
        assert value
        place.start()
        expect(page.locator("#link")).to_contain_text("Live", timeout=60_000)
        expect(card).not_to_have_class(re.compile("old"), timeout=60_000)
        expect(card.locator(".quality").first).to_have_text("Valid")
        assert watched.abroad == []
