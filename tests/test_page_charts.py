"""Charts in a real browser, of a station with thirty days behind it: from an hour to a year, wrong stretches
shaded, gaps left open, alarms and calibrations marked; fingers pan and zoom.

The canvas is read pixel by pixel: what is said to be drawn is held against where it must stand.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests import browsing
from tests.browsing import WITHIN_MS, Watched
from tests.lived_in import CALIBRATED, DAY_MS, DEAD, HOUR_MS, OFF, RAINS, WRONG, lived
from tests.pages import StationWithPage, station_with_page

PHONE = (390, 780)
PIXEL = """([share, from, to]) => {
  const canvas = document.querySelector(".chart canvas"), over = document.querySelector(".u-over");
  const inner = over.getBoundingClientRect(), outer = canvas.getBoundingClientRect();
  const ratio = canvas.width / outer.width;
  const x = Math.round((inner.left - outer.left + share * inner.width) * ratio);
  const top = Math.round((inner.top - outer.top + from * inner.height) * ratio);
  const low = Math.round((inner.top - outer.top + to * inner.height) * ratio);
  const found = canvas.getContext("2d").getImageData(x, top, 1, Math.max(1, low - top)).data;
  return Array.from({ length: found.length / 4 }, (_, i) => Array.from(found.slice(4 * i, 4 * i + 4)));
}"""
"""The pixels of a column of the plot, at this share of its width, between these shares of its height."""


class Past:
    """A station and when its thirty days ended."""

    def __init__(self, place: StationWithPage, end_ms: int) -> None:
        self.place, self.end_ms = place, end_ms


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    folder = tmp_path_factory.mktemp("charts")
    end_ms = round(time.time() * 1000) - 5000
    lived(folder / "data", end_ms, close_ms=HOUR_MS // 6)
    with station_with_page(folder, story="calm") as place:
        place.start()
        client = place.client()
        place.until(lambda: client.get(asked(end_ms, 365)).json["complete"])
        yield Past(place, end_ms)


def asked(end_ms: int, days: float, sensor: str = "ph1", quantity: str = "ph") -> str:
    from_ms = end_ms - round(days * DAY_MS)
    return f"/api/history?sensor={sensor}&quantity={quantity}&from={from_ms}&to={end_ms}&points=300"


@pytest.fixture(scope="module")
def phone(past: Past) -> Iterator[Watched]:
    if why := browsing.without_uplot():
        pytest.skip(why)
    with (
        browsing.chromium() as browser,
        browsing.watched(browser, past.place, size=PHONE, has_touch=True, is_mobile=True) as found,
    ):
        yield found


def show(watched: Watched, past: Past, sensor: str, quantity: str, days: float) -> Page:
    """The chart of so many days up to the end of the past."""
    page = watched.page
    page.goto("about:blank")
    watched.open(f"charts?sensor={sensor}&quantity={quantity}&s={round(days * 86400)}&to={past.end_ms}")
    expect(page.locator(".chart canvas")).to_be_visible(timeout=WITHIN_MS)
    expect(page.locator(".chart")).not_to_have_attribute("aria-busy", "true", timeout=WITHIN_MS)
    return page


def column(page: Page, days: float, ago: float, top: float = 0.0, low: float = 1.0) -> Any:
    """What is drawn `ago` days before the chart's end."""
    return page.evaluate(PIXEL, [1 - ago / days, top, low])


def middle(span: tuple[float, float]) -> float:
    return sum(span) / 2


def test_a_wrong_stretch_is_shaded_and_a_gap_is_a_gap(past: Past, phone: Watched) -> None:
    page = show(phone, past, "ph1", "ph", 7)
    assert "Means of" in page.locator("main .said").inner_text()
    good, wrong = column(page, 7, 3.6, 0.02, 0.04)[0], column(page, 7, middle(WRONG), 0.02, 0.04)[0]
    assert good[3] == 0 or good[:3] != wrong[:3]
    assert (wrong[3], wrong[0] > wrong[2]) != (0, False)  # something red lies over it
    ink = [1 for p in column(page, 7, 3.6) if is_line(p)]
    blank = [1 for p in column(page, 7, middle(OFF)) if is_line(p)]
    assert ink
    assert not blank  # nobody drew a line through hours without power
    key = page.locator(".key")
    for word in ("Wrong", "Gap", "Calibrated", "Doubtful"):
        expect(key).to_contain_text(word)
    phone.is_accessible("charts of a week")
    phone.is_well()


def is_line(pixel: list[int]) -> bool:
    """Whether it has the colour of the means (--accent by day, #0b5d6b), with its soft edges."""
    r, g, b, a = pixel
    return a > 200 and abs(r - 0x0B) < 40 and abs(g - 0x5D) < 40 and abs(b - 0x6B) < 40


