"""Scan and capture on the page, with a real station: who may, which ports, how it gets on, what is left,
and that the station's own buses live on afterwards.
"""

from __future__ import annotations

import http.client
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.emulators.instruments import make
from drivers.emulators.port import PortThread, PtyPort
from drivers.emulators.world import World
from drivers.link import Line
from gateway import config
from tests.pages import Client, StationWithPage, station_with_page

WORLD = World(1, "rain")


@pytest.fixture(scope="module")
def free() -> Iterator[PtyPort]:
    """A port that the station does not know, with a probe on it."""
    probe = make("yosemitech-y532", 1, WORLD, "spare")
    port = PtyPort([probe], name="free", line=Line(9600, "8N1"), check_line=True)
    with PortThread(port):
        yield port


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationWithPage]:
    with station_with_page(tmp_path_factory.mktemp("scan")) as found:
        found.start()
        found.until(lambda: all(s["values"] for s in found.client().get("/api/now").json["sensors"]))
        yield found


@pytest.fixture(scope="module")
def technician(place: StationWithPage) -> Client:
    client = place.client()
    client.sign_in()
    return client


def events(client: Client, stop_at: str = "end") -> Iterator[tuple[str, Any]]:
    """What the stream says, until it says `stop_at`."""
    connection = http.client.HTTPConnection(client.host, client.port, timeout=60)
    try:
        connection.request("GET", "/api/scan/stream?language=ru")
        response = connection.getresponse()
        assert response.headers["Content-Type"] == "text/event-stream"
        kind = ""
        while line := response.readline():
            if line.startswith(b"event: "):
                kind = line[7:].decode().strip()
            elif line.startswith(b"data: "):
                yield kind, json.loads(line[6:])
                if kind == stop_at:
                    return
    finally:
        connection.close()


def wait_for_the_end(place: StationWithPage, client: Client) -> Any:
    place.until(lambda: not client.get("/api/scan").json["under_way"], 120)
    return client.get("/api/scan").json


def own(client: Client, bus: str) -> str:
    return next(str(p["port"]) for p in client.get("/api/scan").json["ports"] if p["bus"] == bus)


def test_only_who_signed_in_begins_one(place: StationWithPage, free: PtyPort) -> None:
    stranger = place.client()
    assert stranger.post("/api/scan", {"ports": [free.path]}).status == 401
    signed_in = place.client()
    signed_in.sign_in()
    signed_in.csrf = "guessed"
    assert signed_in.post("/api/scan", {"ports": [free.path]}).status == 403
    assert not stranger.get("/api/scan").json["under_way"]
    assert stranger.get("/api/scan", X_Forwarded_For="203.0.113.7").status == 401


@pytest.mark.parametrize(
    ("ports", "status", "says"),
    [
        (["/dev/null"], 409, "a serial port begins with"),
        (["/dev/../etc/passwd"], 409, "a serial port begins with"),
        (["/etc/passwd"], 409, "a serial port begins with"),
        (["--help"], 409, "a serial port begins with"),
        (["tcp://10.0.0.1:502"], 409, "a serial port begins with"),
        (["MODEM"], 409, "the modem's port"),
        ([], 400, ""),
        (["/dev/pts/0"] * 33, 400, ""),
        (["x" * 201], 400, ""),
    ],
)
def test_ports_that_are_none_of_ours(
    place: StationWithPage, technician: Client, ports: list[str], status: int, says: str
) -> None:
    modem = tomllib.loads(place.file.read_text(encoding="utf-8"))["sms"]["modem"]
    answer = technician.post("/api/scan", {"ports": [modem if p == "MODEM" else p for p in ports]})
    assert answer.status == status
    assert says in answer.json["error"]
    assert technician.get("/api/scan").json["under_way"] is False


def test_a_free_port_is_scanned_and_its_draft_passes_the_check(
    place: StationWithPage, technician: Client, tmp_path: Path
) -> None:
    free = PtyPort([make("sds011", None, WORLD, "dust")], name="dust", line=Line(9600, "8N1"))
    with PortThread(free):
        _scanned_with_a_draft(place, technician, free, tmp_path)


