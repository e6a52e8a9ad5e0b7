"""The whole station as a process, on emulated instruments and real servers: every number arrives, once."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import InfluxDB, Mosquitto, running, until
from tests.site import KEEPING, Keeper, Numbers, Site, events, journaled, site, stored


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "mosquitto"
    with running(Mosquitto(folder, settings=KEEPING.format(folder=folder))) as server:
        yield server


def balance(place: Site, keeper: Keeper, influxdb: InfluxDB) -> None:
    """What the instruments answered = the journal = InfluxDB, value for value; and every reading by MQTT."""
    records, cursors = place.journal()
    given, kept = place.given(), journaled(records)
    assert not given - kept, "an instrument answered and the journal does not have it"
    assert not kept - given, "the journal has what no instrument said"
    assert cursors["mqtt"] == cursors["influxdb"] == records[-1].seq
    assert _once(stored(influxdb), kept)
    seqs = [record.seq for record in records if type(record.body).__name__ == "Reading"]
    keeper.wait("every reading by MQTT", lambda got: set(keeper.seqs()) == set(seqs))
    assert len(seqs) > 15


def _once(stored: Numbers, kept: Numbers) -> bool:
    assert stored == kept, f"missing {kept - stored}, too many {stored - kept}"
    return True


def until_answered(place: Site, count: int) -> None:
    """Until the instruments have answered so often."""
    until("the instruments' answers", lambda: len(place.outside.record.snapshot()) >= count, 60)


def both_up(keeper: Keeper) -> None:
    def up(got: object) -> bool:
        return all(keeper.events("sink_up", sink) for sink in ("mqtt", "influxdb"))

    keeper.wait("both sinks up again", up)


def test_every_value_arrives_once(tmp_path: Path, broker: Mosquitto, own_influxdb: InfluxDB) -> None:
    keeper = Keeper(broker.port)
    with site(tmp_path, broker, own_influxdb) as place:
        place.start()
        keeper.wait("an alarm", lambda got: any("/alarm/" in topic for topic, _ in got))
        keeper.wait("its SMS", lambda got: len(place.outside.modem.sent) >= 1)
        assert place.stop() < 5.0
        balance(place, keeper, own_influxdb)
        records, _ = place.journal()
        assert [d["state"] for d in events(records, "sms")] == ["sending", "accepted"]
        assert "turb1" in place.outside.modem.sent[0].text
        status = [said for topic, said in keeper.got if topic.endswith("/status")]
        assert (status[0]["state"], status[-1]["state"]) == ("online", "offline")
    keeper.close()


def test_an_outage_of_broker_and_database_loses_and_doubles_nothing(
    tmp_path: Path, broker: Mosquitto, own_influxdb: InfluxDB
) -> None:
    keeper = Keeper(broker.port)
    with site(tmp_path, broker, own_influxdb) as place:
        place.start()
        keeper.wait("readings", lambda got: len(got) > 15)
        before = len(place.outside.record.snapshot())
        broker.stop()
        own_influxdb.kill()
        until_answered(place, before + 25)
        broker.start()
        own_influxdb.start()
        both_up(keeper)
        place.stop()
        balance(place, keeper, own_influxdb)
    keeper.close()


def test_servers_that_are_absent_at_the_start_get_everything_later(
    tmp_path: Path, broker: Mosquitto, own_influxdb: InfluxDB
) -> None:
    keeper = Keeper(broker.port)
    broker.stop()
    own_influxdb.kill()
    with site(tmp_path, broker, own_influxdb) as place:
        place.start()
        until_answered(place, 25)
        broker.start()
        own_influxdb.start()
        both_up(keeper)
        place.stop()
        balance(place, keeper, own_influxdb)
    keeper.close()


def test_the_demo_ends_with_its_sum(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "gateway.cli",
        "demo",
        "--seconds",
        "20",
        "--json",
        "--data",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["lost"] == 0
    assert said["delivered"]["mqtt"] == said["journaled"] > 40
    assert said["sensors"] == 4
    assert said["alarms"] == [{"rule": "turbidity-high", "state": "active_unacknowledged"}]
    assert "turb1" in said["sms"][0]["text"]
    assert said["sms"][0]["segments"] == 1


def test_systemd_is_told_of_start_life_and_end(tmp_path: Path) -> None:
    with (
        site(tmp_path, None, None) as place,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        place.start({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert systemd.recv(1000).startswith(b"READY=1\nSTATUS=reading 4 instruments")
        assert systemd.recv(1000) == b"WATCHDOG=1"
        place.stop()
        rest = []
        systemd.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            while True:
                rest.append(systemd.recv(1000))
        assert rest[-1] == b"STOPPING=1"
