"""The steps of a guided calibration, its verdict and its entry: without an instrument."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.calibrates import Calibrates
from gateway.calibration_entry import sha256
from gateway.calibration_points import Plan, StepRefused, Write
from gateway.calibration_session import Session
from gateway.calibration_standards import Stable

NOW_MS = 1_795_000_000_000  # 2026-11-18
DAY_MS = 86_400_000
QUICK = Stable(0.02, 2.0)
EZO = Calibrates("ph", least=1, most=3, first=7.0)
Y532 = Calibrates("ph", standards=(4.0, 6.86, 9.18), least=3, most=3)


def session(calibrates: Calibrates | None = None, *nominals: float, **plan: Any) -> Session:
    about: dict[str, Any] = {"number": 4, "calibrates": calibrates, "stable": QUICK} | plan
    standards = [{"nominal": n} for n in nominals or (4.0, 7.0)]
    return Session(Plan("ph1", "y532", "ph", "pH", **about), standards, by="Aibek", began_ms=NOW_MS)


def see(one: Session, value: float, raw: float | None = None, degc: float | None = 25.0) -> None:
    for t in range(4):
        one.see(value if raw is None else raw, value, float(t), degc)


def take(one: Session, value: float, raw: float | None = None, **given: Any) -> Write | None:
    see(one, value, raw)
    return one.take(given)


def through(one: Session, readings: dict[float, float]) -> None:
    """Up to the decision."""
    one.skip()
    one.skip()
    for point in one.points:
        take(one, readings[point.nominal])


def test_the_middle_point_goes_first_and_every_point_is_looked_at_again() -> None:
    one = session(EZO, 10.01, 4.0, 7.0)
    through(one, {4.0: 4.3, 7.0: 7.3, 10.01: 10.3})
    assert one.state()["advice"] == "adjust"
    one.take({"adjust": True})
    order = []
    for said in ({"points": "mid"}, {"slope_acid_percent": "98.0"}, {"slope_acid_percent": "98.0"}):
        write = take(one, 7.0, confirm=True)
        assert write is not None
        order.append((write.nominal, write.value))
        one.wrote(said | {"slope_base_percent": "99.0", "offset_mv": "-3.0"})
        point = one.point
        assert one.step == "left"
        assert point is not None
        take(one, point.value + 0.01)
    assert order == [(7.0, 7.0), (4.0, 4.0), (10.01, 10.01)]
    entry, versions = one.finish(NOW_MS + 5)
    assert (entry["verdict"], entry["slope_percent"], entry["offset_mv"]) == ("passed", 98.0, -3.0)
    assert (entry["number"], versions) == (5, []), "no earlier visit, kept in the instrument"
    assert entry["sha256"] == sha256(entry)
    assert sha256(entry | {"by": "Nurgul"}) != entry["sha256"]


def test_all_three_before_it_counts_and_then_one_look() -> None:
    one = session(Y532, 4.0, 6.86, 9.18)
    through(one, {4.0: 4.1, 6.86: 6.9, 9.18: 9.2})
    one.take({"adjust": True})
    steps = []
    while one.step == "adjust":
        steps.append(one.point.nominal if one.point else 0)
        take(one, 7.0, confirm=True)
        one.wrote({})
    assert steps == [4.0, 6.86, 9.18]
    assert one.step == "left"
    take(one, 9.18)
    assert one.verdict() == ("passed", [])


@pytest.mark.parametrize(
    ("say", "given", "value", "key"),
    [
        ("settling", {}, None, "unstable"),
        ("another bottle", {}, 4.1, "wrong_bottle"),
        ("too old", {"expires": "2026-10"}, 7.0, "expired"),
        ("no number", {"temperature_degc": "cold"}, 7.0, "number"),
        ("a novel", {"lot": "x" * 201}, 7.0, "text"),
    ],
)
def test_a_step_is_refused_and_nothing_changes(
    say: str, given: dict[str, Any], value: float | None, key: str
) -> None:
    one = session(None, 7.0)
    one.skip()
    one.skip()
    if value is None:
        for t in range(6):
            one.see(7.5 - 0.1 * t, 7.5 - 0.1 * t, float(t))
    else:
        see(one, value)
    with pytest.raises(StepRefused) as e:
        one.take(given)
    assert e.value.key == key
    assert one.step == "check"
    assert one.points[0].found is None
    assert one.take({"anyway": True} if key in ("unstable", "wrong_bottle") else {}) is None


def test_what_was_taken_nevertheless_does_not_pass() -> None:
    one = session(None, 7.0)
    one.skip()
    one.skip()
    see(one, 7.1)
    one.take({"expires": "2026-10", "anyway": True})
    one.take({"adjust": False})
    verdict, [reason] = one.verdict()
    assert (verdict, reason) == ("failed", "the standard 7 was good until 2026-10")


def test_a_write_needs_a_confirmation_and_a_failed_one_stands() -> None:
    one = session(EZO, 7.0)
    through(one, {7.0: 7.3})
    one.take({"adjust": True})
    see(one, 7.3)
    with pytest.raises(StepRefused, match="confirm"):
        one.take({})
    assert one.take({"confirm": True}) == Write(7.0, 7.0)
    one.not_written("the circuit refuses Cal,mid,7.00")
    state = one.state()
    assert (state["step"], state["problem"]) == ("adjust", "the circuit refuses Cal,mid,7.00")
    with pytest.raises(StepRefused):
        one.skip()
    verdict, reasons = one.verdict()
    assert verdict == "failed"
    assert "broken off after something was written into the instrument" in reasons


def test_the_station_keeps_it_and_history_is_corrected() -> None:
    one = session(None, 4.0, 7.0, last_visit_ms=NOW_MS - 10 * DAY_MS, every_ms=30 * DAY_MS)
    take(one, 6.8, side=7.0)
    take(one, 7.0, side=7.05)
    take(one, 4.2, raw=4.4)
    take(one, 7.1, raw=7.4)
    one.take({"adjust": True})
    entry, (past, live) = one.finish(NOW_MS + 60_000, photo="a.jpg")
    assert entry["verdict"] == "passed", entry["reasons"]
    assert entry["fouling"] == pytest.approx(0.15)
    assert (past.kind, past.number, past.from_ms, past.to_ms) == ("drift", 5, NOW_MS - 10 * DAY_MS, NOW_MS)
    assert [y for _, y in past.points] == pytest.approx([-0.2, -0.1]), "of the values, not of the raw numbers"
    assert (live.kind, live.number, live.from_ms) == ("linear", 6, NOW_MS + 60_000)
    assert live.slope * 4.4 + live.offset == pytest.approx(4.0)
    assert live.slope * 7.4 + live.offset == pytest.approx(7.0)
    assert (entry["number"], entry["versions"]) == (7, [5, 6])
    assert entry["next_due_ms"] == NOW_MS + 60_000 + 30 * DAY_MS


@pytest.mark.parametrize(
    ("readings", "spread", "words"),
    [
        ({4.0: 6.3, 7.0: 9.2}, True, "more than may be corrected"),
        ({4.0: 4.3, 7.0: 7.3}, False, "as the technician says"),
    ],
)
def test_history_that_is_not_corrected(readings: dict[float, float], *, spread: bool, words: str) -> None:
    one = session(None, 4.0, 7.0, last_visit_ms=NOW_MS - DAY_MS)
    one.skip()
    one.skip()
    for point in one.points:
        take(one, readings[point.nominal], anyway=True)
    one.take({"adjust": False})
    entry, versions = one.finish(NOW_MS, spread=spread)
    assert versions == []
    assert words in entry["history"]


def test_a_bad_slope_fails_and_makes_no_live_correction() -> None:
    one = session(None, 4.0, 7.0)
    through(one, {4.0: 4.8, 7.0: 7.1})
    one.take({"adjust": True})
    entry, versions = one.finish(NOW_MS)
    assert entry["verdict"] == "failed"
    assert "slope 76.7 %" in entry["reasons"][0]
    assert versions == []


def test_an_instrument_that_was_calibrated_is_no_longer_corrected_here() -> None:
    one = session(EZO, 7.0, corrected_here=True)
    through(one, {7.0: 7.05})
    one.take({"adjust": True})
    take(one, 7.05, confirm=True)
    one.wrote({})
    take(one, 7.0)
    _, [none] = one.finish(NOW_MS)
    assert (none.kind, none.number) == ("none", 5)


@pytest.mark.parametrize(
    ("standards", "by"),
    [
        ([], "A"),
        ([{"nominal": 7.0}] * 2, "A"),
        ([{}], "A"),
        ([{"nominal": True}], "A"),
        ([{"nominal": 7.0}], " "),
    ],
)
def test_what_cannot_begin(standards: list[dict[str, Any]], by: str) -> None:
    with pytest.raises(StepRefused):
        Session(Plan("ph1", "x", "ph", "pH"), standards, by=by, began_ms=NOW_MS)


def test_no_standards_no_verdict() -> None:
    assert session().verdict() == ("failed", ["no standard was measured", "broken off"])
