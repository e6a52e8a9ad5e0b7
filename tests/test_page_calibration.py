"""A calibration on the page, in a real browser: an EZO-pH by a finger and a Y532 by the keyboard alone, both
worn, three bottles each.

What the page shows is held against the station's journal, and against what the emulated electrode must say
after it was adjusted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from drivers.emulators.atlas import Atlas
from drivers.emulators.modbus_models import Y532
from drivers.emulators.station import EmulatedStation
from gateway.calibration_entry import sha256
from tests import browsing
from tests.browsing import WITHIN_MS, Watched
from tests.pages import PASSWORD, StationWithPage, free_port

QUICK = '[sensor.calibration]\nstable = { within = 0.05, over = "1 s" }\nevery = "30 d"\n'
BRISK = "const slow = setTimeout; setTimeout = (f, ms, ...rest) => slow(f, ms > 5000 ? ms : ms / 6, ...rest);"
"""The page looks at the instrument six times a second, not once: what it waits for stays the same."""
Bottle = Callable[[float | None], None]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationWithPage]:
    folder = tmp_path_factory.mktemp("calibration")
    patch = pytest.MonkeyPatch()
    patch.setattr("drivers.emulators.atlas.READ_S", 0.1)  # the real one takes 0.9 s
    patch.setattr("drivers.emulators.atlas.COMMAND_S", 0.05)
    outside = EmulatedStation(folder / "ports", story="calm", also=("ezo",))
    port = free_port()
    with outside.in_thread():
        (folder / "secrets").mkdir()
        secret = folder / "secrets" / "web.password"
        secret.write_text(PASSWORD + "\n", encoding="utf-8")
        secret.chmod(0o600)
        toml = outside.station_toml(data=folder / "data", listen=f"127.0.0.1:{port}", language="en")
        toml = toml.replace(
            f'"127.0.0.1:{port}"', f'"127.0.0.1:{port}"\npassword = {{ file = "web.password" }}'
        )
        parts = toml.split("\n\n")
        toml = "\n\n".join(
            part + "\n" + QUICK if 'id = "ph1"' in part or 'id = "ph2"' in part else part for part in parts
        )
        found = StationWithPage(folder, outside, toml, port)
        try:
            found.start()
            yield found
        finally:
            if found.process is not None:
                found.process.kill()
                found.process.wait(10)
            patch.undo()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def cookies() -> dict[str, Any]:
    """Of whoever signed in: the station lets five try in a minute."""
    return {}


@pytest.fixture
def sign_in(
    browser: Browser, place: StationWithPage, cookies: dict[str, Any]
) -> Iterator[Callable[[str], Page]]:
    contexts = []

    def open_(name: str) -> Page:
        context = browser.new_context(
            viewport={"width": 320, "height": 780}, locale="en", storage_state=cookies.get(name)
        )
        contexts.append(context)
        context.add_init_script(BRISK)
        page = context.new_page()
        if name not in cookies:
            Watched(page, place).sign_in(name)
            cookies[name] = context.storage_state()
        page.set_default_timeout(WITHIN_MS)
        page.goto(f"{place.url}/#/calibrate")
        return page

    yield open_
    for context in contexts:
        context.close()


class Finger:
    """Touches what it wants."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def press(self, what: Locator) -> None:
        what.click()

    def write(self, where: Locator, text: str) -> None:
        where.fill(text)

    def choose(self, where: Locator, option: str) -> None:
        where.select_option(option)


