"""NowCast and index on their way out: the message and its schema, the database, the export."""

from __future__ import annotations

import json

import jsonschema

from gateway.export_rows import AVERAGE, Stamps, cells
from gateway.influx import InfluxSink
from gateway.influx_doors import version1
from gateway.model import Reading, Record, Value
from gateway.mqtt_messages import average_json, schemas
from tests.memory_journal import MemoryJournal
from tests.services import InfluxDB
from tests.test_averages_air import HOUR_MS, at, fold, hours_of, see, tick
from tests.test_averages_sinks import following, play

FIRST, SECOND = hours_of([34.9, 43.0])


def test_the_message_has_them_like_other_quantities() -> None:
    said = json.loads(average_json("kyia-1", 7, SECOND))
    jsonschema.validate(said, json.loads(schemas()["average.schema.json"]))
    assert said["values"]["pm2_5_nowcast"] == {
        "mean": 39.3, "min": None, "max": None, "n": 2, "of": 12, "unit": "ug/m3", "flag": 2,
    }  # fmt: skip
    assert said["values"]["pm2_5_aqi"]["mean"] == 110
    said = json.loads(average_json("kyia-1", 6, FIRST))
    jsonschema.validate(said, json.loads(schemas()["average.schema.json"]))
    assert said["values"]["pm2_5_aqi"] == {
        "mean": None, "min": None, "max": None, "n": 1, "of": 12, "unit": "AQI", "flag": 9,
        "why": "too few hours",
    }  # fmt: skip


def test_an_export_has_a_row_for_each() -> None:
    rows = [dict(zip(AVERAGE, row, strict=True)) for row in cells(Record(7, SECOND), Stamps("Asia/Bishkek"))]
    assert [(row["quantity"], row["unit"]) for row in rows][2:] == [
        ("pm2_5_nowcast", "ug/m3"), ("pm2_5_aqi", "AQI"), ("pm10_nowcast", "ug/m3"), ("pm10_aqi", "AQI"),
    ]  # fmt: skip


def test_a_late_reading_corrects_both_points_in_the_database(influxdb: InfluxDB) -> None:
    """Ten o'clock's mean and NowCast, and eleven o'clock's NowCast though not its mean."""
    shown = fold()
    given = hours_of([10.0, 10.0, 10.0], shown)
    late = {"pm2_5": Value(94.0, 94.0, "ug/m3", 2)}
    see(shown, Reading("dust1", "plantower", "air", at(HOUR_MS + 1000, mono_ms=0), late))
    revised = tick(shown, 3 * HOUR_MS + 30_000)
    assert [average.revision for average in (*given, *revised)] == [0, 0, 0, 1, 1]

    async def job() -> None:
        journal = MemoryJournal([*given, *revised])
        sink = InfluxSink("s1", version1(influxdb.url, "dust"), averages_s=[3600.0])
        async with following(journal, sink) as follower:
            await follower.done(5)

    play(job)
    ten, eleven, twelve = influxdb.rows("SELECT * FROM air_1h", "dust")
    assert (ten["pm2_5_nowcast"], ten["pm2_5_aqi"], ten["pm2_5_aqi_flag"], ten["revision"]) == (
        None,
        None,
        9,
        0,
    )
    assert (round(eleven["pm2_5"]), eleven["pm2_5_nowcast"], eleven["revision"]) == (22, 18.0, 1)
    assert (round(twelve["pm2_5"]), twelve["pm2_5_nowcast"], twelve["revision"]) == (10, 13.4, 1)
    assert (twelve["pm2_5_aqi"], twelve["pm2_5_aqi_n"], twelve["pm2_5_aqi_of"]) == (59.0, 3, 12)
