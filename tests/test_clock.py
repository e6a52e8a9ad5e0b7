"""The clock: who is believed and who not, steps, and time that does not run back over a reboot."""

from __future__ import annotations

import asyncio
import ctypes
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from drivers.base import Measurement, Quantity
from drivers.link import Link
from gateway.alarms import Steady
from gateway.bus import Bus, Sensor
from gateway.clock import BUILT_MS, FAR_MS, Clock, Machine, Source, boot_id, kernel_synced
from gateway.model import Body, Reading, Stamp
from gateway.qc import Checks
from tests.clocks import DAY_S, HOUR_S, START_MS, YEAR_S, LoopWorld, Station, World
from tests.virtual_time import run

GPS_S = 1024 * 7 * DAY_S
"""What a GPS receiver is off that lost count of its weeks."""


def started(source: Source = "ntp", *, drift_ppm: float = 0.0) -> tuple[World, Station]:
    """A station that was right for an hour, was off for a day, and has begun again with the clock at 1970."""
    world = World(drift_ppm)
    world.power_on(START_MS)
    station = Station(world, source)
    world.sync()
    station.run(HOUR_S, 60)
    world.off(DAY_S)
    world.power_on(0)
    station.start()
    return world, station


def test_the_machine_itself() -> None:
    clock = Clock()
    stamps = [clock.stamp() for _ in range(3)]
    assert {stamp.boot for stamp in stamps} == {boot_id()}
    assert [s.mono_ms for s in stamps] == sorted(s.mono_ms for s in stamps)
    with open("/proc/uptime", encoding="ascii") as uptime:
        assert abs(stamps[-1].mono_ms / 1000 - float(uptime.read().split()[0])) < 5
    assert stamps[0].synced == kernel_synced()


def test_the_kernel_is_asked_as_libc_has_it() -> None:
    """Against libc's own header, compiled: where in struct timex the status stands."""
    source = (
        "#include <stdio.h>\n#include <stddef.h>\n#include <sys/timex.h>\n"
        "int main(void) { struct timex t = {0}; int r = adjtimex(&t); "
        'printf("%zu %zu %d %d", sizeof t, offsetof(struct timex, status), r >= 0, '
        "!!(t.status & STA_UNSYNC)); }"
    )
    done = subprocess.run(
        ["sh", "-c", 'f=$(mktemp) && gcc -x c -o "$f" - && "$f"; rm -f "$f"'],
        input=source, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    size, at, good, unsynced = map(int, done.stdout.split())
    assert (size, at) == (208, 40)
    assert kernel_synced() == bool(good and not unsynced)
    assert ctypes.sizeof(ctypes.c_long) == 8, "32-bit machines have another struct timex"
    assert sys.platform == "linux"


def test_time_does_not_run_back_over_reboots() -> None:
    """Five boots with a clock that begins at 1970 each time, one of them cut short at once."""
    world, station = started()
    last_ms = 0
    for seconds in (300, 0, 600, 60, 300):
        station.run(seconds)
        world.off(3 * HOUR_S)
        world.power_on(0)
        station.start()
    station.run(60)
    for at in station.stamps():
        assert at.utc_ms >= last_ms, "time ran back"
        last_ms = at.utc_ms
    assert not station.stamps()[-1].synced


def test_a_station_that_never_knew_the_time_begins_with_the_programs() -> None:
    world = World()
    world.power_on(0)
    station = Station(world)
    at = station.read().body.at
    assert (at.utc_ms, at.synced) == (BUILT_MS + at.mono_ms, False)


def test_an_unsynced_system_clock_counts_if_it_can_be() -> None:
    world, station = started()
    world.set_by_hand((START_MS + 40 * DAY_S * 1000) / 1000)  # a battery-backed clock, nearly right
    at = station.read().body.at
    assert (at.utc_ms // 1000, at.synced) == (START_MS // 1000 + 40 * 86400 + 12, False)


@pytest.mark.parametrize("source", ["ntp", "rtc", "trust"])
@pytest.mark.parametrize("step_s", [-GPS_S, -20 * YEAR_S, 20 * YEAR_S, -YEAR_S * 56])
def test_what_cannot_be_is_not_believed(source: Source, step_s: float) -> None:
    world, station = started(source)
    world.rtc_off_s = step_s
    world.sync()
    world.lie(step_s)
    at = station.read().body.at
    assert not at.synced
    assert START_MS <= at.utc_ms < START_MS + 2 * DAY_S * 1000
    assert station.clock.doubt is not None
    station.tick()
    [said] = station.events("clock_doubted")
    assert said["source"] == source
    world.sync()
    world.run(1)
    at = station.read().body.at
    assert (at.synced, at.utc_ms) == (True, round(world.true_ms))
    assert station.clock.doubt is None


@pytest.mark.parametrize("source", ["ntp", "rtc", "trust"])
@pytest.mark.parametrize("step_s", [20 * YEAR_S, -20 * YEAR_S])
def test_a_wild_step_while_running_moves_no_reading(source: Source, step_s: float) -> None:
    world, station = started(source)
    world.sync()
    world.rtc_off_s = 0.0
    station.run(600)
    world.lie(step_s)
    for record in station.run(600):
        assert abs(record.body.at.utc_ms - station.true_ms[record.seq]) <= 1
        assert not record.body.at.synced
    assert [e["believed"] for e in station.events("clock_step")] == [False]
    world.sync()
    assert station.run(20)[-1].body.at.synced
    assert [round(float(str(e["step_ms"])) / 1000) for e in station.events("clock_step")] == [step_s, -step_s]


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S, 20 * YEAR_S, -20 * YEAR_S])
def test_a_step_by_hand_moves_no_reading(step_s: float) -> None:
    """The kernel forgets its discipline then; the clock knows better at once, not with its next question."""
    world, station = started()
    world.sync()
    station.run(600)
    world.set_by_hand(step_s)
    for record in station.run(60, 1):
        assert record.body.at.utc_ms == round(station.true_ms[record.seq])
        assert not record.body.at.synced
        assert station.fold.date(record.body.at).trust == "dated"
    [said] = station.events("clock_step")
    assert said == {"step_ms": round(step_s * 1000), "believed": False}


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S, 0.7, -0.7])
def test_a_step_by_whoever_disciplines_the_clock_is_believed_and_said(step_s: float) -> None:
    world, station = started()
    world.sync()
    world.lie(-step_s)  # it was wrong first
    station.run(60)
    world.sync()
    at = station.run(10)[-1].body.at
    assert (at.synced, at.utc_ms) == (True, round(world.true_ms))
    assert {"step_ms": round(step_s * 1000), "believed": True} in station.events("clock_step")


