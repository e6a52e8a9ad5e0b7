"""Exported records as JSON lines, in three shapes.

SensorThings: Observations as in OGC 18-088, SensorThings API Part 1: Sensing 1.1, the Datastream by name.
OpenAQ: measurements as openaq-fetch's lib/measurement-schema.json has them; only pm1, pm2.5 and pm10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from gateway.export_rows import NONE, Site, Stamps, What, newer, records
from gateway.export_source import Source, Span, Versions, clock
from gateway.model import Average, Event, Reading, Record, Value

Shape = Literal["plain", "sensorthings", "openaq"]

_OPENAQ = {"pm1": "pm1", "pm2_5": "pm25", "pm10": "pm10"}
_json = msgspec.json.Encoder()


def json_lines(
    source: Source,
    span: Span,
    what: What,
    sensors: frozenset[str],
    site: Site,
    shape: Shape,
    versions: Versions = NONE,
) -> Iterator[tuple[bytes, int]]:
    """JSON lines, each with how many it is. Raises JournalError."""
    stamps = Stamps(site.timezone)
    shaped: Callable[[Record, Stamps, Site, Versions], Iterator[dict[str, Any]]]
    shaped = {"plain": _plain, "sensorthings": _sensorthings, "openaq": _openaq}[shape]
    for record in records(source, span, what, sensors):
        lines = [_json.encode(one) for one in shaped(record, stamps, site, versions)]
        if lines:
            yield b"\n".join(lines) + b"\n", len(lines)


def _plain(record: Record, stamps: Stamps, site: Site, versions: Versions) -> Iterator[dict[str, Any]]:
    body = record.body
    utc, local = stamps.both(body.at.utc_ms)
    about: dict[str, Any] = {"station": site.id, "seq": record.seq, "time": utc, "time_local": local}
    about["clock"] = clock(body.at)
    if isinstance(body, Event):
        yield about | {"what": body.what, "detail": body.detail}
        return
    about |= {"sensor": body.sensor, "model": body.model, "medium": body.medium}
    values: dict[str, Any] = {}
    for quantity, value in body.values.items():
        values[quantity] = {name: getattr(value, name) for name in value.__struct_fields__}
        if isinstance(body, Reading):
            now, number = newer(body, quantity, versions)
            if number is not None:
                values[quantity] |= {"corrected": now, "version": number}
    if isinstance(body, Average):
        begin, begin_local = stamps.both(body.start_ms)
        about |= {
            "from": begin,
            "from_local": begin_local,
            "length_s": body.length_s,
            "revision": body.revision,
        }
        yield about | {"values": values}
    else:
        yield about | {"calibration": body.calibration, "values": values}


def _sensorthings(record: Record, stamps: Stamps, site: Site, versions: Versions) -> Iterator[dict[str, Any]]:
    body = record.body
    if isinstance(body, Event):
        return
    utc, _ = stamps.both(body.at.utc_ms)
    for quantity, value in body.values.items():
        about: dict[str, Any] = {"seq": record.seq, "clock": clock(body.at)}
        if isinstance(body, Average):
            begin, _ = stamps.both(body.start_ms)
            when, result, name = f"{begin}/{utc}", getattr(value, "mean", None), f"{body.length_s} s mean"
            about |= {"used": getattr(value, "used", 0), "expected": getattr(value, "expected", 0)}
            about["revision"] = body.revision
        else:
            when, result, name = utc, getattr(value, "value", None), "reading"
            about |= {"raw": getattr(value, "raw", None), "calibration": body.calibration}
            now, version = newer(body, quantity, versions)
            if version is not None:
                about |= {"value": result, "version": version}
                result = now
        if result is None:
            continue
        yield {
            "phenomenonTime": when,
            "resultTime": utc,
            "result": result,
            "resultQuality": {"nameOfMeasure": "QARTOD", "DQ_Result": {"flag": value.flag, "why": value.why}},
            "parameters": about,
            "Datastream": {
                "name": f"{site.id}/{body.sensor}/{quantity}/{name}",
                "unitOfMeasurement": {"name": value.unit, "symbol": value.unit, "definition": ""},
            },
        }


def _openaq(record: Record, stamps: Stamps, site: Site, versions: Versions) -> Iterator[dict[str, Any]]:
    body = record.body
    if isinstance(body, Event) or body.medium != "air":
        return
    utc, local = stamps.both(body.at.utc_ms)
    for quantity, value in body.values.items():
        number = value.mean if not isinstance(value, Value) else value.value
        if isinstance(body, Reading) and (now := newer(body, quantity, versions)[0]) is not None:
            number = now
        if quantity not in _OPENAQ or number is None or value.flag not in (1, 2) or value.unit != "ug/m3":
            continue  # what a quality test doubts is not published
        row: dict[str, Any] = {
            "location": site.name,
            "parameter": _OPENAQ[quantity],
            "unit": "µg/m³",
            "value": number,
            "date": {"utc": utc, "local": local[:19] + local[23:]},
            "sourceName": site.id,
            "sourceType": "other",
            "mobile": False,
            "attribution": [{"name": site.name}],
        }
        if isinstance(body, Average):
            row["averagingPeriod"] = {"value": body.length_s / 3600, "unit": "hours"}
        if site.latitude is not None and site.longitude is not None:
            row["coordinates"] = {"latitude": site.latitude, "longitude": site.longitude}
        yield row