def _scanned_with_a_draft(place: StationWithPage, technician: Client, free: PtyPort, tmp_path: Path) -> None:
    assert technician.post("/api/scan", {"ports": [free.path], "quick": True}).status == 200
    again = technician.post("/api/scan", {"ports": [free.path]})
    assert (again.status, again.json["error"]) == (409, "a scan is under way, begun by Aibek")
    said = list(events(place.client()))
    assert [kind for kind, _ in said[-2:]] == ["scan", "end"]
    under_way = [now for kind, now in said if kind == "scan" and now["report"] and now["under_way"]]
    assert under_way
    assert all(port["port"] == free.path and port["doing"] for now in under_way for port in now["report"])
    assert any("слушает на 9600 8N1" in port["doing"] for now in under_way for port in now["report"])
    last = said[-2][1]
    assert (last["complete"], last["instruments"], last["error"]) == (True, 1, "")
    [found] = last["report"][0]["instruments"]
    assert found["model"] == "sds011"
    answer = technician.get("/api/scan/station.toml")
    assert "attachment" in answer.headers["Content-Disposition"]
    file = tmp_path / "station.toml"
    file.write_bytes(answer.body)
    [sensor] = config.load(file).sensors
    assert (sensor.model, sensor.port) == ("sds011", free.path)
    place.until(lambda: technician.get("/api/events?what=scan").json["events"])
    event = technician.get("/api/events?what=scan").json["events"][0]["detail"]
    assert (event["by"], event["ports"], event["found"]) == ("Aibek", [free.path], ["sds011"])


def test_the_stations_own_bus_lets_go_and_goes_on(place: StationWithPage, technician: Client) -> None:
    dust, river = own(technician, "dust1"), own(technician, "river")
    assert technician.post("/api/scan", {"ports": [dust, river], "quick": True}).status == 200
    place.until(lambda: len(technician.get("/api/visit").json["maintenance"]) == 3)
    place.until(lambda: technician.get("/api/scan").json["instruments"] >= 2, 120)
    assert technician.post("/api/scan/stop").status == 200
    found = wait_for_the_end(place, technician)
    models = {one["model"] for port in found["report"] for one in port["instruments"]}
    assert models >= {"plantower", "yosemitech-y532"}
    ended_ms = technician.get("/api/now").json["now_ms"]

    def all_again() -> bool:
        rows = {row["id"]: row for row in technician.get("/api/now").json["sensors"]}
        three = [rows[name] for name in ("ph1", "turb1", "dust1")]
        return all(row["at_ms"] > ended_ms and row["state"] == "alive" for row in three)

    place.until(all_again)
    assert technician.get("/api/visit").json["maintenance"] == []
    [visit] = technician.get("/api/events?what=visit").json["events"]
    assert (visit["detail"]["by"], visit["detail"]["why"]) == (["Aibek"], ["scan"])
    assert place.client().get("/healthz").status == 200


def test_findings_are_told_in_the_language_that_is_asked_for(
    place: StationWithPage, technician: Client
) -> None:
    assert technician.post("/api/scan", {"ports": ["/dev/pts/99999"], "quick": True}).status == 200
    wait_for_the_end(place, technician)
    says = {"en": "cannot be opened", "ru": "не открывается", "ky": "ачылбайт"}
    for language, words in says.items():
        [port] = technician.get(f"/api/scan?language={language}").json["report"]
        [problem] = port["problems"]
        assert problem["code"] == "closed"
        assert words in problem["what"]
        assert problem["helps"]
    refused = technician.get("/api/scan/station.toml")
    assert refused.status == 409
    assert "no scan has found" in refused.json["hint"]


def test_frames_are_captured_by_who_signed_in_and_taken_along(
    place: StationWithPage, technician: Client
) -> None:
    stranger = place.client()
    assert stranger.post("/api/capture", {"bus": "river", "minutes": 1}).status == 401
    assert stranger.get("/api/capture/frames.txt", X_Forwarded_For="203.0.113.7").status == 401
    assert technician.get("/api/capture/frames.txt").status == 404
    assert technician.post("/api/capture", {"bus": "modem", "minutes": 1}).status == 409
    assert technician.post("/api/capture", {"bus": "river", "minutes": 61}).status == 400
    assert technician.post("/api/capture", {"bus": "river", "minutes": 1}).json["under_way"]
    place.until(lambda: technician.get("/api/capture").json["lines"] >= 6)
    assert technician.post("/api/capture/stop").status == 200
    place.until(lambda: not technician.get("/api/capture").json["under_way"])
    answer = technician.get("/api/capture/frames.txt")
    assert 'filename="frames-kanysh-kyia-1-river.txt"' in answer.headers["Content-Disposition"]
    lines = answer.body.decode().splitlines()
    assert sum(" river > " in line for line in lines) >= 2
    assert sum(" river < " in line for line in lines) >= 2

    def states() -> set[str]:
        return {e["detail"]["state"] for e in technician.get("/api/events?what=capture").json["events"]}

    place.until(lambda: states() == {"begun", "ended"})
