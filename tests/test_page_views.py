"""What stands in each of the technician's views, in a real browser: of a station with thirty days behind it
whose database does not answer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests import browsing
from tests.browsing import WITHIN_MS, Watched
from tests.lived_in import lived
from tests.pages import StationWithPage, free_port, station_with_page

NOBODY = '\n[influxdb]\nurl = "http://127.0.0.1:{port}"\nversion = 1\ndatabase = "suuaba"\n'
PATHS = {
    "waiting": 2,
    "state": "alive",
    "modem": {"state": "ready", "signal_dbm": -77, "operator": "BEELINE KG"},
    "second": {"state": "not registered", "why": "searching", "signal_dbm": -109},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationWithPage]:
    folder = tmp_path_factory.mktemp("views")
    lived(folder / "data", round(time.time() * 1000) - 5000, every_ms=3_600_000)
    with station_with_page(folder, more=NOBODY.format(port=free_port())) as found:
        found.start()
        yield found


@pytest.fixture(scope="module")
def technician(place: StationWithPage) -> Iterator[Watched]:
    with browsing.chromium() as browser, browsing.watched(browser, place, size=(390, 780)) as found:
        found.sign_in()
        yield found


def fact(where: Locator, name: str) -> Locator:
    """What stands under a name in a list of facts."""
    return where.locator(".facts > div").filter(has=where.page.get_by_text(name, exact=True)).locator("dd")


def test_now_says_the_value_its_unit_its_quality_its_age_and_the_limit(technician: Watched) -> None:
    technician.open("now")
    card = technician.page.locator("[data-sensor=turb1]")
    expect(card.locator(".big .number")).to_have_text(re.compile(r"^\d+\.\d$"))
    expect(card.locator(".big .unit")).to_have_text("NTU")
    expect(card.locator(".quality").first).to_have_text("Valid")
    expect(card.locator("> .age")).to_have_text(re.compile(r"^\d s ago$"))
    expect(card.locator(".limit").first).to_have_text(
        re.compile(r"^Limit 50 NTU · [\d.]+ NTU (to go|beyond it)$")
    )
    expect(card.get_by_role("meter")).to_have_attribute("aria-valuetext", re.compile("Limit 50 NTU"))
    card.locator(".trend a").click()
    expect(technician.page.locator("main.view-charts .chart")).to_be_visible(timeout=WITHIN_MS)
    technician.is_well()


def test_details_are_unfolded_and_live(technician: Watched) -> None:
    technician.open("now")
    card = technician.page.locator("[data-sensor=dust2]")
    card.locator("summary").click()
    number = card.locator("details .number").first
    expect(number).not_to_be_empty()
    before = number.inner_text()
    expect(number).not_to_have_text(before, timeout=WITHIN_MS)


def test_an_instrument_says_how_it_is_and_who(technician: Watched) -> None:
    technician.open("instruments")
    card = technician.page.locator("[data-sensor=ph1]")
    expect(card.locator(".state").first).to_have_text("Answers", timeout=WITHIN_MS)
    expect(fact(card, "Time on the wire")).to_have_text(re.compile(r"^\d+ ms$"))
    expect(fact(card, "Serial number")).to_have_text(re.compile("^YL"))
    expect(fact(card, "Failed")).to_have_text(re.compile(r"^\d+$"))
    expect(fact(card, "Taken")).to_have_text(re.compile(r"^\d+ / \d+ \([\d.]+ %\)$"))
    expect(fact(card, "Address")).to_have_text("1")
    card.locator("summary").click()
    expect(card.locator("pre")).to_contain_text(re.compile("^(01 03|01 04)"))
    expect(card.locator("tbody tr").filter(has_text="pH")).to_contain_text("Valid")
    other = technician.page.locator("[data-sensor=dust2]")
    expect(fact(other, "Cleans itself every")).to_have_text("7 d")


def test_a_sink_that_is_not_reached_says_so_and_what_waits(technician: Watched) -> None:
    technician.open("sinks")
    card = technician.page.locator("main article").filter(has_text="influxdb")
    expect(card.locator(".state")).to_have_text("Not reachable", timeout=60_000)
    expect(fact(card, "Waiting")).to_have_text(re.compile(r"^[1-9]"))
    expect(fact(card, "Error")).not_to_be_empty()
    expect(technician.page.locator("main")).to_contain_text("Free on the disk")


def test_gaps_say_what_was_missed_and_what_was_kept_back(technician: Watched) -> None:
    technician.open("gaps")
    turbidity = technician.page.locator("[data-sensor=turb1]")
    expect(turbidity.locator(".state")).to_have_text("85.7 %", timeout=WITHIN_MS)
    expect(fact(turbidity, "Missed")).to_have_text("dead: 43,200, no answer: 4")
    expect(fact(turbidity, "Kept back (budget)")).to_have_text("mqtt: 357")
    expect(technician.page.locator("main .log")).to_contain_text("power off")
    technician.is_accessible("gaps with sums")


def test_the_log_is_in_words(technician: Watched) -> None:
    technician.open("log")
    log = technician.page.locator("main .log")
    expect(log).to_contain_text("turb1 turbidity-high Normal → ALARM", timeout=WITHIN_MS)
    expect(log).to_contain_text("Visit")
    expect(log).not_to_contain_text("Hour's sum")
    technician.page.locator("main select").select_option("sums")
    expect(log).to_contain_text("Hour's sum", timeout=WITHIN_MS)
    expect(log).to_contain_text("kept back: mqtt 357")


def test_each_modem_says_how_it_is(technician: Watched) -> None:
    page = technician.page
    page.route("**/api/sms", lambda route: route.fulfill(json={"sms": PATHS}))
    technician.open("sms")
    second = page.locator("[data-modem=second]")
    expect(second).to_contain_text("Second modem", timeout=WITHIN_MS)
    expect(second.locator(".state")).to_have_text("Not in the network")
    expect(second).to_contain_text("searching")
    expect(fact(second, "Signal")).to_have_text("-109 dBm")
    expect(page.locator("[data-modem=modem] .state")).to_have_text("Ready")
    technician.is_accessible("two modems")
    page.unroute("**/api/sms")


def test_the_clock_says_who_vouches_for_it(technician: Watched) -> None:
    technician.open("clock")
    main = technician.page.locator("main")
    expect(main).to_contain_text("The time is right", timeout=WITHIN_MS)
    expect(fact(main, "Who says so")).to_have_text("The owner")
    expect(fact(main, "Your own clock")).to_have_text("agrees")
    expect(fact(main, "Time zone")).to_have_text("Asia/Bishkek")


def test_everybody_sees_what_happened_and_what_it_means(technician: Watched) -> None:
    technician.open("public")
    main = technician.page.locator("main")
    expect(main).to_contain_text("How muddy the water is.", timeout=WITHIN_MS)
    expect(main.locator(".log")).to_contain_text("Turbidity: the limit was passed", timeout=WITHIN_MS)
    expect(main.locator(".log")).to_contain_text("ph1: was checked and calibrated")
    expect(main.locator(".log")).to_contain_text("Technicians were at the station")
    expect(main.locator("svg.spark")).to_have_count(4)


def test_the_menu_on_a_phone_is_opened_walked_and_left_by_keys(technician: Watched) -> None:
    technician.open("now")
    page = technician.page
    more = page.locator("#more")
    expect(page.locator("#all")).to_be_hidden()
    more.focus()
    page.keyboard.press("Enter")
    expect(more).to_have_attribute("aria-expanded", "true")
    technician.is_accessible("the menu")
    assert page.evaluate("document.activeElement.hash") == "#/instruments"
    page.keyboard.press("Escape")
    expect(page.locator("#all")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "more"
    page.keyboard.press("Enter")
    page.locator("#all").get_by_role("link", name="About").click()
    expect(page.locator("main.view-about")).to_contain_text("uPlot", timeout=WITHIN_MS)
    expect(page.locator("#all")).to_be_hidden()


def test_the_chosen_light_is_kept(technician: Watched) -> None:
    technician.open("now")
    page = technician.page
    ground = "getComputedStyle(document.body).backgroundColor"
    day: Any = page.evaluate(ground)
    button = page.locator("#theme")
    for name in ("Day", "Night"):
        button.click()
        expect(button).to_have_attribute("aria-label", f"Light: {name}")
    assert page.evaluate(ground) != day
    page.reload()
    expect(page.locator("#theme")).to_have_attribute("aria-label", "Light: Night", timeout=WITHIN_MS)
    technician.is_accessible("by night")
    page.locator("#theme").click()
    assert page.evaluate(ground) == day