def test_a_small_jump_is_no_step() -> None:
    world, station = started()
    world.sync()
    station.run(60)
    world.lie(0.4)
    world.run(60)
    station.tick()
    said = [e for e in station.events("clock_step") if abs(float(str(e["step_ms"]))) < 1000]
    assert said == []


def test_a_lost_discipline_is_noticed_within_ten_seconds() -> None:
    world, station = started()
    world.sync()
    station.run(40)
    assert station.read().body.at.synced
    world.unsync()
    assert [r.body.at.synced for r in station.run(20, 5)] == [True, False, False, False]


def test_the_hardware_clock_is_a_source_when_asked_for() -> None:
    world, station = started("rtc")
    world.sync()
    world.unsync()
    assert not station.read().body.at.synced, "there is none"
    for off_s, believed in ((0.0, True), (4.0, True), (-4.0, True), (-HOUR_S, False), (0.0, True)):
        world.rtc_off_s = off_s
        world.run(601)
        assert station.read().body.at.synced == believed, off_s
    ntp = Clock("ntp", memory=station.fold, machine=world)
    assert not ntp.stamp().synced
    world.set_by_hand(HOUR_S)
    assert not station.read().body.at.synced, "the system clock left the hardware clock"


def hardware_clock(folder: Path, name: str, since_epoch: str, hctosys: str = "0") -> None:
    """A hardware clock as the kernel shows it (Documentation/ABI/testing/sysfs-class-rtc)."""
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "since_epoch").write_text(since_epoch)
    (folder / name / "hctosys").write_text(f"{hctosys}\n")


