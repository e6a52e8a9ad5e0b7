"""What `check` prints: wire time worked out by hand, traffic counted on real connections, the card."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import uuid
from pathlib import Path

import msgspec
import pytest

from drivers import catalogue
from drivers.link import Line
from gateway import cli, config, plan, plan_card, plan_traffic
from gateway.averages import averages
from gateway.clock import Clock
from gateway.influx import InfluxSink, Lines
from gateway.influx_doors import version1, version2
from gateway.journal_tail import TailFile
from gateway.model import Average, Record, Stamp
from gateway.mqtt import MqttSink
from gateway.mqtt_messages import average_json
from gateway.plan_averages import averages as averages_planned
from gateway.wire_time import characters, cycle
from tests.services import InfluxDB, Mosquitto, VictoriaMetrics

STATION = """
[station]
id = "river-1"
data = "/nowhere"
[[bus]]
id = "river"
port = "rtu+tcp://127.0.0.1:4001"
[[sensor]]
id = "ph1"
bus = "river"
model = "renke-rs-ph-n01"
address = 1
[[sensor]]
id = "dust1"
port = "tcp://127.0.0.1:4002"
model = "plantower"
every = "1 s"
"""
MQTT = '[mqtt]\nurl = "mqtts://mqtt.example.kg"\n'
INFLUX = '[influxdb]\nurl = "http://db:8086"\nversion = 1\ndatabase = "river"\n'


def station(folder: Path, text: str = STATION + MQTT + INFLUX) -> config.Station:
    file = folder / "station.toml"
    file.write_text(text, encoding="utf-8")
    return config.load(file, environment={})


def records(wanted: config.Station, sensor: int = 0, count: int = 20) -> list[Record]:
    return plan_traffic.samples(wanted, wanted.sensors[sensor], count)


class Counter:
    """A wire tap: passes a TCP connection on and counts the bytes each way."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.up = self.down = 0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [near, far]
            threading.Thread(target=self._pass, args=(near, far, "up"), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, "down"), daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket, way: str) -> None:
        try:
            while got := source.recv(65536):
                setattr(self, way, getattr(self, way) + len(got))
                to.sendall(got)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for sock in self._sockets:
            sock.close()


# ── the wire ──


@pytest.mark.parametrize(
    ("pdu", "framing", "wanted"),
    [
        (5, "rtu", 8),  # 01 03 00 00 00 03 05 CB
        (8, "rtu", 11),  # its answer: 01 03 06, six bytes, CRC
        (5, "ascii", 17),  # :010300000003F9 CR LF
    ],
)
def test_characters_in_a_frame(pdu: int, framing: str, wanted: int) -> None:
    assert characters(pdu, framing) == wanted


@pytest.mark.parametrize(
    ("model", "line", "requests", "wire_s"),
    [
        # two registers: 8 + 9 characters of 10 bits, and before each frame 3.5 characters of 11 bits
        ("renke-rs-ph-n01", Line(4800, "8N1"), 1, 17 * 10 / 4800 + 2 * 3.5 * 11 / 4800),
        # the same at 19200 with a parity bit: 11 bits
        ("renke-rs-ph-n01", Line(19200, "8E1"), 1, 17 * 11 / 19200 + 2 * 3.5 * 11 / 19200),
        # two floats and the error byte behind them, five registers: 8 + 15 characters
        ("yosemitech-y511", Line(9600, "8N1"), 1, 23 * 10 / 9600 + 2 * 3.5 * 11 / 9600),
        # write one 8 + 8, read one 8 + 7, read eight 8 + 21, of 11 bits; it wants 0.1 s before each request
        ("aqualabo-ntu", Line(9600, "8N2"), 3, 60 * 11 / 9600 + 3 * (0.1 + 3.5 * 11 / 9600)),
    ],
)
def test_wire_time(model: str, line: Line, requests: int, wire_s: float) -> None:
    cost = cycle(catalogue.find(model), line)
    assert cost is not None
    assert cost.requests == requests
    assert cost.wire_s == pytest.approx(wire_s, rel=1e-9)
    # it says itself how long it measures, and is given 0.01 s more
    assert cost.waits_s == (0.01 if model == "aqualabo-ntu" else 0.0)