def test_thirty_days_and_a_year(past: Past, phone: Watched) -> None:
    page = show(phone, past, "turb1", "turbidity", 30)
    for rain in RAINS:  # the alarm's line, from top to bottom, in the colour of what is bad
        drawn = [column(page, 30, rain - 0.12 + by / 200) for by in range(-8, 9)]
        assert any(sum(is_bad(p) for p in pixels) > len(pixels) * 0.6 for pixels in drawn), rain
    assert not [1 for p in column(page, 30, middle(DEAD)) if is_line(p)]
    expect(page.locator(".key")).to_contain_text("Alarm")
    expect(page.locator(".key")).to_contain_text("Limit")
    expect(page.locator("main .log")).to_contain_text("turbidity-high")
    with page.expect_response(re.compile("/api/history")) as answer:
        page.get_by_role("button", name="1 year").click()
    said = answer.value.json()
    assert len(said["t"]) <= 2 * 900  # summed up by the station, however much there is
    assert said["bucket_ms"] >= HOUR_MS
    expect(page.locator("main .said")).to_contain_text("Means of", timeout=WITHIN_MS)
    expect(page.locator(".chart canvas")).to_be_visible()
    phone.is_well()


def is_bad(pixel: list[int]) -> bool:
    """Whether it has the colour of alarms (--bad by day, #b3181f)."""
    r, g, b, a = pixel
    return a > 120 and r > 140 and g < 110 and b < 110


def test_the_hour_shows_every_reading_and_what_is_pointed_at(past: Past, phone: Watched) -> None:
    page = show(phone, past, "ph1", "ph", 1 / 144)
    expect(page.locator("main .said")).to_contain_text("Every reading", timeout=WITHIN_MS)
    newest = page.locator(".read").inner_text()
    box = page.locator(".u-over").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 40)
    expect(page.locator(".read")).not_to_have_text(newest, timeout=WITHIN_MS)
    assert re.search(r"7\.\d\d", page.locator(".read").inner_text())


def test_the_server_marks_the_calibration_where_it_was(past: Past) -> None:
    found = past.place.client().get("/api/marks?what=calibrated").json["events"]
    assert [abs(e["at_ms"] - (past.end_ms - CALIBRATED * DAY_MS)) < 1000 for e in found] == [True]


# ── fingers ──


class Fingers:
    """Touches of the glass, as the browser gets them of a phone (DevTools, Input.dispatchTouchEvent)."""

    def __init__(self, page: Page) -> None:
        self.page, self.cdp = page, page.context.new_cdp_session(page)
        box = page.locator(".u-over").bounding_box()
        assert box
        self.left, self.wide, self.y = box["x"], box["width"], box["y"] + box["height"] / 2

    def drag(self, *courses: tuple[float, float]) -> None:
        """Each finger from one share of the plot's width to another, all at once."""
        steps = 8
        for step in range(steps + 1):
            points = [
                {"x": self.left + self.wide * (a + (b - a) * step / steps), "y": self.y, "id": n}
                for n, (a, b) in enumerate(courses)
            ]
            kind = "touchMove" if step else "touchStart"
            self.cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        self.cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def address(page: Page) -> dict[str, float]:
    return {k: float(v) for k, v in re.findall(r"[?&](s|to)=(\d+)", page.url)}


def test_a_finger_pans_and_two_zoom(past: Past, phone: Watched) -> None:
    page = show(phone, past, "ph1", "ph", 4)
    page.locator(".u-over").scroll_into_view_if_needed()
    before = address(page)
    Fingers(page).drag((0.3, 0.7))
    until_address(page, lambda now: now.get("to", 0) < before["to"])
    panned = address(page)
    assert panned["s"] == pytest.approx(before["s"], rel=0.01)
    assert before["to"] - panned["to"] == pytest.approx(0.4 * before["s"] * 1000, rel=0.15)
    page.locator(".u-over").scroll_into_view_if_needed()
    Fingers(page).drag((0.45, 0.2), (0.55, 0.8))
    until_address(page, lambda now: now["s"] < 0.5 * panned["s"])
    assert address(page)["s"] == pytest.approx(panned["s"] / 6, rel=0.3)
    page.locator(".u-over").scroll_into_view_if_needed()
    Fingers(page).drag((0.1, 0.4), (0.9, 0.6))
    until_address(page, lambda now: now["s"] > 0.4 * panned["s"])
    phone.is_well()


def until_address(page: Page, there: Any) -> None:
    """Wait until the address says so, and the chart is drawn anew."""
    deadline_s = time.monotonic() + WITHIN_MS / 1000
    while not there(address(page)):
        assert time.monotonic() < deadline_s, page.url
        page.wait_for_timeout(50)
    expect(page.locator(".chart")).not_to_have_attribute("aria-busy", "true", timeout=WITHIN_MS)
    expect(page.locator(".chart canvas")).to_be_visible(timeout=WITHIN_MS)