@pytest.mark.parametrize("text", ["", "nonsense\n", "-5\n", "\u0664\n"])
def test_a_hardware_clock_that_says_nothing_is_none(text: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.rtc_s() is None
    hardware_clock(tmp_path, "rtc0", text)
    assert machine.rtc_s() is None
    hardware_clock(tmp_path, "rtc0", "1795428000\n")
    assert machine.rtc_s() == 1795428000.5


def test_of_several_hardware_clocks_the_one_that_set_the_system(tmp_path: Path) -> None:
    """A Raspberry Pi 5 has one of its own without a battery, and the one on I2C beside it."""
    hardware_clock(tmp_path, "rtc0", "100\n")
    hardware_clock(tmp_path, "rtc1", "1795428000\n", "1")
    assert Machine(tmp_path).rtc_s() == 1795428000.5
    hardware_clock(tmp_path, "rtc1", "", "1")
    assert Machine(tmp_path).rtc_s() == 100.5


def test_this_machines_hardware_clock_is_read_as_the_kernel_shows_it() -> None:
    """Where there is one; a machine without (a container) has none to read."""
    shown = sorted(Path("/sys/class/rtc").glob("rtc*/since_epoch"))
    said = Machine().rtc_s()
    assert (said is None) == (not shown)
    if said is not None:
        assert min(abs(float(file.read_text()) - said) for file in shown) < 5


def test_the_owners_word_moves_the_clock_both_ways() -> None:
    """What "ntp" does not believe within a boot, half a year back, "trust" does: the way out."""
    for source, believed in (("ntp", False), ("trust", True)):
        world = World()
        world.power_on(START_MS)
        station = Station(world, "ntp" if source == "ntp" else "trust")
        world.sync()
        station.run(60)
        world.lie(-0.5 * YEAR_S)
        assert station.run(20)[-1].body.at.synced is believed
        world.power_on(START_MS - 0.5 * YEAR_S * 1000)
        station.start()
        if source == "trust":
            assert station.read().body.at.synced


def test_no_year_is_far_enough_to_break_the_clock() -> None:
    world, station = started("trust")
    for ms in (-(10**15), 10**16, FAR_MS * 3, 0):
        world.set_by_hand((ms - world.read_ms()[0]) / 1000)
        assert not station.read().body.at.synced
    assert station.clock.doubt is not None


def test_a_step_moves_no_reading_of_a_bus() -> None:
    """The bus waits by the loop's time: what is asked when is the same with steps and without."""
    plain, without = _asked_by_a_bus(())
    stepped, stamps = _asked_by_a_bus((HOUR_S, -HOUR_S, 20 * YEAR_S, -20 * YEAR_S))
    assert stepped == plain
    assert len(plain) > 8
    assert [at.mono_ms for at in stamps] == [at.mono_ms for at in without]


def _asked_by_a_bus(steps_s: Sequence[float]) -> tuple[list[float], list[Stamp]]:
    """When a bus asked its sensor in 125 s, with a step of the clock every 25 s, and the stamps."""
    asked_s: list[float] = []
    bodies: list[Body] = []
    world = LoopWorld()

    class Steadily:
        quantities = (Quantity("ph", "pH", 2),)

        async def read(self, link: Link) -> Measurement:
            asked_s.append(asyncio.get_running_loop().time())
            return Measurement({"ph": 7.0}, b"")

    async def main() -> None:
        world.power_on(START_MS)
        station = Station(world)
        world.sync()
        sensor = Sensor("ph1", "steady", "water", 10.0, Steadily(), Checks({}))
        bus = Bus("b", Link("/dev/none"), [sensor], bodies.extend, station.clock.stamp)
        task = asyncio.create_task(bus.run())
        for number in range(5):
            await asyncio.sleep(25)
            world.set_by_hand(steps_s[number] if number < len(steps_s) else 0.0)
        bus.stop()
        await task

    run(main())
    return asked_s, [body.at for body in bodies if isinstance(body, Reading)]


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S, 20 * YEAR_S, -20 * YEAR_S])
def test_a_step_moves_no_delay_of_an_alarm(step_s: float) -> None:
    world, station = started()
    world.sync()
    steady = Steady()
    begun_ms = steady.place(station.clock.stamp(), newly_started=True)
    for number in range(1, 10):
        world.run(5)
        if number in (3, 6):
            world.lie(step_s if number == 3 else 0.0)
        assert steady.place(station.clock.stamp(), newly_started=False) == begun_ms + number * 5000
