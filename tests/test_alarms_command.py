"""`suuaba alarms` against a running station, with a real broker: what it does is in the journal, on MQTT, and
nowhere else."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services import Mosquitto, Subscriber, running, until
from tests.site import Site, events, site

RULES = """
[[rule]]
id = "ph-stands"
sensor = "ph1"
quantity = "ph"
unit = "pH"
below = 13.5
priority = "critical"
send = [["duty"]]

[[rule]]
id = "ph-never"
sensor = "ph1"
quantity = "ph"
unit = "pH"
above = 13.9
priority = "low"
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running(Mosquitto(tmp_path / "mosquitto")) as server:
        yield server


class Terminal:
    """Somebody at the command line of a site."""

    def __init__(self, place: Site) -> None:
        self.file = place.file

    def __call__(self, *words: str, code: int = 0) -> str:
        """What the command prints; on standard error where it fails. One line, never a traceback."""
        command = [sys.executable, "-m", "gateway.cli", "alarms", str(self.file), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        if code:
            assert done.stderr.count("\n") == 1, done.stderr
            return done.stderr
        return done.stdout

    def rows(self, *words: str) -> dict[str, dict[str, Any]]:
        said = json.loads(self(*words, "--json"))
        return {row["rule"]: row for row in said["alarms"]}


def retained(broker: Mosquitto, rule: str) -> str:
    """The alarm's state as the broker gives it to somebody who comes later."""
    late = Subscriber(broker.port, f"suuaba/1/+/alarm/{rule}")
    try:
        got = late.wait("a retained alarm", lambda got: got and got[0])
        assert got.retained
        return str(got.json["state"])
    finally:
        late.close()


def test_an_alarm_is_acknowledged_shelved_and_brought_back(tmp_path: Path, broker: Mosquitto) -> None:
    with site(tmp_path, broker, None) as place:
        place.file.write_text(place.file.read_text(encoding="utf-8") + RULES, encoding="utf-8")
        terminal = Terminal(place)
        watching = Subscriber(broker.port, "suuaba/1/+/alarm/ph-stands")
        place.start()

        def state(wanted: str) -> dict[str, Any]:
            got = watching.wait(wanted, lambda got: got and got[-1].json["state"] == wanted and got[-1])
            return dict(got.json["detail"])

        state("active_unacknowledged")
        assert terminal.rows()["ph-stands"]["state"] == "active_unacknowledged"
        assert terminal.rows()["ph-never"]["state"] == "normal"
        assert terminal("list").splitlines()[0].startswith("ALARM "), "what is urgent stands first"

        assert "ph-stands" in terminal("ack", "ph-stands", "--by", "Aibek")
        assert state("active_acknowledged")["by"].startswith("Aibek (")
        assert "nothing waits to be acknowledged" in terminal("ack", "ph-stands", code=1)

        assert "a reason is needed" in terminal("shelve", "ph-stands", "--for", "2h", code=1)
        assert "--for 2h" in terminal("shelve", "ph-stands", "--why", "x", code=2)
        assert "needs an end" in terminal("shelve", "ph-stands", "--for", "25 h", "--why", "x", code=1)
        assert "is no duration" in terminal("shelve", "ph-stands", "--for", "soon", "--why", "x", code=2)
        shelved = terminal("shelve", "ph-stands", "--for", "2h", "--why", "насос меняют")
        assert " until 20" in shelved
        assert ": насос меняют]" in shelved
        assert state("shelved")["why"] == "насос меняют"
        assert retained(broker, "ph-stands") == "shelved"
        assert "out of service" in terminal("out-of-service", "ph-stands", "--why", "until spring")
        state("out_of_service")
        assert "use in-service" in terminal("unshelve", "ph-stands", code=1)
        terminal("in-service", "ph-stands")
        state("active_acknowledged")
        terminal("shelve", "ph-stands", "ph-never", "--for", "10 min", "--why", "two at once")
        state("shelved")
        assert terminal.rows()["ph-never"]["state"] == "shelved"
        terminal("unshelve", "ph-stands")
        state("active_acknowledged")
        assert retained(broker, "ph-stands") == "active_acknowledged"
        assert "did you mean ph-stands" in terminal("ack", "ph-stand", code=1)
        assert "which rule" in terminal("ack", code=2)

        place.stop()
        left = terminal.rows()
        assert left["ph-stands"]["state"] == "active_acknowledged"
        assert left["ph-never"]["why"] == "two at once"
        assert "no service runs" in terminal("ack", "ph-stands", code=1)
        before = {file.name: file.read_bytes() for file in (tmp_path / "data").iterdir() if file.is_file()}
        terminal("list")
        after = {file.name: file.read_bytes() for file in (tmp_path / "data").iterdir() if file.is_file()}
        assert before == after, "looking changes nothing"

        records, _ = place.journal()
        [acknowledged] = events(records, "acknowledge")
        assert acknowledged["by"].startswith("Aibek (")
        assert [d["rule"] for d in events(records, "shelve")] == ["ph-stands", "ph-stands", "ph-never"]
        assert {d["from"] for d in events(records, "shelve")} == {"command"}
        assert all(d["by"] and d["why"] and d["minutes"] for d in events(records, "shelve"))
        watching.close()


def test_a_killed_station_is_listed_from_its_tail(tmp_path: Path) -> None:
    """What a fold remembers stands in the tail until SQLite has it."""
    with site(tmp_path, None, None) as place:
        place.file.write_text(place.file.read_text(encoding="utf-8") + RULES, encoding="utf-8")
        terminal = Terminal(place)
        place.start()
        until("the alarm's message", lambda: place.outside.modem.sent)
        terminal("ack", "ph-stands")
        place.stop(signal.SIGKILL)
        assert terminal.rows()["ph-stands"]["state"] == "active_acknowledged"


def test_looking_where_nothing_can_be_read(tmp_path: Path) -> None:
    with site(tmp_path, None, None) as place:
        terminal = Terminal(place)
        assert "there is no journal either" in terminal("list", code=1)
        data = tmp_path / "data"
        data.mkdir()
        (data / "journal.db").write_bytes(b"not a database, by any means" * 100)
        assert "its journal cannot be read" in terminal("list", code=1)
        assert [file.name for file in data.iterdir()] == ["journal.db"]