class Keys(Finger):
    """Has no pointer: goes with Tab to what it wants, and knows where it is only by the focus."""

    def press(self, what: Locator) -> None:
        self._reach(what)
        self.page.keyboard.press("Enter")

    def write(self, where: Locator, text: str) -> None:
        self._reach(where)
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)

    def choose(self, where: Locator, option: str) -> None:
        self._reach(where)
        self.page.keyboard.type(option)
        expect(where).to_have_value(option)

    def _reach(self, what: Locator) -> None:
        expect(what).to_be_visible(timeout=WITHIN_MS)
        for _ in range(60):
            if what.evaluate("e => e === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"not reached with Tab: {what}")


def is_accessible(page: Page, place: StationWithPage) -> None:
    """No violation, and nothing wider than the phone."""
    Watched(page, place).is_accessible()


def begin(hand: Finger, sensor: str, *nominals: float) -> None:
    page = hand.page
    hand.choose(page.locator("select[name=sensor]"), sensor)
    rows = page.locator(".bottles fieldset")
    while rows.count() > len(nominals):
        hand.press(rows.last.get_by_role("button", name="Remove"))
    for i, nominal in enumerate(nominals):
        row = rows.nth(i)
        hand.write(row.locator("[name=nominal]"), f"{nominal:g}")
        hand.write(row.locator("[name=lot]"), f"LOT-{nominal:g}")
        hand.write(row.locator("[name=expires]"), "2999-12")
    hand.press(page.get_by_role("button", name="Begin", exact=True))
    expect(page.locator("[data-step=found]")).to_be_visible(timeout=WITHIN_MS)


def take(hand: Finger) -> None:
    """Wait for "stable" and take it; comes back when the next step stands there."""
    wizard = hand.page.locator(".wizard")
    expect(wizard.locator(".settle")).to_have_attribute("data-stable", "true", timeout=WITHIN_MS)
    left = wizard.locator(".state").inner_text()
    hand.press(wizard.locator("form button.main"))
    expect(wizard.locator(".state")).not_to_have_text(left, timeout=WITHIN_MS)


def walk(hand: Finger, bottle: Bottle) -> None:
    """From "found" to the end, adjusting."""
    page = hand.page
    wizard = page.locator(".wizard")
    while (step := wizard.get_attribute("data-step")) != "finish":
        if step == "decide":
            hand.press(wizard.get_by_role("button", name="Adjust"))
            expect(page.locator("[data-step=adjust]")).to_be_visible(timeout=WITHIN_MS)
            continue
        standard = wizard.get_attribute("data-standard")
        bottle(float(standard) if standard else None)
        if step in ("check", "left"):
            hand.write(page.locator("input[name=temperature_degc]"), "25")
        take(hand)
    bottle(None)


def reading(client: Any, sensor: str) -> float | None:
    [row] = [s for s in client.get("/api/now").json["sensors"] if s["id"] == sensor]
    return next((v["value"] for v in row["values"] if v["quantity"] == "ph"), None)


@pytest.mark.parametrize(
    ("sensor", "kind", "nominals", "by"),
    [("ph2", Atlas, (4.0, 7.0, 10.01), Finger), ("ph1", Y532, (4.0, 6.86, 9.18), Keys)],
)
def test_three_bottles_on_the_page(
    place: StationWithPage,
    sign_in: Callable[[str], Page],
    sensor: str,
    kind: type,
    nominals: tuple[float, ...],
    by: type[Finger],
) -> None:
    probe: Any = place.outside.instruments[sensor]
    assert isinstance(probe, kind)
    truth = 7.5

    def bottle(ph: float | None) -> None:
        into = truth if ph is None else ph
        probe.bath = into if kind is Atlas else {"ph": into}

    client = place.client()
    bottle(None)
    good = place.until(lambda: (v := reading(client, sensor)) is not None and abs(v - truth) < 0.1 and v)
    probe.wear.offset += 0.4
    place.until(lambda: (v := reading(client, sensor)) is not None and v - good > 0.3)
    page = sign_in("Aibek")
    hand = by(page)
    expect(page.locator("select[name=sensor]")).to_be_visible(timeout=WITHIN_MS)
    is_accessible(page, place)
    begin(hand, sensor, *nominals)
    is_accessible(page, place)
    expect(page.locator("#work .banner")).to_contain_text(sensor, timeout=WITHIN_MS)
    take(hand)
    page.reload()  # the step is the station's
    expect(page.locator("[data-step=cleaned]")).to_be_visible(timeout=WITHIN_MS)
    take(hand)
    walk(hand, bottle)
    expect(page.locator(".wizard .note.good")).to_have_text("Calibrated, good")
    hand.write(page.locator("input[name=note]"), "on the page")
    hand.press(page.get_by_role("button", name="Write it into the ledger"))
    card = page.locator("[role=status] .entry")
    expect(card).to_have_attribute("data-verdict", "passed", timeout=WITHIN_MS)
    is_accessible(page, place)
    expect(card).to_contain_text("LOT-4")
    expect(card).to_contain_text(re.compile(r"Slope\s*\d+\.\d %"))

    entry = client.get("/api/events?what=calibrated&limit=1").json["events"][0]["detail"]
    assert (entry["sensor"], entry["by"], entry["verdict"]) == (sensor, "Aibek", "passed")
    assert entry["note"] == "on the page"
    assert [p["lot"] for p in entry["points"]] == [f"LOT-{n:g}" for n in nominals]
    assert entry["sha256"] == sha256(entry)
    expect(card).to_contain_text(entry["sha256"])
    place.until(lambda: (v := reading(client, sensor)) is not None and abs(v - truth) < 0.1)
    expect(page.locator("#work .banner")).to_have_count(0, timeout=WITHIN_MS)


def test_a_second_technician_is_told_who_is_at_it(
    place: StationWithPage, sign_in: Callable[[str], Page]
) -> None:
    probe: Any = place.outside.instruments["ph2"]
    probe.bath = 7.0
    first, second = sign_in("Aibek"), sign_in("Nurgul")
    expect(second.locator("select[name=sensor]")).to_be_visible(timeout=WITHIN_MS)
    begin(Finger(first), "ph2", 7.0)
    second.get_by_role("button", name="Begin", exact=True).click()
    expect(second.locator("main [role=alert]")).to_contain_text("Aibek is calibrating ph2", timeout=WITHIN_MS)
    second.reload()
    expect(second.locator("main")).to_contain_text("Please wait until it is finished", timeout=WITHIN_MS)
    cookies = "; ".join(f"{c['name']}={c['value']}" for c in second.context.cookies())
    told = place.client().get("/api/visit", Cookie=cookies).json
    assert (told["mine"], set(told["session"])) == (False, {"sensor", "by", "step"})  # no key to it
    first.get_by_role("button", name="Cancel").click()
    first.get_by_role("button", name="Really cancel?").click()
    expect(first.locator("[role=status] .entry")).to_have_attribute(
        "data-verdict", "failed", timeout=WITHIN_MS
    )
    assert place.client().get("/api/visit").json["session"] is None


def test_maintenance_begins_is_told_everywhere_and_ends(
    place: StationWithPage, sign_in: Callable[[str], Page]
) -> None:
    page = sign_in("Nurgul")
    page.goto(f"{place.url}/#/visits")
    page.select_option("select[name=sensor]", "turb1")
    page.fill("input[name=minutes]", "45")
    page.fill("input[name=why]", "new brush")
    page.get_by_role("button", name="Begin", exact=True).click()
    work = page.locator("[data-work=turb1]")
    expect(work).to_contain_text("new brush", timeout=WITHIN_MS)
    is_accessible(page, place)
    page.goto(f"{place.url}/#/now")
    expect(page.locator("#work .banner")).to_contain_text("turb1, by Nurgul", timeout=WITHIN_MS)
    [standing] = place.client().get("/api/visit").json["maintenance"]
    assert 44 * 60 < standing["left_s"] <= 45 * 60
    page.goto(f"{place.url}/#/visits")
    work.get_by_role("button", name="End it").click()
    expect(work).to_have_count(0, timeout=WITHIN_MS)
    expect(page.locator("article.visit").first).to_contain_text("new brush", timeout=WITHIN_MS)
    expect(page.locator("#work .banner")).to_have_count(0, timeout=WITHIN_MS)


def test_the_doctor_examines_on_the_page(place: StationWithPage, sign_in: Callable[[str], Page]) -> None:
    page = sign_in("Nurgul")
    page.goto(f"{place.url}/#/doctor")
    page.get_by_role("button", name="Examine the station").click()
    expect(page.locator("main > [role=status]")).to_contain_text(re.compile(r"\d+ good"), timeout=90_000)
    levels = page.locator(".finding").evaluate_all("all => all.map(e => e.dataset.level)")
    assert {"ok"} <= set(levels) <= {"ok", "warning", "failure"}
    assert levels == sorted(levels, key=["failure", "warning", "ok"].index)
    is_accessible(page, place)
    expect(page.locator(".finding", has_text="Clock")).not_to_have_count(0)
