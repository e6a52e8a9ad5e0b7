"""The dashboards: made from one source, sound as JSON, and every query answered by a real InfluxDB that a
station filled."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.influx_lines import Lines
from gateway.model import Average, Body, Event, Mean, Reading, Record, Stamp, Value
from tests.services import InfluxDB, fetch, running

GRAFANA = Path(__file__).parent.parent / "deploy" / "grafana"
STATION = "kanysh-kyia-1"
DATABASE = "suuaba"
PUSHED = ("suuaba-live.json", "suuaba-mqtt.json")
"""These ask no database."""
KINDS = {"geomap", "table", "timeseries", "stat", "state-timeline"}


def built() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("build", GRAFANA / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    files: dict[str, str] = module.files()
    return files


def boards() -> dict[str, Any]:
    return {file.name: json.loads(file.read_text()) for file in sorted((GRAFANA / "dashboards").glob("*"))}


def queries() -> list[Any]:
    found = []
    for name, board in boards().items():
        asked = [(panel["title"], target) for panel in board["panels"] for target in panel["targets"]]
        asked += [(f"marks: {a['name']}", a["target"]) for a in board["annotations"]["list"]]
        if name not in PUSHED:
            found += [
                pytest.param(board, t["query"], id=f"{name}:{title}:{t['refId']}") for title, t in asked
            ]
    return found


# ── as files ────────────────────────────────────────────────────────────────────────────────────────


def test_the_files_are_what_the_source_makes() -> None:
    """Else: python deploy/grafana/build.py"""
    there = {file.name: file.read_text() for file in (GRAFANA / "dashboards").glob("*")}
    assert there == built()


@pytest.mark.parametrize("name", sorted(boards()))
def test_a_dashboard_is_sound(name: str) -> None:
    board = boards()[name]
    assert board["uid"] == name.removesuffix(".json")
    assert len(board["uid"]) <= 40  # Grafana's limit
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) > 0
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["type"] in KINDS
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])[:1]:
            assert step["value"] is None  # the first colour has no beginning
        known = {variable["name"] for variable in board["templating"]["list"]}
        text = json.dumps([panel["targets"], panel["title"]])
        used = set(re.findall(r"\$\{?([a-z]+)\}?", text)) - {"tag", "m", "col", "__interval", "timeFilter"}
        assert {u for u in used if not u.startswith("tag")} - {"time"} <= known, panel["title"]
        assert panel.get("repeat", next(iter(known), "")) in known or not known


def test_the_provisioning_names_what_the_dashboards_ask() -> None:
    uids = set()
    for file in [*(GRAFANA / "provisioning/datasources").iterdir(), *(GRAFANA / "other-databases").iterdir()]:
        [*sources] = yaml.safe_load(file.read_text())["datasources"]
        uids |= {source["uid"] for source in sources}
        for source in sources:
            if source["type"] == "influxdb":
                assert source["jsonData"]["version"] == "InfluxQL"
            for secret in source.get("secureJsonData", {}).values():
                assert "$__file{" in secret  # secrets stand in files
    text = json.dumps(boards())
    assert set(re.findall(r'"uid": "(suuaba|suuaba-mqtt)"', text)) <= uids
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/suuaba.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"]


# ── against the database ────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDB]:
    """A demo's seconds, by the station itself, and what takes longer than seconds, by the same line maker."""
    with running(InfluxDB(tmp_path_factory.mktemp("influx"))) as database:
        command = [sys.executable, "-m", "gateway.cli", "demo", "--seconds", "12", "--json"]
        command += ["--influxdb", database.url]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        lines = Lines(STATION)
        for seq, body in enumerate(rarer(int(time.time() * 1000)), 900_000):
            made = lines.join([Record(seq, body)])
            precision = "ns" if isinstance(body, Event) else "ms"
            fetch(f"{database.url}/write?db={DATABASE}&precision={precision}", made)
        yield database


def rarer(now_ms: int) -> Iterator[Body]:
    """What does not come to pass in seconds."""
    at = Stamp(now_ms - 1000, "b", 1, True)
    yield Reading("ph1", "m", "water", at, {"ph": Value(15.0, 15.0, "pH", 4, "gross")})
    yield Reading("turb1", "m", "water", at, {"turbidity": Value(9e3, 9e3, "NTU", 4, "gross")})
    dust = {q: Value(2e3, 2e3, "ug/m3", 4, "gross") for q in ("pm2_5", "pm10")}
    yield Reading("dust1", "m", "air", at, dust)
    early = Stamp(now_ms - 2000, "b", 1, False)
    yield Reading("ph1", "m", "water", early, {"ph": Value(7.0, 7.0, "pH", 3, "clock")})
    for sensor, medium, quantity in QUANTITIES:
        mean = {quantity: Mean(7.0, 6.9, 7.1, 5, 6, "", 1)}
        yield Average(sensor, "m", medium, at, now_ms - 61_000, 60, mean, 0)
    spike = {
        "sensor": "ph1",
        "quantity": "ph",
        "medium": "water",
        "flag": 4,
        "time_ms": now_ms - 1000,
        "seq": 4,
    }
    alarm = {"rule": "turbidity-high", "sensor": "turb1", "quantity": "turbidity", "priority": "critical"}
    yield Event(at, "flagged", spike)
    yield Event(
        at, "alarm", alarm | {"from": "normal", "to": "active-unacknowledged", "limit": 50, "value": 61}
    )
    for what in ("gap", "ledger", "sms", "calibrated", "calibration_due", "correction", "maintenance", "loss",
                 "sink_down", "sink_up", "sensor"):  # fmt: skip
        yield Event(at, what, {"sensor": "ph1", "why": "power_off"})


