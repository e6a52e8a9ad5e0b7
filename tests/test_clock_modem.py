"""The mobile network's time: what AT+CCLK? means, over a pseudo-terminal, and what the clock believes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.modem import Modem
from alerts.modem_time import Meaning, NetworkTime, NoTime, read_time
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PtyPort
from drivers.link import Line, Link
from gateway import config
from gateway.clock import Clock
from gateway.clock_modem import AGAIN_S, EVERY_S, UNCERTAINTY_MS, ModemTime
from gateway.dating import DatingFold
from gateway.dating_release import Release, clock, uncertainty_ms
from gateway.influx_lines import Lines
from gateway.model import Flag, Reading, Record, Value
from tests.clocks import DAY_S, START_MS, LoopWorld, Station, World
from tests.doctors import modem as doctor_asks
from tests.memory_journal import MemoryJournal
from tests.virtual_time import run


def utc(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    return round(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("line", "meaning", "time"),
    [
        # the standard's own example: 3GPP TS 27.007, 8.15
        ('+CCLK: "94/05/06,22:10:00+08"', "local", NetworkTime(utc(1994, 5, 6, 20, 10, 0), 120)),
        ('+CCLK: "26/11/23,16:00:00+24"', "local", NetworkTime(START_MS, 360)),  # Bishkek
        ('+CCLK: "26/11/23,10:00:00+24"', "utc", NetworkTime(START_MS, 360)),
        ('+CCLK: "26/11/23,05:00:00-20"', "local", NetworkTime(START_MS, -300)),  # New York
        ('+CCLK: "26/11/23,15:45:00+23"', "local", NetworkTime(START_MS, 345)),  # Kathmandu
        ('+CCLK: "2026/11/23,10:00:00+00"', "local", NetworkTime(START_MS, 0)),  # after AT+CSDF
        ('+CCLK: "27/01/01,01:00:00+24"', "local", NetworkTime(utc(2026, 12, 31, 19, 0, 0), 360)),
        # a real answer of a SARA-R4 on 2019-10-23, 21:11 in Melbourne (MKRNB, issue 28)
        ('+CCLK: "19/10/23,10:11:41+44"', "utc", NetworkTime(utc(2019, 10, 23, 10, 11, 41), 660)),
        ('+CCLK: "80/01/06,00:00:12+00"', "local", NetworkTime(utc(1980, 1, 6, 0, 0, 12), 0)),
        ('+CCLK: "02/05/07,14:08:17+00",2', "local", NetworkTime(utc(2002, 5, 7, 14, 8, 17), 0)),
        ('+CCLK: "26/11/23,16:00:00"', "local", "gives no time zone"),
        ('+CCLK: "26/11/23,16:00:00+96"', "local", "quarters of an hour is none"),
        ('+CCLK: "26/13/23,16:00:00+24"', "local", "time is none"),
        ('+CCLK: "26/11/23,24:00:00+24"', "local", "time is none"),
        ('+CCLK: "0001/01/01,00:00:00+24"', "local", "time is none"),
        ('+CCLK: ""', "local", "not understood"),
        ("", "local", "not understood"),
        ('+CCLK: "26/11/23,16:00:00+24" +CCLK: "26/11/23,16:00:00+24"', "local", "not understood"),
    ],
)
def test_what_an_answer_means(line: str, meaning: Meaning, time: NetworkTime | str) -> None:
    if isinstance(time, NetworkTime):
        assert read_time(line, meaning) == time
    else:
        with pytest.raises(NoTime, match=time):
            read_time(line, meaning)


def shown(utc_ms: float, zone: int) -> str:
    local = datetime.fromtimestamp(utc_ms / 1000, UTC) + timedelta(minutes=15 * zone)
    return f"{local:%y/%m/%d,%H:%M:%S}{zone:+03d}"


class Place:
    """A machine that woke at 1970 a day after it was right for an hour, and a modem on a pseudo-terminal."""

    def __init__(self, folder: Path) -> None:
        self.world = LoopWorld()
        self.station = Station(self.world, "modem")
        self.emulated = ModemEmulator()
        self.off_s, self.zone, self.stands = 0.0, 24, ""
        self.emulated.network_clock = self.network
        self.port = PtyPort([self.emulated], link_path=folder / "modem", line=Line(115200))

    def network(self) -> str:
        self.world.catch_up()
        return self.stands or shown(self.world.true_ms + self.off_s * 1000, self.zone)

    def begin(self) -> None:
        self.world.power_on(START_MS)
        self.world.sync()
        self.station.fold = DatingFold(UNCERTAINTY_MS)
        self.station.clock = Clock("modem", memory=self.station.fold, machine=self.world)
        self.station.read()
        self.world.off(DAY_S)
        self.world.power_on(0)
        self.station.clock = Clock("modem", memory=self.station.fold, machine=self.world)

    async def told(self, meaning: Meaning = "local", *, within_s: float = 30.0) -> None:
        """Let the modem be asked for so long, and read meanwhile."""
        modem = Modem(Link(str(self.port.link_path), Line(115200)))
        task = asyncio.create_task(ModemTime(modem, self.station.clock.tell, meaning).run())
        try:
            for _ in range(int(within_s)):
                await asyncio.sleep(1)
                self.world.catch_up()
                self.station.tick()
                self.station.read()
                assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait([task])
            modem.close()


def at(folder: Path, scenario: Callable[[Place], object]) -> Place:
    async def all_of_it() -> Place:
        place = Place(folder)
        await place.port.start()
        try:
            place.begin()
            await scenario(place)  # type: ignore[misc]  # a coroutine
        finally:
            await place.port.stop()
        return place

    return run(all_of_it())


def test_a_station_without_ntp_learns_the_time_from_the_network(tmp_path: Path) -> None:
    place = at(tmp_path, lambda place: place.told())
    station = place.station
    before = [r for r in station.records[1:] if isinstance(r.body, Reading) and not r.body.at.synced]
    after = [r for r in station.records[1:] if isinstance(r.body, Reading) and r.body.at.synced]
    assert len(before) >= 5
    assert len(after) >= 15
    for record in after:
        assert abs(record.body.at.utc_ms - station.true_ms[record.seq]) < 1500
    for record in before:
        dated = station.fold.date(record.body.at, "mqtt")
        assert abs(dated.utc_ms - station.true_ms[record.seq]) < dated.uncertainty_ms
        assert UNCERTAINTY_MS <= dated.uncertainty_ms < UNCERTAINTY_MS + 1100
    [told] = station.events("clock_told")
    assert told["by"] == "modem"
    assert "AT+CTZU=1" in place.emulated.commands


@pytest.mark.parametrize(("zone", "meaning", "off_s"), [(-20, "local", 0.0), (24, "utc", 21600.0)])
def test_zones_both_ways(tmp_path: Path, zone: int, meaning: Meaning, off_s: float) -> None:
    """West of Greenwich; and a modem that gives UTC, with the zone beside it: its digits are 6 h earlier."""

    async def scenario(place: Place) -> None:
        place.zone, place.off_s = zone, -off_s
        await place.told(meaning)

    station = at(tmp_path, scenario).station
    last = station.records[-1]
    assert last.body.at.synced
    assert abs(last.body.at.utc_ms - station.true_ms[last.seq]) < 1500


@pytest.mark.parametrize(
    ("off_s", "stands"),
    [
        (0.0, "26/11/24,16:00:40+24"),  # stands still
        (0.0, "04/01/01,00:00:07+00"),  # what a SIM800 begins with
        (0.0, "80/01/06,00:00:07+00"),
        (0.0, "26/11/24,16:00:40"),
        (-3 * DAY_S, ""),  # before a time that this station was sure of
        (-30 * 365 * DAY_S, ""),
        (20 * 365 * DAY_S, ""),
    ],
)
def test_what_is_not_believed(tmp_path: Path, off_s: float, stands: str) -> None:
    async def scenario(place: Place) -> None:
        place.off_s, place.stands = off_s, stands
        await place.told()

    station = at(tmp_path, scenario).station
    assert not any(r.body.at.synced for r in station.records[1:])
    assert station.events("clock_told") == []


def test_a_network_that_tells_nothing_and_then_does(tmp_path: Path) -> None:
    async def scenario(place: Place) -> None:
        place.world.power_on(START_MS + DAY_S * 1000)  # a time that could be, and nobody vouches for
        place.station.clock = Clock("modem", memory=place.station.fold, machine=place.world)
        place.emulated.network_clock = None
        await place.told(within_s=20)
        assert not place.station.records[-1].body.at.synced
        place.emulated.network_clock = place.network
        await place.told(within_s=AGAIN_S)

    assert at(tmp_path, scenario).station.records[-1].body.at.synced


def test_what_it_says_again_does_not_shake_the_clock(tmp_path: Path) -> None:
    """Whole seconds and late answers move nothing; half a minute does, and is said. NTP leads."""

    async def scenario(place: Place) -> None:
        await place.told()
        clock = place.station.clock
        for off_ms in (900, -900, 1900, -1900):
            before = clock.stamp()
            place.world.catch_up()
            assert clock.tell(round(place.world.true_ms) + off_ms) == ""
            assert clock.stamp().utc_ms - before.utc_ms < 50
        assert clock.tell(round(place.world.true_ms) + 30_000) == ""
        assert abs(clock.stamp().utc_ms - place.world.true_ms - 30_000) < 1500
        place.station.tick()
        place.world.sync()
        await asyncio.sleep(11)
        place.world.catch_up()
        assert abs(clock.stamp().utc_ms - place.world.true_ms) < 50

    station = at(tmp_path, scenario).station
    first, second = station.events("clock_told")
    assert "step_ms" not in first
    assert abs(second["step_ms"] - 30_000) < 1500  # type: ignore[operator]  # a number
    assert station.events("clock_step") == []
    assert EVERY_S == 21600


def test_the_uncertainty_is_said_with_every_point() -> None:
    """A reading under a right clock: as it is with NTP, with 5 s of doubt where the network told the time."""
    world = World()
    world.power_on(START_MS)
    place = Station(world, "trust")
    record = Record(7, Reading("ph1", "m", "water", place.clock.stamp(), {"ph": Value(7.0, 7.0, "pH", 1)}))
    assert record.body.at.synced
    for error_ms, word, doubt in ((50, "synced", 0), (UNCERTAINTY_MS, "dated", UNCERTAINTY_MS)):
        fold = DatingFold(error_ms)
        release = Release(fold, MemoryJournal(), "influxdb", stamp=place.clock.stamp, hold_s=60)
        out = release.take(record)
        assert out is not None
        assert (clock(out.body.at), uncertainty_ms(out.body.at)) == (word, doubt)
        assert out.body.at.utc_ms == record.body.at.utc_ms
        assert isinstance(out.body, Reading)
        assert out.body.values["ph"].flag == Flag.GOOD
        assert (f"uncertainty_ms={doubt}i" in Lines("x").join([out]).decode()) == bool(doubt)


def test_the_configuration(tmp_path: Path) -> None:
    from tests.configs import DUST, HEAD

    file = tmp_path / "station.toml"
    text = f'{HEAD}{DUST}[clock]\nsource = "modem"\nmodem_time = "utc"\n'
    file.write_text(text)
    assert config.load(file, lenient=True).clock.source == "ntp"  # there is no modem to ask
    file.write_text(f'{text}[sms]\nmodem = "/dev/serial/by-id/m"\n')
    wanted = config.load(file)
    assert (wanted.clock.source, wanted.clock.modem_time) == ("modem", "utc")


def test_the_doctor_asks_the_modem(tmp_path: Path) -> None:
    emulated = ModemEmulator()
    source = '[clock]\nsource = "modem"\n'
    emulated.network_clock = None
    [found] = [f for f in doctor_asks(tmp_path, emulated, clock=source) if f.about == "time"]
    assert found.level == "failure"
    emulated.network_clock = lambda: shown(Clock("trust").stamp().utc_ms, 24)
    [found] = [f for f in doctor_asks(tmp_path, emulated, clock=source) if f.about == "time"]
    assert found.level == "ok"
    assert "UTC+6 h" in found.what
