"""Averages: what a station's configuration makes of them, and what its rules see."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.emulators.station import EmulatedStation
from gateway import config
from gateway.alarms import AlarmFold
from gateway.averages import AveragesFold, averages
from gateway.averages_sums import METHODS, Method
from gateway.errors import ConfigError
from gateway.journal import Journal
from gateway.model import Average, Body, Event, Mean, Reading, Record, Stamp, Value
from gateway.qc_spike import spike_folds
from gateway.station import watch
from gateway.station_parts import average_folds
from tests.averaging import BISHKEK, TEN_MS, FixedClock, at, everything, in_time


def station(folder: Path, *edits: tuple[str, str]) -> config.Station:
    """The emulated station's configuration, changed."""
    text = EmulatedStation(folder / "ports").station_toml(data=folder, mqtt_url="mqtt://127.0.0.1:1")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    file = folder / "station.toml"
    file.write_text(text, encoding="utf-8")
    return config.load(file)


def test_the_station_makes_what_its_sinks_ask_for(tmp_path: Path) -> None:
    asked = station(tmp_path, ('"average:1 min"', '"average:1 min", "average:24 h"'))
    made = averages(asked)
    assert made._lengths_s == [60, 86400]
    assert made._zone == BISHKEK
    assert made._every_s == {sensor.id: sensor.every_s for sensor in asked.sensors}
    assert [fold.name for fold in average_folds(asked)] == ["averages"]
    assert average_folds(station(tmp_path, ('"average:1 min", ', ""))) == []


def test_the_station_says_how_averages_are_made(tmp_path: Path) -> None:
    usual = averages(station(tmp_path))
    assert (usual._complete, usual._usable, usual._methods["ph"]) == (0.75, {1, 2}, Method.HYDROGEN)
    keys = '[average]\ncomplete = 50\nsuspect = true\nph = "median"\n\n[journal]'
    made = averages(station(tmp_path, ("[journal]", keys)))
    assert (made._complete, made._usable, made._methods["ph"]) == (0.5, {1, 2, 3}, Method.MEDIAN)
    for wrong, said in (('ph = "mean"', "average.ph"), ("complete = 0", "average.complete")):
        with pytest.raises(ConfigError, match=said):
            station(tmp_path, ("[journal]", f"[average]\n{wrong}\n\n[journal]"))


@pytest.mark.parametrize("method", [Method.ARITHMETIC, Method.MEDIAN])
def test_another_mean_of_ph_begins_its_windows_anew(method: Method) -> None:
    """Sums of hydrogen ions are none of pH; other quantities of the window go on."""

    def fold(how: Method) -> AveragesFold:
        return AveragesFold((60,), {"s": 10.0}, methods={**METHODS, "ph": how})

    def read(into: AveragesFold, second: int) -> list[Body]:
        at = Stamp(TEN_MS + second * 1000, "boot0001", second * 1000, True)
        values = {"ph": Value(4.0, 4.0, "pH", 1), "level": Value(1.0, 1.0, "m", 1)}
        return list(into.step(Record(second + 1, Reading("s", "m", "water", at, values))))

    usual, other, same = fold(Method.HYDROGEN), fold(method), fold(Method.HYDROGEN)
    for second in (0, 10, 20):
        read(usual, second)
    for after, used in ((other, 3), (same, 6)):
        after.restore(usual.save())
        for second in (30, 40, 50):
            read(after, second)
        again = fold(method if after is other else Method.HYDROGEN)
        again.restore(after.save())
        [body] = again.tick(Stamp(TEN_MS + 70_000, "boot0001", 70_000, True))
        assert isinstance(body, Average)
        assert (body.values["ph"].used, body.values["level"].used) == (used, 6)
        assert body.values["ph"].mean == pytest.approx(4.0)


def test_a_reading_waits_for_its_verdict_where_spikes_are_looked_for(tmp_path: Path) -> None:
    asked = station(tmp_path)
    assert asked.sensors[0].expect["ph"].spike == (0.5, 1.0)
    assert averages(asked)._judged_later == {"ph1"}
    clock = FixedClock()

    async def job() -> None:
        both = [*spike_folds(asked.sensors), averages(asked)]
        journal = Journal(tmp_path / "data", clock, folds=both)
        await journal.open()
        for i in range(31):
            clock.now = at(i * 2000)
            value = 7.8 if i == 29 else 7.0
            journal.append([Reading("ph1", "y532", "water", clock.now, {"ph": Value(value, value, "pH", 1)})])
        clock.now = at(70_000)
        journal.tick()
        await journal.sync()
        records = await everything(journal)
        await journal.close()
        assert [r.body.what for r in records if isinstance(r.body, Event)] == ["flagged"]
        [average] = [r.body for r in records if isinstance(r.body, Average)]
        assert average.values["ph"] == Mean(7.0, 7.0, 7.0, 29, 30, "pH", 1)

    in_time(job)


def test_a_length_that_does_not_divide_the_day_is_refused(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"average:7 min.*does not divide a day"):
        station(tmp_path, ("average:1 min", "average:7 min"))


def test_a_rule_over_a_minute_follows_the_mean_and_not_a_spike(tmp_path: Path) -> None:
    asked = station(tmp_path, ('over = "reading"', 'over = "1 min"'))
    rule = asked.rules[0]
    assert (rule.sensor, rule.quantity, rule.above, rule.over_s) == ("turb1", "turbidity", 50, 60)
    alarms = AlarmFold(watch(asked))
    every_ms = round(next(s.every_s for s in asked.sensors if s.id == "turb1") * 1000)
    seq = 0

    def see(ms: int, value: float) -> list[str]:
        nonlocal seq
        seq += 1
        values = {"turbidity": Value(value, value, "NTU", 1)}
        given = alarms.step(Record(seq, Reading("turb1", "y511", "water", at(ms), values)))
        return [b.detail["to"] for b in given if isinstance(b, Event) and b.what == "alarm"]

    calm = 120_000 // every_ms
    for i in range(calm):
        assert see(i * every_ms, 500.0 if i == calm // 2 else 5.0) == []
    raised_ms = 0
    for i in range(calm, 2 * calm):
        if see(i * every_ms, 80.0):
            raised_ms = (i - calm) * every_ms
            break
    # 5 + 75 x = 50: the mean crosses when 60 % of the minute is high
    assert raised_ms == pytest.approx(36_000, abs=3 * every_ms + 1000)
