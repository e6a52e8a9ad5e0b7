"""Corrections as versions: formulas, history, what the station remembers of them, standards."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import calibration
from gateway.calibration import (
    BadPoints,
    Version,
    back_distributed,
    corrected,
    corrected_reading,
    drift_at,
    fit,
    fouling,
    make_correct,
    simple,
)
from gateway.calibration_fold import CalibrationFold, Wants
from gateway.calibration_setup import correction
from gateway.calibration_standards import Stable, buffer_ph, electrode, judge, keeps, standard_value
from gateway.model import Event, Reading, Record, Stamp, Value

DAY_MS = 86_400_000


def at(utc_ms: int, *, boot: str = "a", synced: bool = True) -> Stamp:
    return Stamp(utc_ms, boot, utc_ms, synced)


def reading(
    raw: float, t_ms: int, value: float | None = None, number: int = 0, quantity: str = "ph"
) -> Reading:
    v = Value(raw, raw if value is None else value, "pH", 1)
    return Reading("ph1", "y532", "water", at(t_ms), {"ph": v}, number)


# ── standards ───────────────────────────────────────────────────────────────────────────────────────────────

JIS = {  # JIS Z 8802 as printed by HORIBA, "The basis of pH": phthalate, neutral phosphate, borate
    0: (4.01, 6.98, 9.46), 5: (4.01, 6.95, 9.39), 10: (4.00, 6.92, 9.33), 15: (4.00, 6.90, 9.27),
    20: (4.00, 6.88, 9.22), 25: (4.01, 6.86, 9.18), 30: (4.01, 6.85, 9.14), 35: (4.02, 6.84, 9.10),
    40: (4.03, 6.84, 9.07), 50: (4.06, 6.83, 9.01),
}  # fmt: skip


@pytest.mark.parametrize("degc", sorted(JIS))
def test_the_standard_buffers_are_those_of_another_table(degc: int) -> None:
    for nominal, printed in zip((4.01, 6.86, 9.18), JIS[degc], strict=True):
        found = buffer_ph(nominal, degc)
        assert found is not None
        assert abs(found - printed) <= 0.0151, (nominal, degc, found)


@pytest.mark.parametrize(
    ("nominal", "degc", "ph"),
    [(10.01, 10, 10.18), (10.01, 25, 10.01), (7.00, 5, 7.09), (7.00, 20, 7.02), (4.00, 40, 4.03),
     (7.00, 12.5, 7.05), (9.18, 12.5, 9.304), (6.86, 25, 6.865), (4.01, 25, 4.005)],
)  # fmt: skip
def test_a_buffer_at_its_temperature(nominal: float, degc: float, ph: float) -> None:
    assert buffer_ph(nominal, degc) == pytest.approx(ph, abs=1e-9)


@pytest.mark.parametrize(("nominal", "degc"), [(5.5, 20), (7.0, -1), (7.0, 51), (7.0, math.nan)])
def test_a_bottle_without_a_table_is_worth_what_is_printed_on_it(nominal: float, degc: float) -> None:
    assert buffer_ph(nominal, degc) is None
    assert standard_value("ph", nominal, degc) == (nominal, "as printed on the bottle")
    assert standard_value("turbidity", 100.0, 20.0)[0] == 100.0


def test_stable_is_what_stays_within_for_long_enough() -> None:
    criterion = Stable(0.02, 30.0)
    falling = [(t, 7.3 - 0.01 * min(t, 20)) for t in range(0, 25, 2)]
    assert judge(falling, criterion)[0] is False
    still = [(t, 7.10 + 0.005 * (t % 4 == 0)) for t in range(0, 32, 2)]
    assert judge(still, criterion)[0] is True
    assert judge([*still, (33, 7.13)], criterion)[0] is False
    assert judge(still[-10:], criterion)[0] is False, "18 s are not 30"
    assert judge([(0, 7.0), (40, 7.0)], criterion)[0] is False, "two readings are no stability"
    slow = [(0, 7.5), (40, 7.11), (80, 7.10), (120, 7.11)]
    assert judge(slow, criterion)[0] is True, "the last three of a slow one"
    assert judge(slow[:3], criterion)[0] is False
    assert judge([], criterion) == (False, math.inf, 0.0)


def test_an_electrodes_slope_and_offset() -> None:
    slope, offset = electrode([(4.01, 4.01), (7.00, 7.00)])
    assert slope == pytest.approx(100)
    assert offset == pytest.approx(0)
    slope, offset = electrode([(4.00, 4.40), (7.00, 7.10)])  # spans 2.7 of 3 pH, reads 0.1 high at 7
    assert slope == pytest.approx(90)
    assert offset == pytest.approx(-5.916)
    assert electrode([(7.0, 6.9)]) == (None, pytest.approx(5.916))
    assert electrode([]) == (None, None)


def test_what_may_stay_as_it_is() -> None:
    assert keeps("ph", 7.0, 7.19)
    assert not keeps("ph", 7.0, 7.21)
    assert keeps("conductivity", 1000, 1029)
    assert not keeps("conductivity", 1000, 1031)


# ── points ──────────────────────────────────────────────────────────────────────────────────────────────────


def applied(points: list[tuple[float, float]], raw: float, way: str = "") -> float:
    return simple(Version(1, "s", "ph", from_ms=0, **fit(points, way)), raw)  # type: ignore[arg-type]  # checked by the result


def test_one_point_shifts_two_points_turn_three_points_bend() -> None:
    assert applied([(7.10, 7.00)], 6.0) == pytest.approx(5.9)
    two = [(7.10, 7.00), (4.40, 4.00)]
    assert [applied(two, x) for x in (4.40, 7.10, 5.75)] == pytest.approx([4.00, 7.00, 5.5])
    three = [(4.2, 4.0), (7.1, 7.0), (9.8, 10.0)]
    got = [applied(three, x) for x in (4.2, 5.65, 7.1, 8.45, 9.8)]
    assert got == pytest.approx([4.0, 5.5, 7.0, 8.5, 10.0])
    assert applied(three, 3.2) == pytest.approx(4.0 - 3 / 2.9), "the outer line is prolonged"
    assert applied(three, 10.8) == pytest.approx(10 + 3 / 2.7)


def test_straight_lines_and_least_squares_are_numpys() -> None:
    points = [(0.4, 0.0), (21.0, 20.0), (97.0, 100.0), (812.0, 800.0)]
    x, y = zip(*points, strict=True)
    slope, offset = np.polyfit(x, y, 1)
    for raw in np.linspace(0.4, 812.0, 57):
        assert applied(points, float(raw)) == pytest.approx(float(np.interp(raw, x, y)))
        assert applied(points, float(raw), "least-squares") == pytest.approx(float(slope * raw + offset))


@pytest.mark.parametrize(
    "points",
    [[], [(7.0, 7.0), (7.0, 4.0)], [(7.0, 4.0), (4.0, 7.0)], [(7.0, 7.0), (8.0, 7.0)], [(math.nan, 7.0)]],
)
def test_points_that_cannot_be_are_refused(points: list[tuple[float, float]]) -> None:
    with pytest.raises(BadPoints):
        fit(points)


# ── fouling and drift over the interval ─────────────────────────────────────────────────────────────────────


def test_fouling_is_what_cleaning_changed_less_what_the_water_did() -> None:
    """TM 1-D3: (after - before) of the monitor, less (after - before) of the field meter."""
    assert fouling(7.0, 7.3, None, None) == pytest.approx(0.3)
    assert fouling(7.0, 7.3, 7.4, 7.5) == pytest.approx(0.2)
    assert fouling(500, 520, 510, 505) == pytest.approx(25)


def test_a_correction_grows_linearly_from_the_last_visit() -> None:
    """By hand: 0.20 of fouling, and 0.10 (in 4) to -0.05 (in 7) of drift, over 10 days."""
    v = back_distributed(
        "ph1", "ph", number=3, from_ms=0, to_ms=10 * DAY_MS, fouled=0.20, fouled_at=6.8,
        drifted=[(3.90, 4.00), (7.05, 7.00)], by="Aibek",
    )  # fmt: skip
    assert v is not None
    assert v.kind == "drift"
    assert not v.percent
    assert np.array(v.points) == pytest.approx(np.array([[3.90, 0.10], [7.05, -0.05]]))
    middle = 3.90 + 3.15 / 2
    for day, value, added in [
        (0, 7.05, 0.0), (5, 7.05, 0.5 * 0.15), (10, 7.05, 0.15), (10, 3.0, 0.30), (10, 9.0, 0.15),
        (2, middle, 0.2 * (0.20 + 0.025)), (12, 7.05, 0.15), (-1, 7.05, 0.0),
    ]:  # fmt: skip
        assert drift_at(v, value, day * DAY_MS) == pytest.approx(added, abs=1e-12), (day, value)


def test_a_quantity_whose_error_grows_with_it_is_corrected_in_percent() -> None:
    """TM 1-D3: 100 (standard - reading) / reading. 970 in 1000 is 3.0928 %; fouling 15 at 500 is 3 %."""
    v = back_distributed(
        "c1", "conductivity", number=1, from_ms=0, to_ms=10 * DAY_MS, fouled=15, fouled_at=500,
        drifted=[(970.0, 1000.0), (0.0, 0.0)],
    )  # fmt: skip
    assert v is not None
    assert v.percent
    assert v.fouling == pytest.approx(3.0)
    assert v.points[0] == pytest.approx((970.0, 3.0927835))
    assert drift_at(v, 200.0, 5 * DAY_MS) == pytest.approx(0.5 * 6.0927835 / 100 * 200)


def test_nothing_found_changes_no_history() -> None:
    assert back_distributed("a", "ph", number=1, from_ms=0, to_ms=9, drifted=[(7.0, 7.0)]) is None
    assert back_distributed("a", "ph", number=1, from_ms=9, to_ms=9, drifted=[(7.1, 7.0)]) is None
    assert back_distributed("a", "turbidity", number=1, from_ms=0, to_ms=9, drifted=[(0.0, 0.1)]) is None


def test_what_counts_now() -> None:
    shift = Version(1, "ph1", "ph", "offset", 100, offset=0.5)
    none = Version(2, "ph1", "ph", "none", 300)
    drift = Version(3, "ph1", "ph", "drift", 100, 300, fouling=0.2)
    better = Version(4, "ph1", "ph", "drift", 100, 300, fouling=0.4)
    late = Version(5, "ph1", "ph", "offset", 50, 100, offset=-1.0)
    other = Version(6, "ph2", "ph", "offset", 0, offset=9.0)
    everything = [other, better, late, drift, none, shift]
    assert corrected(reading(7.0, 20), "ph", everything) == (7.0, 0)
    assert corrected(reading(7.0, 60), "ph", everything) == (6.0, 5), "found out later, for that time only"
    assert corrected(reading(7.0, 200, 7.5, 1), "ph", [shift, drift]) == pytest.approx((7.6, 3))
    assert corrected(reading(7.0, 200, 7.5, 1), "ph", everything) == pytest.approx((7.7, 4)), "not both"
    assert corrected(reading(7.0, 400, 7.0, 2), "ph", everything) == (7.0, 2)
    assert corrected(reading(7.0, 200, 7.5, 3), "ph", [drift]) == (7.5, 3), "it has seen that one"
    newer = Version(7, "ph1", "ph", "offset", 40, offset=-0.5)
    assert corrected(reading(7.0, 120, 7.5, 1), "ph", [newer, none, late]) == (6.5, 7), "the latest number"
    later = Version(8, "ph1", "ph", "offset", 30, offset=-0.6)
    assert corrected(reading(7.0, 120, 7.5, 1), "ph", [newer, later]) == (6.4, 8)
    assert corrected(reading(7.0, 200, 9.9, 9), "ph", everything) == (9.9, 9), "it has seen them all"


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    raw=st.floats(0, 14), share=st.floats(0, 1), fouled=st.floats(-1, 1), offset=st.floats(-2, 2),
    drifted=st.lists(st.tuples(st.floats(0, 14), st.floats(-1, 1)), max_size=4, unique_by=lambda p: p[0]),
)  # fmt: skip
def test_raw_is_never_touched_and_the_ends_hold(
    raw: float, share: float, fouled: float, offset: float, drifted: list[tuple[float, float]]
) -> None:
    live = Version(1, "ph1", "ph", "offset", 0, offset=offset)
    points = tuple(sorted(drifted))
    drift = Version(2, "ph1", "ph", "drift", 1000, 2001, points=points, fouling=fouled)
    t_ms = 1000 + int(1000 * share)
    before = reading(raw, t_ms)
    after = corrected_reading(before, [drift, live])
    assert after.values["ph"].raw == raw == before.values["ph"].raw
    assert before.values["ph"].value == raw
    added = after.values["ph"].value - (raw + offset)
    most = abs(fouled) + max((abs(c) for _, c in drifted), default=0.0)
    assert abs(added) <= most * (t_ms - 1000) / 1001 + 1e-9
    assert corrected_reading(reading(raw, 2001, raw, 2), [drift, live]) == reading(raw, 2001, raw, 2)


# ── formulas ────────────────────────────────────────────────────────────────────────────────────────────────


def formula(name: str, raws: dict[str, float], beside: float | None) -> tuple[float, str]:
    kind, quantity = {
        "barkjohn-2021": ("humidity", "pm2_5"),
        "conductivity-25": ("temperature", "conductivity"),
        "nernst": ("temperature", "ph"),
    }[name]
    made = make_correct(Version(1, "s", quantity, kind, 0, formula=name))
    assert made is not None
    return made(raws, beside)


@pytest.mark.parametrize(
    ("name", "raws", "beside", "value", "wrong"),
    [
        ("barkjohn-2021", {"pm2_5": 40, "pm2_5_cf1": 50}, 60, 0.524 * 50 - 0.0862 * 60 + 5.75, ""),
        ("barkjohn-2021", {"pm2_5": 0, "pm2_5_cf1": 0}, 0, 5.75, ""),
        ("barkjohn-2021", {"pm2_5": 40, "pm2_5_cf1": 50}, None, 40, "no humidity"),
        ("barkjohn-2021", {"pm2_5": 400, "pm2_5_cf1": 600}, 60, 400, "outside"),
        ("barkjohn-2021", {"pm2_5": 40, "pm2_5_cf1": 50}, 120, 40, "outside"),
        ("conductivity-25", {"conductivity": 500}, 25, 500, ""),
        ("conductivity-25", {"conductivity": 356.75}, 10, 500, ""),  # 500 x (1 - 0.0191 x 15)
        ("conductivity-25", {"conductivity": 500}, None, 500, "no temperature"),
        ("nernst", {"ph": 4.0}, 25, 4.0, ""),
        ("nernst", {"ph": 4.2566}, 0, 4.0055, ""),  # 54.20 mV a pH at 0 degC
        ("nernst", {"ph": 7.0}, 3, 7.0, ""),
    ],
)
def test_formulas(name: str, raws: dict[str, float], beside: float | None, value: float, wrong: str) -> None:
    got, why = formula(name, raws, beside)
    assert got == pytest.approx(value, abs=1e-3)
    assert why.startswith(wrong)
    assert bool(why) == bool(wrong)


# ── the fold ────────────────────────────────────────────────────────────────────────────────────────────────


def fold(**wants: Wants) -> CalibrationFold:
    return CalibrationFold(wants or {"ph1": Wants()})


def put(memory: CalibrationFold, *events: Event, seq: int = 1) -> list[str]:
    return [e.what for i, event in enumerate(events) for e in memory.step(Record(seq + i, event))]  # type: ignore[union-attr]  # a fold of events


def test_a_correction_is_in_force_at_once_and_after_a_restart() -> None:
    one = fold()
    bus = one.live("ph1")
    assert bus.of == {}
    assert bus.number == 0
    put(one, correction(Version(1, "ph1", "ph", "linear", 0, slope=2.0, offset=1.0), at(5)))
    assert bus.of["ph"]({"ph": 3.0}, at(6)) == (7.0, "")
    assert bus.number == 1
    again = fold()
    kept = again.live("ph1")
    again.restore(one.save())
    assert kept.of["ph"]({"ph": 3.0}, at(6)) == (7.0, "")
    assert again.versions() == one.versions()
    put(again, correction(Version(2, "ph1", "ph", "none", 7), at(7)))
    assert kept.of == {}
    assert kept.number == 2


def test_a_drift_of_the_past_changes_nothing_now() -> None:
    one = fold()
    put(one, correction(Version(1, "ph1", "ph", "offset", 0, 5, offset=1.0), at(5)))
    assert one.live("ph1").of == {}, "it was for a time that is over"
    one = fold()
    put(one, correction(Version(1, "ph1", "ph", "drift", 0, 5, fouling=1.0), at(5)))
    assert one.live("ph1").of == {}
    assert one.live("ph1").number == 1
    assert [v.kind for v in one.versions()] == ["drift"]


def test_garbage_in_the_journal_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    one = fold()
    put(one, Event(at(1), "correction", {"sensor": "ph1", "kind": "linear", "slope": "steep"}))
    put(one, Event(at(1), "correction", {"sensor": 5}), Event(at(1), "calibrated", {}))
    assert one.versions() == []
    assert "cannot be understood" in caplog.text
    one.restore(b"{")
    assert "beginning anew" in caplog.text


def test_what_stands_beside_must_be_fresh_good_and_of_this_boot() -> None:
    one = CalibrationFold({"dust1": Wants()}, ["climate1"])
    v = Version(1, "dust1", "pm2_5", "humidity", 0, formula="barkjohn-2021", beside="climate1.humidity")
    put(one, correction(v, at(0)))
    raws = {"pm2_5": 40.0, "pm2_5_cf1": 50.0}
    correct = one.live("dust1").of["pm2_5"]
    assert correct(raws, at(10)) == (40.0, "no humidity for the correction")

    def humid(flag: int, t_ms: int) -> None:
        stands = {"humidity": Value(60.0, 60.0, "%", flag)}
        one.step(Record(9, Reading("climate1", "xy", "air", at(t_ms), stands)))

    humid(1, 10)
    assert correct(raws, at(20))[0] == pytest.approx(26.778)
    assert correct(raws, at(20 + calibration_age()))[1]
    assert correct(raws, at(20, boot="b"))[1]
    humid(4, 30)
    assert correct(raws, at(40))[1], "a bad humidity corrects nothing"


def calibration_age() -> int:
    from gateway.calibration_fold import BESIDE_WITHIN_MS

    return BESIDE_WITHIN_MS


def test_due_is_said_once_and_again_after_the_next_time() -> None:
    one = fold(ph1=Wants(every_ms=10 * DAY_MS), ph2=Wants())
    said = [e.what for e in one.tick(at(DAY_MS))]
    assert said == ["calibration_due", "station"], "never calibrated"
    assert list(one.tick(at(2 * DAY_MS))) == []
    done = {"sensor": "ph1", "number": 1, "verdict": "passed"}
    [well] = one.step(Record(5, Event(at(3 * DAY_MS), "calibrated", done)))
    assert isinstance(well, Event)
    assert (well.what, well.detail["part"], well.detail["works"]) == ("station", "calibration", True)
    assert list(one.tick(at(12 * DAY_MS))) == []
    again = fold(ph1=Wants(every_ms=10 * DAY_MS))
    again.restore(one.save())
    assert list(again.tick(at(14 * DAY_MS, synced=False))) == [], "a wrong clock calls nobody"
    due, ill = again.tick(at(14 * DAY_MS))
    assert isinstance(due, Event)
    assert isinstance(ill, Event)
    assert (ill.detail["works"], ill.detail["why"]) == (False, "ph1")
    assert due.detail["due_ms"] == 13 * DAY_MS
    put(again, Event(at(15 * DAY_MS), "calibrated", {"sensor": "ph1", "number": 2, "verdict": "failed"}))
    assert again.known("ph1").calibrated_ms == 3 * DAY_MS, "a failed one does not count"


def test_another_serial_number_and_a_worn_electrode_are_said_once() -> None:
    def is_there(serial: str = "", **more: str) -> Event:
        return Event(at(1), "identified", {"sensor": "ph1", "serial": serial, **more})

    one = fold()
    assert put(one, is_there("A"), is_there("A"), is_there(""), is_there("B"), is_there("B")) == [
        "sensor_changed",
        "station",
    ]
    worn = {"slope_acid_percent": "82.1", "slope_base_percent": "99"}
    fine = {"slope_acid_percent": "97.1", "slope_base_percent": "99"}
    assert put(one, is_there("B", **worn), is_there("B", **worn)) == ["slope_low"]
    assert put(one, is_there("B", **fine), is_there("B", **worn)) == ["slope_low"]
    assert one.known("ph1").wanting
    never = {"slope_acid_percent": "10", "calibrated": "never"}
    assert put(fold(), is_there("B", **never)) == []


def test_versions_survive_the_journals_json() -> None:
    version = Version(7, "ph1", "ph", "points", 5, 9, points=((4.0, 4.1), (7.0, 7.0)), by="Айбек")
    said = msgspec.json.decode(msgspec.json.encode(correction(version, at(1))), type=Event)
    assert msgspec.convert(said.detail, Version, strict=False) == version
    assert calibration.flagged(1, "", "maintenance") == (3, "maintenance")
    assert calibration.flagged(4, "gross range", "maintenance") == (4, "gross range, maintenance")
