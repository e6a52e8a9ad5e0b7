"""Dating again: every date within what it says of its uncertainty, whatever the clocks did; and never two
dates for one record.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import BUILT_MS, Clock
from gateway.dating import DRIFT, ERROR_MS, KEPT_BOOTS, SLEW_MS, Dated, DatingFold
from gateway.model import Average, Event, Reading, Record, Stamp
from tests.clocks import DAY_S, HOUR_S, START_MS, YEAR_S, Station, World


def first_boot(drift_ppm: float = 0.0, system_ms: float = 0.0) -> tuple[World, Station]:
    world = World(drift_ppm)
    world.power_on(system_ms)
    return world, Station(world)


def after_a_sure_boot(drift_ppm: float = 0.0) -> tuple[World, Station]:
    """Sure for an hour, and the power goes."""
    world, station = first_boot(drift_ppm)
    world.sync()
    station.run(HOUR_S, 60)
    return world, station


def next_boot(world: World, station: Station, off_s: float, system_ms: float = 0.0) -> None:
    world.off(off_s)
    world.power_on(system_ms)
    station.start()


def date(station: Station, record: Record) -> Dated:
    return station.fold.date(record.body.at)


# ── within a boot ──


@pytest.mark.parametrize("was_off_s", [-56 * YEAR_S, -90 * DAY_S, -HOUR_S, HOUR_S, 20 * YEAR_S])
def test_a_sync_dates_what_was_read_before_it(was_off_s: float) -> None:
    world, station = after_a_sure_boot()
    next_boot(world, station, HOUR_S, world.true_ms + (HOUR_S + was_off_s) * 1000)
    before = station.run(HOUR_S)
    assert {date(station, r).trust for r in before} == {"unknown"}
    world.sync()
    station.run(20)
    for record in before:
        assert abs(station.error_ms(record)) <= 1
        assert date(station, record).trust == "dated"
        assert date(station, record).uncertainty_ms <= ERROR_MS + SLEW_MS + DRIFT * HOUR_S * 1000
    [said] = station.events("clock_set")
    assert (said["boot"], said["trust"]) == ("boot0002", "dated")
    seemed_ms = before[-1].body.at.utc_ms
    assert said["was_off_ms"] == round(station.true_ms[before[-1].seq]) - seemed_ms


@pytest.mark.parametrize("drift_ppm", [-10.0, 10.0])
def test_a_usual_crystal_is_less_than_50_ms_off_after_an_hour(drift_ppm: float) -> None:
    world, station = first_boot(drift_ppm)
    before = station.run(HOUR_S)
    world.sync()
    station.run(10)
    assert max(abs(station.error_ms(record)) for record in before) < 50
    assert max(abs(station.error_ms(record)) for record in before) > 30, "the drift is there"


@pytest.mark.parametrize("drift_ppm", [-100.0, 100.0])
def test_a_bad_crystal_is_within_what_is_said(drift_ppm: float) -> None:
    world, station = first_boot(drift_ppm)
    before = station.run(DAY_S, 600)
    world.sync()
    station.run(10)
    for record in before:
        assert abs(station.error_ms(record)) <= date(station, record).uncertainty_ms
    assert abs(station.error_ms(before[0])) > 8000


def test_a_correction_that_may_have_been_slewed_counts_as_uncertain() -> None:
    world, station = first_boot(system_ms=START_MS - 700)
    before = station.run(60)
    world.sync()
    station.run(10)
    assert date(station, before[-1]).uncertainty_ms >= SLEW_MS
    world, station = first_boot(system_ms=START_MS - 5000)
    before = station.run(60)
    world.sync()
    station.run(10)
    assert date(station, before[-1]).uncertainty_ms < ERROR_MS + 10


def test_a_tick_learns_the_time_where_readings_are_rare() -> None:
    world, station = first_boot()
    record = station.read()
    world.sync()
    world.run(11)
    assert date(station, record).trust == "unknown"
    station.tick()
    assert date(station, record).trust == "dated"
    assert len(station.events("clock_set")) == 1
    station.run(60)
    assert len(station.events("clock_set")) == 1


def test_a_boot_that_is_right_from_its_first_reading_says_nothing() -> None:
    _, station = after_a_sure_boot()
    assert [r for r in station.records if isinstance(r.body, Event)] == []
    assert {date(station, r).trust for r in station.records} == {"synced"}


def test_after_the_sync_is_lost_time_goes_on_and_says_how_sure_it_is() -> None:
    world, station = after_a_sure_boot(drift_ppm=50)
    world.unsync()
    later = station.run(DAY_S, 600)
    for record in later[1:]:
        assert date(station, record).trust == "dated"
        assert abs(station.error_ms(record)) <= date(station, record).uncertainty_ms
    assert ERROR_MS < date(station, later[1]).uncertainty_ms < 300
    assert abs(station.error_ms(later[-1])) > 4000
    dates = [date(station, r) for r in later]
    world.sync()
    station.run(DAY_S, 600)
    assert [date(station, r).utc_ms for r in later] == [d.utc_ms for d in dates], "it may have been sent"
    assert [date(station, r).uncertainty_ms for r in later] == [d.uncertainty_ms for d in dates]


def test_steps_before_the_sync_change_no_date() -> None:
    world, station = after_a_sure_boot()
    next_boot(world, station, HOUR_S)
    before = []
    for step_s in (HOUR_S, -HOUR_S, 20 * YEAR_S, -20 * YEAR_S, YEAR_S):
        world.set_by_hand(step_s)
        before += station.run(60)
    world.sync()
    station.run(10)
    assert max(abs(station.error_ms(record)) for record in before) <= 1
    dates = [date(station, r).utc_ms for r in before]
    assert dates == sorted(dates)


# ── boots that ended without ──


def test_a_boot_cut_short_lies_in_the_middle_between_its_neighbours() -> None:
    world, station = after_a_sure_boot()
    end_ms = world.true_ms
    next_boot(world, station, 2 * HOUR_S)
    lost = station.run(600)
    assert date(station, lost[0]).trust == "unknown"
    next_boot(world, station, 4 * HOUR_S)
    world.sync()
    station.run(10)
    off_s = 6 * HOUR_S
    for record in lost:
        dated = date(station, record)
        assert dated.trust == "estimated"
        assert abs(dated.uncertainty_ms - off_s * 500) < 200
        assert abs(station.error_ms(record)) <= dated.uncertainty_ms
    first = date(station, lost[0])
    assert abs(first.utc_ms - (end_ms + lost[0].body.at.mono_ms + off_s * 500)) < 10
    [said] = station.events("clock_set")
    assert said["trust"] == "estimated"
    assert said["uncertainty_ms"] == first.uncertainty_ms


def test_several_in_a_row_keep_their_order_and_their_lengths() -> None:
    world, station = after_a_sure_boot(drift_ppm=30)
    boots = []
    for off_s, runs_s in ((HOUR_S, 600), (60, 60), (5 * DAY_S, 7200), (10, 120)):
        next_boot(world, station, off_s)
        boots.append(station.run(runs_s))
    next_boot(world, station, HOUR_S)
    boots.append(station.run(300))
    world.sync()
    station.run(10)
    dates = [date(station, record).utc_ms for boot in boots for record in boot]
    assert dates == sorted(dates)
    assert len(set(dates)) == len(dates)
    for boot, trust in zip(boots, [*["estimated"] * 4, "dated"], strict=True):
        for record in boot:
            assert date(station, record).trust == trust
            assert abs(station.error_ms(record)) <= date(station, record).uncertainty_ms
        times = [date(station, record).utc_ms for record in boot]
        assert times[-1] - times[0] == boot[-1].body.at.mono_ms - boot[0].body.at.mono_ms
    said = station.events("clock_set")
    assert [e["boot"] for e in said] == ["boot0002", "boot0003", "boot0004", "boot0005", "boot0006"]


def test_the_first_boots_of_all_are_put_right_before_the_first_sure_one() -> None:
    world, station = first_boot()
    lost = station.run(600)
    next_boot(world, station, 60)
    world.sync()
    station.run(10)
    for record in lost:
        dated = date(station, record)
        assert dated.trust == "estimated"
        assert abs(station.error_ms(record)) < 100_000
        assert dated.uncertainty_ms > world.true_ms - BUILT_MS - 10**6, "nobody knows for sure"


def test_a_boot_that_nobody_remembers_is_unknown_for_ever() -> None:
    _, station = after_a_sure_boot()
    at = Stamp(1, "12345678", 5, False)
    dated = station.fold.date(at)
    assert (dated.utc_ms, dated.trust, dated.rests_on) == (1, "unknown", 0)
    assert station.fold.is_gone("12345678", "mqtt")


def test_only_so_many_boots_are_remembered() -> None:
    world, station = first_boot()
    first = station.read()
    for _ in range(KEPT_BOOTS + 3):
        next_boot(world, station, 60)
        station.read()
    world.sync()
    station.run(10)
    assert date(station, first).trust == "unknown"
    assert len(station.fold.save()) < 150 * KEPT_BOOTS
    for _ in range(5):
        next_boot(world, station, 60)
        world.sync()
        station.run(60)
    assert len(msgspec.json.decode(station.fold.save())) <= KEPT_BOOTS


# ── once and for all ──


def gone(station: Station, sink: str, boot: str) -> None:
    station.append(Event(station.clock.stamp(), "clock_unknown", {"sink": sink, "boot": boot}))


def test_what_went_out_undated_stays_so_for_that_sink() -> None:
    world, station = after_a_sure_boot()
    next_boot(world, station, DAY_S)
    before = station.run(60)
    told = station.fold.date(before[0].body.at, "mqtt")
    gone(station, "mqtt", "boot0002")
    world.sync()
    station.run(10)
    after = station.fold.date(before[0].body.at, "mqtt")
    assert (after.utc_ms, after.trust) == (told.utc_ms, "unknown")
    assert abs(after.utc_ms - station.true_ms[before[0].seq]) <= after.uncertainty_ms
    assert abs(station.error_ms(before[0], "influxdb")) <= 1
    assert station.fold.is_gone("boot0002", "mqtt")
    assert not station.fold.is_gone("boot0002", "influxdb")
    late = station.run(60)
    assert {station.fold.date(r.body.at, "mqtt").trust for r in late} == {"synced"}


def test_a_date_rests_on_the_record_that_brought_it() -> None:
    world, station = first_boot()
    before = station.read()
    assert date(station, before).rests_on == 0
    world.sync()
    world.run(10)
    right = station.read()
    assert date(station, before).rests_on == right.seq
    assert date(station, right).rests_on == 0


def test_a_kill_changes_nothing_that_is_remembered() -> None:
    world, station = after_a_sure_boot(20)
    for number in range(4):
        next_boot(world, station, HOUR_S * (number + 1))
        station.run(100)
    world.sync()
    station.run(100)
    world.unsync()
    station.run(100)
    gone(station, "mqtt", "boot0003")
    before = [station.fold.date(at, sink) for at in station.stamps() for sink in ("", "mqtt")]
    known = station.fold.known_ms("boot0005", 10**7)
    station.start()
    assert [station.fold.date(at, sink) for at in station.stamps() for sink in ("", "mqtt")] == before
    assert station.fold.known_ms("boot0005", 10**7) == known is not None
    assert len(station.events("clock_set")) == 4


@pytest.mark.parametrize("state", [b"", b"{", b"{}", b"[[1]]", b"[null]"])
def test_a_state_that_cannot_be_read_is_no_reason_not_to_start(state: bytes) -> None:
    fold = DatingFold()
    fold.restore(state)
    assert fold.least_ms("b", 5) == BUILT_MS + 5
    assert fold.known_ms("b", 5) is None


def test_an_average_begins_no_boot_and_moves_none() -> None:
    """It is stamped with the end of its window, which may be hours ago, and in an earlier boot."""
    world, station = first_boot()
    station.run(60)
    state = station.fold.save()
    for boot, mono_ms in (("boot0001", 10**9), ("elsewhen", 5)):
        at = Stamp(START_MS, boot, mono_ms, False)
        station.append(Average("ph1", "m", "water", at, START_MS - 60_000, 60, {}))
    assert station.fold.save() == state
    next_boot(world, station, 60)
    station.run(60)
    state = station.fold.save()
    station.append(Event(Stamp(START_MS, "boot0001", 10**9, True), "flagged", {}))
    assert station.fold.save() == state


# ── any history ──

TRUTHS = ("dated", "estimated", "unknown", "synced")
MOVES: dict[str, Callable[[World, Station, random.Random], None]] = {}


def move(play: Callable[[World, Station, random.Random], None]) -> None:
    MOVES[play.__name__] = play


@move
def reads(world: World, station: Station, chance: random.Random) -> None:
    station.run(chance.choice((10, 60, 600)), chance.choice((1, 5, 10)))


@move
def waits(world: World, station: Station, chance: random.Random) -> None:
    world.run(chance.choice((1, 30, HOUR_S, DAY_S)))
    station.read()


@move
def syncs(world: World, station: Station, chance: random.Random) -> None:
    world.sync()
    world.run(chance.uniform(11, 15))
    station.read()


@move
def loses_sync(world: World, station: Station, chance: random.Random) -> None:
    world.unsync()
    world.run(11)  # until the clock has asked
    station.read()


@move
def is_set(world: World, station: Station, chance: random.Random) -> None:
    world.set_by_hand(chance.choice((HOUR_S, -HOUR_S, 20 * YEAR_S, -20 * YEAR_S, 0.3, -3.0)))
    station.read()


@move
def is_lied_to(world: World, station: Station, chance: random.Random) -> None:
    world.lie(chance.choice((20 * YEAR_S, -20 * YEAR_S)))
    station.run(30)
    world.sync()
    station.run(30)


@move
def is_killed(world: World, station: Station, chance: random.Random) -> None:
    if chance.random() < 0.5:
        station.settle()
    world.run(chance.uniform(0, 20))
    station.start()
    station.read()


@move
def loses_power(world: World, station: Station, chance: random.Random) -> None:
    if chance.random() < 0.3:
        station.settle()
    station.lose(chance.randrange(4))
    off_s = chance.choice((1, 600, 5 * HOUR_S, 40 * DAY_S))
    system_ms = chance.choice((0.0, world.true_ms - DAY_S * 1000, world.true_ms + 3 * YEAR_S * 1000))
    next_boot(world, station, off_s, chance.choice((system_ms, world.true_ms + off_s * 1000)))
    station.read()


def check(station: Station) -> None:
    told: dict[str, list[int]] = {}
    for record in station.records:
        at = record.body.at
        dated = station.fold.date(at)
        error_ms = dated.utc_ms - station.true_ms[record.seq]
        assert abs(error_ms) <= dated.uncertainty_ms, (record, dated, error_ms)
        assert dated.trust in TRUTHS
        boot = next((b for b in station.fold._boots if b.id == at.boot), None)
        if boot is not None and isinstance(record.body, Reading) and (boot.from_ms or 10**18) > at.mono_ms:
            told.setdefault(at.boot, []).append(dated.utc_ms)
            assert dated.trust in ("dated", "estimated", "unknown")
    for name, times in told.items():
        if all(b.offset_ms is not None for b in station.fold._boots if b.id == name):
            assert times == sorted(times)


def play(seed: int, moves: list[str], drift_ppm: float) -> Station:
    chance = random.Random(seed)
    world = World(drift_ppm)
    world.power_on(0)
    station = Station(world)
    station.read()
    sent: dict[int, int] = {}
    for name in moves:
        MOVES[name](world, station, chance)
        for record in station.records:  # whatever was known once stays so, or was not known
            dated = station.fold.date(record.body.at)
            if record.seq in sent:
                assert dated.utc_ms == sent[record.seq], (name, record)
            elif dated.trust != "unknown" and dated.rests_on <= station.kept[0]:
                sent[record.seq] = dated.utc_ms
    check(station)
    return station


@given(
    seed=st.integers(0, 2**32),
    moves=st.lists(st.sampled_from(sorted(MOVES)), min_size=3, max_size=14),
    drift_ppm=st.sampled_from((0.0, 20.0, -50.0, 95.0)),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_every_date_is_within_its_uncertainty(seed: int, moves: list[str], drift_ppm: float) -> None:
    play(seed, moves, drift_ppm)


@pytest.mark.parametrize(
    ("moves", "trusts"),
    [
        ("reads", {"unknown"}),
        ("reads syncs", {"dated", "synced"}),
        ("reads loses_power reads syncs", {"estimated", "dated", "synced"}),
        ("syncs loses_power reads loses_power reads loses_power syncs", {"dated", "estimated", "synced"}),
        ("reads is_set syncs reads loses_sync waits is_set reads syncs", {"dated", "synced"}),
        ("syncs is_lied_to is_killed reads is_set reads", {"dated", "synced"}),
        ("reads is_killed syncs is_killed loses_sync is_killed reads", {"dated", "synced"}),
        ("syncs loses_power is_lied_to", {"dated", "synced"}),
        ("syncs waits loses_sync waits waits loses_power reads", {"dated", "synced", "unknown"}),
    ],
)
def test_histories(moves: str, trusts: set[str]) -> None:
    found: set[str] = set()
    for seed in range(5):
        station = play(seed, moves.split(), 40.0)
        found |= {station.fold.date(at).trust for at in station.stamps()}
    assert found == trusts


def test_the_clock_needs_no_memory() -> None:
    world = World()
    world.power_on(START_MS)
    world.sync()
    assert Clock(machine=world).stamp().synced
