"""The quality flags of single values: reasons, clocks, what is not evaluated, and what it costs to remember.

That they equal ioos_qc's is tests/test_qc_oracle.py.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.model import Event, Reading, Record, Stamp, Value
from gateway.qc import Attenuation, Checks, Expect, Flat, expected, worst
from gateway.qc_spike import SpikeFold, spike_folds
from gateway.qc_tests import EXTREMES_LIMIT, Extremes
from tests.qc_series import START_S, spikes, stamp, stream

PH = Expect(gross=(0.0, 14.0), usual=(5.0, 9.5), rate_per_s=0.5 / 60, flat=Flat(0.01, 30.0, 60.0), gap_s=25.0)


def told(expect: Expect, *values: tuple[float, float], every_s: float = 10.0) -> list[tuple[int, str]]:
    """Flags and reasons of (seconds, value)."""
    checks = Checks({"ph": expect}, every_s)
    return [checks.flag("ph", value, stamp(at_s)) for at_s, value in values]


# ── one value, its flag and why ──


def test_a_reason_for_every_test() -> None:
    assert told(PH, (0, 7.0), (10, 7.01), (20, 7.2), (30, 4.9)) == [
        (1, ""),
        (1, ""),
        (3, "rate of change"),
        (3, "user range, rate of change"),
    ]
    assert told(PH, (0, 7.0), (10, 20.0))[1] == (4, "gross range")  # the worst one only
    assert told(PH, (0, 7.0), (10, 7.0), (20, 7.0), (30, 7.0))[-1] == (3, "flat line")
    assert told(PH, (0, 7.0), (30, 7.2))[1] == (3, "gap")
    winter = Expect(climatology={11: (0.0, 4.0)})
    assert told(winter, (0, 4.0), (10, 4.1)) == [(1, ""), (3, "climatology")]
    weak = Expect(attenuated=Attenuation(30.0, suspect=0.5, fail=0.1))
    assert told(weak, (0, 7.0), (10, 7.2), (20, 7.3), (30, 7.25), (40, 7.25)) == [
        (2, ""),
        (2, ""),
        (3, "attenuated signal"),
        (4, "attenuated signal"),
        (4, "attenuated signal"),
    ]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("expect", [PH, Expect(gross=(0.0, 14.0)), Expect(usual=(0.0, 9.0)), Expect(gap_s=9)])
def test_no_number_is_missing(expect: Expect, number: float) -> None:
    checks = Checks({"ph": expect}, 10.0)
    assert checks.flag("ph", number, stamp(0)) == (9, "not a number")
    assert checks.flag("ph", 7.0, stamp(10))[0] in (1, 2), "and leaves no trace"


def test_no_test_is_not_evaluated() -> None:
    assert Checks({}).flag("ph", 7.0, stamp(0)) == (2, "")
    assert Checks({"ph": Expect(spike=(1.0, 2.0))}).flag("ph", 7.0, stamp(0)) == (2, "")
    assert Checks({"ph": PH}).flag("orp", 7.0, stamp(0)) == (2, "")


@pytest.mark.parametrize(
    ("flags", "combined"),
    [([], 9), ([9, 2], 2), ([2, 1], 1), ([1, 3, 2], 3), ([3, 4, 9], 4), ([9, 9], 9), ([1, 9], 1)],
)
def test_the_worst_flag(flags: list[int], combined: int) -> None:
    assert worst(flags) == combined


# ── what is not known is not evaluated ──


def test_without_what_was_kept_it_begins_anew() -> None:
    expect = Expect(
        rate_per_s=0.001, flat=Flat(0.5, 30.0, 60.0), attenuated=Attenuation(100.0, 9.0), gap_s=15.0
    )
    before = Checks({"ph": expect}, 10.0)
    flags = [before.flag("ph", 7.0, stamp(10 * i))[0] for i in range(10)]
    assert flags == [2, 1, 1, 3, 3, 3, 4, 4, 4, 4]
    after = Checks({"ph": expect}, 10.0)  # the process starts again: same boot, same sensor, seconds later
    assert after.flag("ph", 9.0, stamp(100)) == (2, "")


def test_three_missed_readings_begin_anew_and_two_do_not() -> None:
    flat = Expect(flat=Flat(0.01, 40.0, 80.0))
    two, three = [7.0, 7.0, None, None, 7.0], [7.0, 7.0, None, None, None, 7.0, 7.0, 7.0, 7.0, 7.0]
    assert stream(flat, two, 10.0) == [2, 2, 9, 9, 3]
    assert stream(flat, three, 10.0) == [2, 2, 9, 9, 9, 2, 2, 2, 2, 3]


def test_readings_need_not_be_on_the_dot() -> None:
    """Half a second early or late every 10 s changes nothing: neither is a reading missed nor one too few."""
    jitter = random.Random(5)
    at_s = [10 * i + jitter.uniform(-0.5, 0.5) for i in range(40)]
    flat = told(Expect(flat=Flat(0.01, 30.0, 60.0)), *[(s, 7.0) for s in at_s])
    assert [flag for flag, _ in flat[:8]] == [2, 2, 2, 3, 3, 3, 4, 4]
    rate = told(Expect(rate_per_s=0.2), *[(s, 7.0 + i % 2) for i, s in enumerate(at_s)])
    assert [flag for flag, _ in rate] == [2] + [1] * 39


@pytest.mark.parametrize(
    "expect",
    [
        Expect(rate_per_s=0.05),
        Expect(flat=Flat(0.3, 30.0, 60.0)),
        Expect(attenuated=Attenuation(100.0, 1.0, 0.2)),
        Expect(gap_s=15.0),
    ],
)
def test_a_clock_that_is_set_moves_no_test(expect: Expect) -> None:
    random_steps = random.Random(9)
    slots = [round(7 + random_steps.choice((0.0, 0.1, 0.8)), 1) for _ in range(60)]
    slots[30:50] = [7.0] * 20
    wanted = stream(expect, slots, 10.0)
    checks = Checks({"ph": expect}, 10.0)
    for i, x in enumerate(slots):
        at, step_ms = stamp(10 * i), random_steps.randint(-(10**7), 10**7)
        assert checks.flag("ph", x, Stamp(at.utc_ms + step_ms, at.boot, at.mono_ms, True))[0] == wanted[i]
    assert len(set(wanted)) >= 2


def test_two_values_of_one_moment_have_no_rate() -> None:
    assert told(Expect(rate_per_s=1.0), (0, 7.0), (0, 9.0), (-5, 7.0)) == [(2, "")] * 3


def test_a_reading_every_half_second_has_a_rate() -> None:
    assert [f for f, _ in told(Expect(rate_per_s=1.0), (0, 7.0), (0.5, 7.5), (1, 8.1), every_s=0.5)] == [
        2,
        1,
        3,
    ]


def test_within_nothing_means_the_very_same() -> None:
    assert stream(Expect(flat=Flat(0.0, 2.0, 4.0)), [7.0, 7.0, 7.0, 7.0, 7.0, 7.5, 7.0]) == [
        2,
        2,
        3,
        3,
        4,
        1,
        1,
    ]


def test_the_month() -> None:
    checks = Checks({"t": Expect(climatology={12: (0.0, 6.0), 1: (-1.0, 4.0)})})
    for utc, synced, flag in (
        (1_796_083_199, True, 2),  # 2026-11-30T23:59:59Z
        (1_796_083_200, True, 1),  # 2026-12-01T00:00:00Z
        (1_798_761_599, True, 1),  # 2026-12-31T23:59:59Z
        (1_798_761_600, True, 3),  # 2027-01-01T00:00:00Z
        (1_798_761_600, False, 2),  # a clock nobody vouches for knows no month
        (1_801_439_999, True, 3),  # 2027-01-31T23:59:59Z
        (1_798_761_599, True, 1),  # set back
        (1_719_791_999, True, 2),  # 2024-06-30T23:59:59Z
        (1_801_440_000, True, 2),  # 2027-02-01T00:00:00Z
    ):
        assert checks.flag("t", 5.0, stamp(0, start_s=utc, synced=synced))[0] == flag, (utc, synced)


# ── what is remembered has a limit ──


def test_below_the_limit_it_is_exact() -> None:
    last = 254  # EXTREMES_LIMIT - 2
    slope, within = [i / 256 for i in range(1000)], (last + 0.5) / 256
    assert stream(Expect(flat=Flat(within, last, 2000.0)), slope) == [2] * last + [3] * (1000 - last)
    assert set(stream(Expect(flat=Flat(within, last + 1, 2000.0)), slope)) == {1, 2}


def test_a_slope_of_many_numbers_is_told_late_and_never_wrongly() -> None:
    """20,000 ever new numbers: what is remembered has its limit, and a flag comes a little late at most."""
    expect = Expect(flat=Flat(1.0, 5000.0, 10_000.0))
    up = [7.0 + i / 50_000 for i in range(20_000)]
    flags = stream(expect, up)
    assert flags[:5000] == [2] * 5000
    assert flags[5000:10_000] == [3] * 5000
    assert set(flags[10_000:]) == {4}
    steep = stream(expect, [x * 8 for x in up])  # crosses the tolerance every 6,250 readings
    late = steep.index(3)
    assert 5000 <= late < 5200
    assert 4 not in steep
    window = Extremes()
    for i, x in enumerate(reversed(up)):
        window.add(x, i)
        assert len(window.highs) <= EXTREMES_LIMIT
        assert len(window.lows) == 1


# ── spikes: one reading later ──

SPIKE = Expect(spike=(0.5, 1.0))


def reading(value: float, at: Stamp, flag: int = 1, sensor: str = "ph1") -> Reading:
    values = {"ph": Value(value, value, "pH", flag), "other": Value(1.0, 1.0, "V", 2)}
    return Reading(sensor, "yosemitech-y532", "water", at, values)


def fold() -> SpikeFold:
    return SpikeFold({"ph1": (10.0, {"ph": SPIKE}), "ph2": (10.0, {"ph": PH})})


def test_the_verdict_is_an_event_behind_the_reading_that_proves_it() -> None:
    spiky = fold()
    found = []
    for i, x in enumerate((7.02, 7.01, 8.40, 7.03, 7.03)):
        record = Record(101 + 4 * i, reading(x, stamp(10 * i)))
        found += [(record.seq, body) for body in spiky.step(record)]
        assert not spiky.step(Record(900 + i, reading(x, stamp(10 * i), sensor="ph2")))
        assert not spiky.step(Record(950 + i, Event(stamp(10 * i), "sensor", {"sensor": "ph1"})))
    detail = {"sensor": "ph1", "medium": "water", "quantity": "ph", "unit": "pH", "before": 1, "why": "spike"}
    first = detail | {"seq": 105, "time_ms": START_S * 1000 + 10_000, "raw": 7.01, "flag": 3}
    second = detail | {"seq": 109, "time_ms": START_S * 1000 + 20_000, "raw": 8.40, "flag": 4}
    third = detail | {"seq": 113, "time_ms": START_S * 1000 + 30_000, "raw": 7.03, "flag": 3}
    for one in (first, second, third):
        one["value"] = one["raw"]
    assert found == [
        (109, Event(stamp(20), "flagged", first)),
        (113, Event(stamp(30), "flagged", second)),
        (117, Event(stamp(40), "flagged", third)),
    ]


def test_differential_does_not_convict_the_neighbours() -> None:
    slots = [7.02, 7.01, 8.40, 7.03, 7.03]
    assert spikes(SPIKE, slots) == {1: 3, 2: 4, 3: 3}
    assert spikes(Expect(spike=(0.5, 1.0), spike_method="differential"), slots) == {2: 4}
    step = [7.0, 7.0, 9.0, 9.0]  # a new level is none
    assert spikes(Expect(spike=(0.5, 1.0), spike_method="differential"), step) == {}


@pytest.mark.parametrize(("live", "corrected"), [(1, {2: 3}), (2, {2: 3}), (3, {}), (4, {})])
def test_only_what_is_worse_than_what_was_sent_makes_a_record(live: int, corrected: dict[int, int]) -> None:
    expect = Expect(spike=(0.5, 1.0), spike_method="differential")
    assert spikes(expect, [7.0, 7.0, 7.75, 7.0, 7.0], live=live) == corrected


@pytest.mark.parametrize(
    "slots",
    [
        [7.0, None, 9.0, 7.0, 7.0],  # no neighbour before
        [7.0, 7.0, 9.0, None, 7.0],  # none behind
        [7.0, 9.0],
        [9.0, 7.0, 7.0],  # the first one
    ],
)
def test_without_both_neighbours_there_is_no_verdict(slots: list[float | None]) -> None:
    expect = Expect(spike=(0.5, 1.0), spike_method="differential")
    assert spikes(expect, slots, 10.0) == {}


def test_another_boot_is_no_neighbour() -> None:
    spiky = fold()
    stamps = [stamp(0), stamp(10), Stamp(stamp(20).utc_ms, "boot0002", stamp(20).mono_ms, True)]
    assert [
        body for i, at in enumerate(stamps) for body in spiky.step(Record(i, reading((7, 9, 7)[i], at)))
    ] == []


def test_stopped_anywhere_and_restored_it_says_the_same() -> None:
    values = [7.0, 7.1, 9.0, 7.0, 7.2, 7.1, 5.0, 7.1, 7.0]
    records = [Record(i + 1, reading(x, stamp(10 * i))) for i, x in enumerate(values)]
    whole = fold()
    wanted = [body for record in records for body in whole.step(record)]
    assert len(wanted) == 6
    for cut in range(len(records) + 1):
        first, second = fold(), fold()
        said = [body for record in records[:cut] for body in first.step(record)]
        second.restore(first.save())
        assert said + [body for record in records[cut:] for body in second.step(record)] == wanted


def test_a_state_that_cannot_be_read_or_fits_no_more(caplog: pytest.LogCaptureFixture) -> None:
    spiky = fold()
    spiky.step(Record(1, reading(7.0, stamp(0))))
    kept = spiky.save()
    without = SpikeFold({"ph1": (10.0, {"other": SPIKE})})
    without.restore(kept)
    assert without.step(Record(2, reading(9.0, stamp(10)))) == []
    spiky.restore(b'{"ph1": 5}')
    assert "cannot be read" in caplog.text
    assert spiky.step(Record(2, reading(9.0, stamp(10)))) == []


# ── from station.toml ──

STATION = """
[station]
id = "river-1"
[[sensor]]
id = "ph1"
port = "rtu+tcp://127.0.0.1:4001"
model = "yosemitech-y532"
every = "10 s"
"""


def station(tmp_path: Path, expect: str) -> config.Station:
    file = tmp_path / "station.toml"
    file.write_text(STATION + "[sensor.expect.ph]\n" + expect)
    return config.load(file)


def test_every_key_reaches_its_test(tmp_path: Path) -> None:
    wanted = station(
        tmp_path,
        'gross = [0, 14]\nusual = [5, 9.5]\nspike = [0.5, 1.0]\nspike_method = "differential"\n'
        'rate = "0.5 / 1 min"\nflat = { within = 0.01, suspect = "30 min", fail = "2 h" }\n'
        'attenuated = { over = "12 h", suspect = 0.05, fail = 0.02 }\ngap = "5 min"\n'
        'climatology = { "12-2" = [6, 8], 7 = [6.5, 9] }\n',
    )
    assert expected(wanted.sensors[0].expect)["ph"] == Expect(
        gross=(0.0, 14.0),
        usual=(5.0, 9.5),
        spike=(0.5, 1.0),
        spike_method="differential",
        rate_per_s=0.5 / 60,
        flat=Flat(0.01, 1800.0, 7200.0),
        attenuated=Attenuation(43_200.0, 0.05, 0.02),
        gap_s=300.0,
        climatology={12: (6.0, 8.0), 1: (6.0, 8.0), 2: (6.0, 8.0), 7: (6.5, 9.0)},
    )
    assert wanted.warnings == ()
    [spiky] = spike_folds(wanted.sensors)
    said: list[Any] = []
    for i, x in enumerate((7.0, 8.2, 7.0)):
        said += spiky.step(Record(i, reading(x, stamp(10 * i))))
    assert [event.detail["flag"] for event in said] == [4]


def test_without_a_spike_test_there_is_no_fold(tmp_path: Path) -> None:
    assert spike_folds(station(tmp_path, 'gross = [0, 14]\nrate = "1 / 1 s"\n').sensors) == []