def test_a_full_wire_is_said(tmp_path: Path) -> None:
    busy = STATION.replace("address = 1", 'address = 1\nevery = "120 ms"')
    busy += '[journal]\nlimit = "1000 GB"\n'
    made = plan.plan(station(tmp_path, busy))
    assert made.wires[0].share == pytest.approx((17 * 10 + 2 * 3.5 * 11) / 4800 / 0.12)  # 43 %
    assert made.warnings == ()
    second = (
        '[[sensor]]\nid = "ph2"\nbus = "river"\nmodel = "renke-rs-ph-n01"\naddress = 2\nevery = "120 ms"\n'
    )
    [line] = plan.plan(station(tmp_path, busy + second)).warnings
    assert line.startswith("river: 86% of the wire's time is asked for; above 80% one silent instrument")


# ── traffic, against real connections ──


def test_mqtt_bytes_are_those_on_the_wire(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """PUBLISH and PUBACK of the real sink and the real broker, to the byte."""
    wanted = station(tmp_path, STATION.replace("river-1", f"river-{uuid.uuid4().hex[:8]}"))
    tap = Counter(mosquitto.port)

    async def talk() -> tuple[int, int]:
        sink = MqttSink(wanted.id, f"mqtt://127.0.0.1:{tap.port}", stamp=Clock().stamp)
        some = records(wanted, sensor=1)
        await sink.deliver(some[:1])  # connects, and says that the station is there
        up, down = tap.up, tap.down
        await sink.deliver(some[1:])
        grown = tap.up - up, tap.down - down
        await sink.close()
        return grown

    try:
        up, down = asyncio.run(talk())
    finally:
        tap.close()
    dust = wanted.sensors[1]
    expected = [
        plan_traffic.publish_bytes(plan_traffic.topic(wanted, dust), plan_traffic.reading(wanted, record))
        for record in records(wanted, sensor=1)[1:]
    ]
    assert (up, down) == (sum(expected), plan_traffic.PUBACK_BYTES * 19)


@pytest.mark.parametrize("version", [1, 2])
def test_influxdb_bytes_are_those_on_the_wire(
    tmp_path: Path, version: int, influxdb: InfluxDB, victoria: VictoriaMetrics
) -> None:
    """A request of the real sink; names and secrets differ in length, hence some bytes of play."""
    wanted = station(tmp_path)
    tap = Counter(influxdb.port if version == 1 else victoria.port)
    where = f"http://127.0.0.1:{tap.port}"
    name = f"b{uuid.uuid4().hex[:8]}"
    door = (
        version1(where, name, username="river-1", password="p" * 16)
        if version == 1
        else version2(where, "monitoring", name, token="t" * 88)
    )

    async def talk() -> tuple[int, int]:
        sink = InfluxSink(wanted.id, door)
        some = records(wanted, count=3)
        await sink.deliver(some[:1])  # connects, and makes the database
        up, down = tap.up, tap.down
        await sink.deliver(some[1:])
        grown = tap.up - up, tap.down - down
        await sink.close()
        return grown

    try:
        up, down = asyncio.run(talk())
    finally:
        tap.close()
    lines = gzip.compress(Lines(wanted.id).join(records(wanted, count=3)[1:]), 1)
    head = plan_traffic.HEADS[version] + len(lines)
    if version == 1:
        assert up + down == pytest.approx(head, abs=20)
    else:  # VictoriaMetrics answers in other words: the request only
        assert up == pytest.approx(head - 252, abs=20)


def test_the_status_message_is_like_the_real_one(tmp_path: Path) -> None:
    from gateway.station import Station

    wanted = station(tmp_path)
    real = Station(wanted).health()
    example = plan_traffic.example_status(wanted).health
    assert example["sensors"].keys() == real["sensors"].keys()
    assert example["sensors"]["ph1"].keys() == real["sensors"]["ph1"].keys()
    assert example.keys() == real.keys()


def test_which_readings_fall_together(tmp_path: Path) -> None:
    together = plan_traffic.moments(station(tmp_path), 1.0)
    assert len(together) == 3600
    assert sum(len(sensors) == 2 for sensors in together) == 360


def test_traffic_adds_up(tmp_path: Path) -> None:
    wanted = station(tmp_path)
    mqtt, influx = (sink.traffic for sink in plan.plan(wanted).sinks)
    assert mqtt.messages == 86400 + 8640 + 1440  # dust each second, pH each ten, a status each minute
    a_day = {"ph1": 8640, "dust1": 86400}
    said = sum(
        a_day[s.id]
        * (
            plan_traffic.PUBACK_BYTES
            + plan_traffic.publish_bytes(plan_traffic.topic(wanted, s), plan_traffic.payload(wanted, s))
        )
        for s in wanted.sensors
    )
    assert said < mqtt.payload < 1.02 * said  # and the status
    batches = 86400 + 1440
    assert mqtt.carriage == pytest.approx(3 * batches * 52 + 2 * batches * 22, rel=0.01)
    assert influx.messages == 86400
    assert influx.carriage == 3 * 86400 * 52  # no TLS


def test_averages_are_counted(tmp_path: Path) -> None:
    """Averages alone: a message of each instrument a minute, as long as what the station really makes."""
    only = (
        STATION + MQTT + 'send = ["average:1 min"]\n' + INFLUX + 'send = ["average:1 min", "average:1 h"]\n'
    )
    wanted = station(tmp_path, only)
    made = plan.plan(wanted)
    assert made.averages_a_day == 2 * (1440 + 24)
    mqtt, influx = (sink.traffic for sink in made.sinks)
    assert mqtt.messages == 2 * 1440 + 1440  # and the status
    assert influx.messages == 1440 + 24
    fold = averages(wanted)
    real: list[bytes] = []
    for i, record in enumerate(records(wanted, 0, 60)):
        given = [body for body in fold.step(record) if isinstance(body, Average) and body.length_s == 60]
        real += [average_json(wanted.id, 1_000_000 + i, body) for body in given]
    example = next(r.body for r in averages_planned(wanted).examples if isinstance(r.body, Average))
    assert len(real) == 9
    size = sum(map(len, real)) / len(real)
    assert len(average_json(wanted.id, 1_000_000, example)) == pytest.approx(size, rel=0.1)
    without = plan.plan(station(tmp_path))
    assert without.averages_a_day == 0
    per_average = (made.card.kept - without.card.kept) / made.averages_a_day
    assert 60 < per_average < 1500


def test_the_journal_s_share_of_averages_is_like_the_real_one(tmp_path: Path) -> None:
    wanted = station(tmp_path, STATION + MQTT + 'send = ["average:1 min"]\n')
    fold, tail = averages(wanted), TailFile(tmp_path / "tail", 1)
    size = windows = 0
    streams = {s.id: iter(records(wanted, n, 1200)) for n, s in enumerate(wanted.sensors)}
    for second in range(600):
        given = list(fold.step(next(streams["dust1"])))
        given += fold.step(next(streams["ph1"])) if second % 10 == 0 else []
        if second % 60 == 5 and second > 60:
            given += fold.tick(Stamp(1_795_428_000_000 + second * 1000, "39e039a1", second * 1000, True))
        if given:
            lines = [msgspec.json.encode(Record(second, body)) for body in given]
            lines.append(msgspec.json.encode({"fold": ["averages", fold.save().decode()]}))
            before = tail._at
            tail.write(b"\n".join(lines) + b"\n")
            if second > 180:
                size += tail._at - before
                windows += len(given) / 2
    tail.close()
    planned = averages_planned(wanted)
    assert planned.weight.tail / 1440 == pytest.approx(size / windows, rel=0.1)


def test_a_budget_that_is_too_small_is_said(tmp_path: Path) -> None:
    rich = '[journal]\nlimit = "9 GB"\n' + MQTT + 'budget = "9 GB / 30 d"\n'
    assert plan.plan(station(tmp_path, STATION + rich)).warnings == ()
    [line] = plan.plan(station(tmp_path, STATION + rich.replace("9 GB /", "20 MB /"))).warnings
    assert line.startswith("mqtt: ")
    assert line.endswith("in 30 days, and the budget is 20 MB: read less often, or raise the budget")


# ── the card ──


def test_a_day_on_the_card() -> None:
    """100,000 records of 20 bytes, a commit and a sync each 15 s, a block each half hour, by hand."""
    made = plan_card.card(plan_card.Weight(2_000_000, 30_000_000, 1_200_000), 5760, 5760)
    packed, blocks = 1_200_000, 48
    assert made.kept == packed + blocks * 2048
    assert made.written == 2_000_000 + 5760 * 4096 + blocks * 10 * 4096 + 2 * (packed + blocks * 2048)
    large = plan_card.card(plan_card.Weight(9_000_000, 100 << 20, 1_200_000), 5760, 5760)
    assert large.kept == 9_000_000 + 100 * 2048  # frames of 1.5 KB are packed well; a block each megabyte


def test_bytes_of_readings_are_those_of_the_journal(tmp_path: Path) -> None:
    """The same readings through the journal's own tail file."""
    wanted = station(tmp_path)
    tail = TailFile(tmp_path / "tail", 1)
    streams = {s.id: iter(plan_traffic.samples(wanted, s, 600)) for s in wanted.sensors}
    count = 0
    for sensors in plan_traffic.moments(wanted, 1.0)[:600]:
        some = [next(streams[sensor.id]) for sensor in sensors]
        count += len(some)
        lines = [msgspec.json.encode(record) for record in some]
        lines.append(msgspec.json.encode({"cursors": {"mqtt": count + 17, "influxdb": count + 12}}))
        tail.write(b"\n".join(lines) + b"\n")
    made = plan_card.readings(wanted)
    assert made.tail / 144 == pytest.approx((tmp_path / "tail").stat().st_size, rel=0.03)
    assert made.block / 144 == pytest.approx(len(tail.body()), rel=0.03)
    tail.close()


def test_a_card_that_fills_too_early_is_said(tmp_path: Path) -> None:
    small = STATION + '[journal]\nlimit = "10 MB"\n'
    [line] = plan.plan(station(tmp_path, small)).warnings
    assert line.startswith("journal: 10 MB are full after ")
    assert "before keep (400 days); then the oldest go" in line


# ── the command ──


def test_check_prints_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    station(tmp_path)
    assert cli.main(["check", str(tmp_path / "station.toml")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "river-1: 2 instruments on 2 ports"
    assert "    ph1 renke-rs-ph-n01 at 1           10 s         1       51 ms         0.5%" in lines
    assert "    dust1 plantower                     1 s         –           –" in lines
    assert "READINGS                             95,040 a day" in lines
    assert [line for line in lines if line.startswith("  mqtt mqtt.example.kg             96,480 messages")]
    assert "                              15 s if the power is cut" in lines
    assert max(map(len, lines)) <= 120


def test_check_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "station.toml"
    file.write_text(STATION.replace("address = 1", "address = 300").replace('"1 s"', "1"), encoding="utf-8")
    assert cli.main(["check", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "station.toml: sensor[1].address (ph1): 300 is out of range; allowed 1…247; did you mean 30?",
        'station.toml: sensor[2].every (dust1): 1 has no unit; write "1 s", or ms, min, h, d',
    ]
