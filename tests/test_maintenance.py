"""Maintenance: it ends, it is remembered over a restart, and a visit leaves a record."""

from __future__ import annotations

import pytest

from gateway.averages_sums import sort_out
from gateway.maintenance import EVENTS_AT_MOST, MaintenanceFold
from gateway.model import Event, Record, Stamp, Value

MINUTE_MS = 60_000


def at(minute: float, boot: str = "a") -> Stamp:
    ms = int(minute * MINUTE_MS)
    return Stamp(1_000_000_000 + ms, boot, ms, synced=True)


class Place:
    def __init__(self) -> None:
        self.on: dict[str, bool] = {}
        self.fold = MaintenanceFold(["ph1", "turb1"], self.on.__setitem__)
        self.seq = 0

    def see(self, minute: float, what: str, **detail: object) -> list[Event]:
        self.seq += 1
        return list(self.fold.step(Record(self.seq, Event(at(minute), what, detail))))  # type: ignore[arg-type]  # events only

    def work(self, minute: float, minutes: float, sensor: str = "ph1", by: str = "Aibek") -> list[Event]:
        return self.see(minute, "maintenance", sensor=sensor, minutes=minutes, by=by, why="cleaning")


def test_a_visit_is_recorded_when_the_last_maintenance_ends() -> None:
    place = Place()
    assert place.see(0, "calibrated", sensor="ph1") == []
    assert place.work(1, 30) == []
    assert place.on == {"ph1": True, "turb1": False}
    place.work(2, 30, "turb1", "Nurgul")
    place.see(3, "calibrated", sensor="ph1")
    place.see(3, "notify", sensor="ph1")
    assert place.work(4, 0, "ph1") == [], "the other one is still worked at"
    [visit] = place.work(5, 0, "turb1", "Nurgul")
    assert visit.what == "visit"
    assert place.on == {"ph1": False, "turb1": False}
    d = visit.detail
    assert (d["by"], d["sensors"]) == (["Aibek", "Nurgul"], ["ph1", "turb1"])
    assert d["to_ms"] - d["from_ms"] == 4 * MINUTE_MS
    assert d["ended"] == "Nurgul"
    assert [e["what"] for e in d["events"]] == ["maintenance"] * 2 + ["calibrated"] + ["maintenance"] * 2


def test_it_ends_by_itself() -> None:
    place = Place()
    place.work(0, 10, "")
    assert place.on == {"ph1": True, "turb1": True}
    assert list(place.fold.tick(at(9.9))) == []
    assert place.fold.is_on("ph1")
    [visit] = place.fold.tick(at(10))
    assert isinstance(visit, Event)
    assert visit.detail["ended"] == "its time ran out"
    assert place.on == {"ph1": False, "turb1": False}
    assert list(place.fold.tick(at(11))) == []


def test_more_minutes_go_on_from_now_and_a_day_is_the_most() -> None:
    place = Place()
    place.work(0, 10)
    place.work(5, 10)
    assert list(place.fold.tick(at(14))) == []
    assert len(place.fold.tick(at(15))) == 1
    place.work(20, 10**9)
    assert list(place.fold.tick(at(20 + 24 * 60 - 1))) == []
    assert len(place.fold.tick(at(20 + 24 * 60))) == 1


def test_a_restart_in_the_middle_changes_nothing() -> None:
    one, two = Place(), Place()
    one.work(0, 10)
    two.fold.restore(one.fold.save())
    assert two.on == {"ph1": True, "turb1": False}
    later = Stamp(at(9).utc_ms, "b", 5, synced=True)
    assert list(two.fold.tick(later)) == []
    assert len(two.fold.tick(Stamp(at(10).utc_ms, "b", 60_005, synced=True))) == 1


@pytest.mark.parametrize("minutes", ["ten", None, True, -5])
def test_nonsense_begins_nothing(minutes: object) -> None:
    place = Place()
    assert place.see(0, "maintenance", sensor="ph1", minutes=minutes) == []
    assert place.on.get("ph1", False) is False


def test_a_visits_record_has_a_limit() -> None:
    place = Place()
    place.work(0, 10)
    for _ in range(EVENTS_AT_MOST + 50):
        place.see(1, "note")
    [visit] = place.work(2, 0)
    assert len(visit.detail["events"]) == EVENTS_AT_MOST
    assert visit.detail["more"] == 52


def test_no_average_uses_what_was_read_meanwhile() -> None:
    values = {
        "turbidity": Value(9.0, 9.0, "NTU", 3, "user range, maintenance"),
        "conductivity": Value(9.0, 9.0, "uS/cm", 3, "user range"),
    }
    plain, _, bad = sort_out(values, frozenset((1, 2, 3)), {})
    assert ([name for name, *_ in plain], bad) == (["conductivity"], ["turbidity"])
