"""Hostile words on the page, in a real browser: whatever stands in names, units, reasons, messages, profiles'
texts, wherever it came from, is text.

Every answer of the station is poisoned on its way, also the first values that come inside the page itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests import browsing
from tests.browsing import EVIL, WITHIN_MS, Watched
from tests.pages import StationWithPage, station_with_page

NEEDED = (
    "timezone",
    "language",
    "quantity",
    "name",
    "medium",
    "state",
    "from",
    "to",
    "verdict",
    "step",
    "what",
)
"""Words of ours that choose a text or a format."""
VIEWS = ("now", "alarms", "instruments", "calibrate", "visits", "sinks", "gaps", "log", "sms", "clock",
         "public", "about")  # fmt: skip
ENTRY = {
    "sensor": EVIL, "quantity": "ph", "unit": EVIL, "model": EVIL, "serial": EVIL, "number": 3, "by": EVIL,
    "began_ms": 1, "ended_ms": 2, "verdict": "failed", "reasons": [EVIL], "slope_percent": 90.0,
    "offset_mv": 1.0, "accept_percent": [85, 105], "accept_offset_mv": 30, "next_due_ms": None, "note": EVIL,
    "sha256": EVIL,
    "points": [{"nominal": 7.0, "value": 7.0, "found": 7.1, "left": None, "lot": EVIL, "expires": EVIL}],
}  # fmt: skip
VISIT = {"from_ms": 1, "to_ms": 2, "by": [EVIL], "sensors": [EVIL], "why": [EVIL], "events": []}
INVENTED = {
    "events": [
        {"seq": 3, "at_ms": 3, "what": "calibrated", "detail": ENTRY},
        {"seq": 2, "at_ms": 2, "what": "visit", "detail": VISIT},
        {"seq": 1, "at_ms": 1, "what": "note", "detail": {"text": EVIL, "why": EVIL, EVIL: EVIL}},
    ],
    "gaps": [{"seq": 1, "at_ms": 1, "from_ms": 1, "to_ms": 2, "sensor": EVIL, "why": EVIL, "slots": 3}],
    "maintenance": [{"sensor": EVIL, "by": EVIL, "why": EVIL, "until_ms": 9}],
    "sums": {EVIL: {"expected": 3, "taken": 2, "flagged": 0, "missed": {EVIL: 1}, "withheld": {EVIL: 4}}},
    "session": {"sensor": EVIL, "by": EVIL, "step": EVIL},
}  # fmt: skip


def poisoned(said: Any, key: str = "") -> Any:
    if key in INVENTED and not said:
        return INVENTED[key]
    if isinstance(said, dict):
        return {k: poisoned(v, k) for k, v in said.items()}
    if isinstance(said, list):
        return [poisoned(v, key) for v in said]
    return EVIL if key == "trouble" or (isinstance(said, str) and key not in NEEDED) else said


def answer(route: Route) -> None:
    said = route.fetch()
    route.fulfill(response=said, json=poisoned(said.json()))


def page(route: Route) -> None:
    """The page itself: its first values poisoned, as the station would write them."""
    said = route.fetch()
    before, block, behind = re.split(
        r'(?<=id="first">)(.*?)(?=</script>)', said.text(), maxsplit=1, flags=re.S
    )
    first = json.loads(block)
    first["now"] = poisoned(first["now"])
    text = json.dumps(first).replace("<", "\\u003c")
    route.fulfill(response=said, body=before + text + behind)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationWithPage]:
    with station_with_page(tmp_path_factory.mktemp("hostile")) as found:
        text = found.file.read_text(encoding="utf-8")
        name = "</script><script>window.hacked=1</script>"
        found.file.write_text(text.replace("below the tailings dam (emulated)", name), encoding="utf-8")
        found.start()
        yield found


@pytest.fixture(scope="module")
def watched(place: StationWithPage) -> Iterator[Watched]:
    with browsing.chromium() as browser, browsing.watched(browser, place, size=(390, 780)) as found:
        found.sign_in()
        yield found


def test_what_the_owner_wrote_cannot_end_the_block_of_first_values(watched: Watched) -> None:
    watched.open("now")
    expect(watched.page.locator("h1")).to_contain_text("</script><script>window.hacked=1", timeout=WITHIN_MS)
    watched.is_well()


def test_hostile_answers_of_the_station_are_text(watched: Watched) -> None:
    shown = watched.page
    shown.route(re.compile(r"/api/(?!session|stream|openapi|history|login)"), answer)
    shown.route(f"{watched.place.url}/", page)
    for view in VIEWS:
        shown.goto("about:blank")
        shown.goto(f"{watched.place.url}/#/{view}")
        expect(shown.locator(f"main.view-{view}")).to_contain_text("<img", timeout=WITHIN_MS)
        for summary in shown.locator("main summary").all()[:3]:
            summary.click()
        assert shown.locator("main img, header img, nav img").count() == 0, view
    assert shown.evaluate("window.hacked") is None
    assert watched.abroad == []