QUANTITIES = [
    ("ph1", "water", "ph"), ("turb1", "water", "turbidity"), ("ph1", "water", "water_temperature"),
    ("dust1", "air", "pm2_5"), ("dust1", "air", "pm10"),
]  # fmt: skip


def filled(influx: InfluxDB, board: Any, query: str) -> Iterator[str]:
    """The query with its variables, as Grafana fills them in: once for each value that a panel repeats."""
    values: dict[str, list[str]] = {}
    for variable in board["templating"]["list"]:
        name = variable["name"]
        if variable["type"] == "custom":
            values[name] = ["water"]
            continue
        series = influx.post(put(variable["query"], values), DATABASE)["results"][0]["series"]
        column = 1 if "TAG VALUES" in variable["query"] else 0
        found = {row[column] for one in series for row in one["values"]}
        shape = variable["regex"].strip("/") or "(.*)"
        values[name] = sorted(m[len(m.groups())] for one in found if (m := re.fullmatch(shape, one)))
        assert values[name], f"variable {name} has no values"
        if name == "quantity":
            assert not [q for q in values[name] if q.endswith(("_raw", "_flag"))]
    if re.search(r"\$\{?quantity", query):
        for quantity in QUANTITIES:
            if quantity[2] in values["quantity"]:
                yield put(query, values | {"quantity": [quantity[2]]})
    else:
        yield put(query, values)


def put(query: str, values: dict[str, list[str]]) -> str:
    for name, some in values.items():
        text = some[0] if len(some) == 1 else f"({'|'.join(map(re.escape, some))})"
        query = query.replace(f"${{{name}}}", text).replace(f"${name}", text)
    now_ms = int(time.time() * 1000)
    span = f"time >= {now_ms - 3_600_000}ms and time <= {now_ms + 60_000}ms"
    return query.replace("$timeFilter", span).replace("$__interval", "10s")


@pytest.mark.parametrize(("board", "query"), queries())
def test_every_query_finds_something(influx: InfluxDB, board: Any, query: str) -> None:
    asked = list(filled(influx, board, query))
    assert asked
    for one in asked:
        assert "$" not in re.sub(r"\$/", "", one), one  # but for the end of a regular expression
        rows = influx.rows(one, DATABASE)
        values = [v for row in rows for key, v in row.items() if key not in ("time", "station", "sensor")]
        assert any(value not in (None, 0) for value in values), one


def test_the_map_knows_where_the_station_is(influx: InfluxDB) -> None:
    [panel] = [p for p in boards()["suuaba-fleet.json"]["panels"] if p["type"] == "geomap"]
    [query] = filled(influx, boards()["suuaba-fleet.json"], panel["targets"][0]["query"])
    [row] = influx.rows(query, DATABASE)
    assert (row["latitude"], row["longitude"], row["station"]) == (41.7, 71.6, STATION)


def test_what_is_wrong_is_in_no_mean(influx: InfluxDB) -> None:
    panel = boards()["suuaba-water.json"]["panels"][0]
    board = boards()["suuaba-water.json"]
    means, wrong = (next(filled(influx, board, target["query"])) for target in panel["targets"])
    assert max(row["mean"] or 0 for row in influx.rows(means, DATABASE)) < 14
    assert [row["mean"] for row in influx.rows(wrong, DATABASE)] == [15.0]


@pytest.mark.parametrize(
    ("detail", "fields"),
    [
        (
            {"name": 'A "b"', "latitude": 41, "longitude": 71.5},
            'latitude=41.0,longitude=71.5,name="A \\"b\\""',
        ),
        ({"latitude": 91, "longitude": "x", "name": 5}, ""),
        ({"latitude": float("nan"), "longitude": True}, ""),
        ({"latitude": 10**400}, ""),
    ],
)
def test_only_a_place_becomes_a_field(detail: dict[str, Any], fields: str) -> None:
    line = Lines("s").event(7, Event(Stamp(1, "b", 1, True), "started", detail))
    assert line.rpartition("seq=7i")[2].rpartition(" ")[0].lstrip(",") == fields
