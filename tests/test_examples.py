"""The examples for Telegraf and Node-RED, and the names of our Prometheus metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.collector import Collector
from gateway.collector_inbox import Broker, Inbox
from gateway.collector_page import Page
from gateway.model import Reading, Stamp, Value
from gateway.mqtt_messages import reading_json

DEPLOY = Path(__file__).parent.parent / "deploy"
READING = Reading(
    "ph1", "m", "water", Stamp(1_795_428_000_000, "b", 1, True),
    {"ph": Value(7.0, 7.1, "pH", 1), "bad": Value(1.0, 1.0, "", 4), "none": Value(float("nan"), 1.0, "", 1)},
)  # fmt: skip


def covers(pattern: str, topic: str) -> bool:
    """MQTT 5.0, 4.7: + is one level, # the rest."""
    return re.fullmatch(pattern.replace("+", "[^/]+").replace("#", ".*"), topic) is not None


def test_telegraf_reads_our_topics_and_names_what_is_in_them() -> None:
    conf = tomllib.loads((DEPLOY / "telegraf/telegraf.conf").read_text())
    [consumer] = conf["inputs"]["mqtt_consumer"]
    for topic in ("suuaba/1/s/reading/ph1", "suuaba/1/s/backfill/reading/ph1"):
        assert any(covers(pattern, topic) for pattern in consumer["topics"])
    message = json.loads(reading_json("s", 5, READING))
    [path] = consumer["xpath"]
    for name in ("station", "sensor", "medium"):
        assert path["tags"][name] == f"/{name}"
        assert name in message
    value = message[path["metric_selection"].split("/")[1]]["ph"]
    assert {"value", "raw", "flag"} <= set(value)
    assert message[path["timestamp"].strip("/")].endswith("Z")
    assert "host" not in json.dumps(path["tags"])


def flow() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = json.loads((DEPLOY / "nodered/flow.json").read_text())
    return nodes


def test_the_flow_hangs_together() -> None:
    nodes = {node["id"]: node for node in flow()}
    assert len(nodes) == len(flow())
    for node in nodes.values():
        assert {to for outlet in node.get("wires", []) for to in outlet} <= set(nodes)
        assert node.get("broker", "suuaba.broker") in {*nodes, "127.0.0.1"}
    topics = {node["topic"] for node in nodes.values() if node["type"] == "mqtt in"}
    for topic in ("suuaba/1/s/reading/ph1", "suuaba/1/s/alarm/r"):
        assert any(covers(pattern, topic) for pattern in topics)


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js, which the product does not need")
def test_the_flows_function_reads_our_reading() -> None:
    [function] = [node for node in flow() if node["type"] == "function"]
    script = f"const f = new Function('msg', {json.dumps(function['func'])});"
    script += f"console.log(JSON.stringify(f({{payload: {reading_json('s', 5, READING).decode()}}})))"
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=30, check=True)
    [[only]] = json.loads(done.stdout)
    assert (only["topic"], only["payload"], only["unit"]) == ("s/ph1/ph", 7.1, "pH")


def test_the_collectors_metrics_are_named_as_prometheus_asks(tmp_path: Path) -> None:
    """Prometheus documentation, "Metric and label naming": counters end in _total, and no other does."""
    collector = Collector(Inbox(Broker("mqtt://x", "n")), None, node="n", data=tmp_path, now_ms=lambda: 0)  # type: ignore[arg-type]  # no database is asked
    families = list(text_string_to_metric_families(Page(collector, 600, lambda: 0).metrics()))
    assert len(families) > 5
    for family in families:
        assert re.fullmatch(r"suuaba_collect_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge")
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
