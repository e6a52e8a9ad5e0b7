"""What `suuaba check` promises holds on the running station: loss bounds, disk, traffic, wear of the card."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.plan import plan
from tests.promises import measure, reference
from tests.services import InfluxDB, Mosquitto

SEND = ["reading", "average:1 min", "event"]


def test_the_plan_of_packed_messages_holds_within_a_fifth(tmp_path: Path, mosquitto: Mosquitto) -> None:
    outside, wanted = reference(tmp_path, mosquitto.url, "", SEND[1:], 'pack = "10 min"')
    (sink,), found = plan(wanted).sinks, measure(outside, wanted, 22)
    assert found.line["mqtt"] == pytest.approx(sink.traffic.payload + sink.traffic.carriage, rel=0.2)
    assert found.line["mqtt"] < 500_000  # bytes a day: the goal, without TLS


def test_the_plan_holds_within_a_fifth(tmp_path: Path, mosquitto: Mosquitto, own_influxdb: InfluxDB) -> None:
    outside, wanted = reference(tmp_path, mosquitto.url, own_influxdb.url, SEND)
    promised, found = plan(wanted), measure(outside, wanted, 17)
    a_fifth = {"rel": 0.2}
    assert found.records_a_day == pytest.approx(promised.readings_a_day + promised.averages_a_day, rel=0.02)
    for sink in promised.sinks:
        assert found.line[sink.name] == pytest.approx(sink.traffic.payload + sink.traffic.carriage, **a_fifth)
    assert found.kept == pytest.approx(promised.card.kept, **a_fifth)
    if found.written > promised.card.written / 2:  # the folder may lie in memory, where SQLite writes nothing
        assert found.written == pytest.approx(promised.card.written, **a_fifth)
    # What may be lost at most; and no less is risked than is said, or the card would be worn for nothing.
    assert found.commit_s == pytest.approx(wanted.journal.commit_s, **a_fifth)
    assert found.sync_s == pytest.approx(wanted.journal.sync_s, **a_fifth)
