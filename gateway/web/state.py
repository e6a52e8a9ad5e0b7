"""How the parts are doing, for technicians: instruments with their last frame, sinks, gaps, clock, SMS,
about."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import re
import secrets
import shutil
from pathlib import Path
from typing import Annotated, Any

import msgspec

from alerts.cms import SmsError
from alerts.pdu import NumberError, TextError
from gateway.model import Event
from gateway.web.assets import STATIC
from gateway.web.charts import DAY_MS, _in_turn
from gateway.web.endpoint import Ask, Bad, Endpoint
from gateway.web.now import sensor_row

FRAME_BYTES = 512
SMS_PER_MINUTE = 3
SMS_WITHIN_S = 90.0


class GapsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The last so many days."""

    days: Annotated[int, msgspec.Meta(ge=1, le=45)] = 7


class SmsTest(msgspec.Struct, forbid_unknown_fields=True):
    """A test message; where to, with country code, and what."""

    number: Annotated[str, msgspec.Meta(pattern=r"^\+[0-9]{6,15}$")]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


async def instruments(ask: Ask) -> Any:
    """Every instrument: its state, counters, last frame, and who it says it is."""
    site = ask.site
    known: dict[str, dict[str, Any]] = {}
    found = await _in_turn(ask, lambda tail: site.history.notes(tail, what=("identified",), limit=300))
    for _, at_ms, _, detail in found:
        known.setdefault(str(detail.get("sensor")), {"at_ms": at_ms, **detail})
    rows = []
    for bus, wire in zip(site.station.buses, site.station.config.wires, strict=False):
        for sensor in bus.sensors:
            row = sensor_row(site, sensor)
            answers = sensor.answers
            row |= {
                "bus": bus.name,
                "port": wire.port,
                "line": f"{wire.line.baudrate} {wire.line.format}" if wire.line is not None else "",
                "address": getattr(sensor.instrument, "address", None),
                "wire_s": round(sensor.cost_s, 4),
                "answer_within_s": round(answers.within_s, 3) if answers is not None else None,
                "counters": {
                    "expected": sensor.expected,
                    "taken": sensor.taken,
                    "failed": sensor.failed,
                    "not_ready": sensor.not_ready,
                    "skipped": sensor.skipped,
                },
                "frame": sensor.last_frame[:FRAME_BYTES].hex(" "),
                "frame_bytes": len(sensor.last_frame),
                "identity": {
                    k: v for k, v in known.get(sensor.id, {}).items() if k not in ("sensor", "model")
                },
            }
            rows.append(row)
    return {"instruments": rows}


async def sinks(ask: Ask) -> Any:
    """Where records go, and how much still has to."""
    station = ask.site.station
    health = station.health()
    goals = {"mqtt": station.config.mqtt, "influxdb": station.config.influxdb}
    for name, row in health["sinks"].items():
        goal = goals.get(name)
        row["url"] = _without_secrets(goal.url) if goal is not None else ""
    usage = shutil.disk_usage(station.config.data)
    return {
        "sinks": health["sinks"],
        "journal": {"seq": health["seq"], "trouble": health.get("journal")},
        "disk": {"free_bytes": usage.free, "all_bytes": usage.total},
    }


async def clock(ask: Ask) -> Any:
    """Whether the time can be trusted, who says so, and what happened to it."""
    site = ask.site
    health = site.station.health()
    notes = await _in_turn(
        ask,
        lambda tail: site.history.notes(
            tail, what=("clock_step", "clock_set", "clock_unknown", "clock_lost", "clock"), limit=50
        ),
    )
    return {
        "now_ms": site.station.clock.stamp().utc_ms,
        "timezone": site.station.config.timezone,
        "clock": health["clock"],
        "events": [{"seq": s, "at_ms": at, "what": what, "detail": d} for s, at, what, d in notes],
    }


async def gaps(ask: Ask) -> Any:
    """Slots by sensor: expected, taken, flagged, missed by reason, withheld by sink; the gaps one by one."""
    site = ask.site
    now_ms = site.station.clock.stamp().utc_ms
    from_ms = now_ms - ask.query.days * DAY_MS
    notes = await _in_turn(
        ask,
        lambda tail: (
            site.history.notes(tail, what=("ledger",), from_ms=from_ms, limit=60_000),
            site.history.notes(tail, what=("gap",), from_ms=from_ms, limit=300),
        ),
    )
    sums: dict[str, dict[str, Any]] = {}
    for _, _, _, detail in notes[0]:
        row = sums.setdefault(
            str(detail.get("sensor")), {"expected": 0, "taken": 0, "flagged": 0, "missed": {}, "withheld": {}}
        )
        for key in ("expected", "taken", "flagged"):
            row[key] += detail.get(key) or 0
        for part in ("missed", "withheld"):
            for name, count in (detail.get(part) or {}).items():
                row[part][name] = row[part].get(name, 0) + count
    return {
        "days": ask.query.days,
        "sums": sums,
        "gaps": [{"seq": s, "at_ms": at, **d} for s, at, _, d in notes[1]],
    }


async def sms(ask: Ask) -> Any:
    """How sending goes."""
    station = ask.site.station
    return {"sms": station.sms.health() if station.sms is not None else None}


async def sms_test(ask: Ask) -> Any:
    """Hand a test message over by the path of the alarms, now. What became of it is an event "sms_test"; the
    number is not, only its end.
    """
    station = ask.site.station
    path = station.sms.path if station.sms is not None else None
    if path is None:
        raise Bad(409, "SMS is not set up", "add [sms] with modem or provider to station.toml")
    if ask.site.sms_tries.wait_s("test") > 0:
        raise Bad(429, "test messages cost money: three a minute", "wait a minute", 60)
    number, by = ask.body.number, ask.name
    detail = {"to": f"…{number[-3:]}", "by": f"{by} (page)"}
    try:
        async with asyncio.timeout(SMS_WITHIN_S):
            await path.send(number, ask.body.text, reference=secrets.randbelow(256))
    except (NumberError, TextError) as e:
        raise Bad(400, str(e), "a number has its country code: +996…") from None
    except (SmsError, TimeoutError) as e:
        why = str(e) or f"not within {SMS_WITHIN_S:g} s"
        station.journal.append([Event(station.clock.stamp(), "sms_test", {**detail, "error": why})])
        raise Bad(503, f"not sent: {why}", "see the modem's state, and `suuaba doctor`") from None
    station.journal.append([Event(station.clock.stamp(), "sms_test", detail)])
    return {"sent": True}


async def about(ask: Ask) -> Any:
    station = ask.site.station
    memory = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        memory = await _resident_bytes()
    return {
        "version": ask.site.version,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.release(),
        "station": station.config.id,
        "sensors": len(station.config.sensors),
        "left_out": list(station.config.left_out),
        "warnings": list(station.config.warnings),
        "memory_bytes": memory,
        "charts": (STATIC / "vendor" / "uPlot.iife.min.js").exists(),
        "pages_open": len(ask.site.stream.clients),
    }


async def _resident_bytes() -> int:
    text = await asyncio.to_thread(Path("/proc/self/statm").read_text, "ascii")
    return int(text.split()[1]) * 4096


def _without_secrets(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", str(url))[:200]


_SMS = {409: "not set up", 429: "too many", 503: "not sent"}

ENDPOINTS = (
    Endpoint("GET", "/api/instruments", instruments, "Every instrument and its last frame", "technician"),
    Endpoint("GET", "/api/sinks", sinks, "Where records go, and the backlog", "technician"),
    Endpoint("GET", "/api/clock", clock, "Time and how far it can be trusted", "technician"),
    Endpoint("GET", "/api/gaps", gaps, "The gap ledger", "technician", query=GapsQuery),
    Endpoint("GET", "/api/sms", sms, "How sending goes", "technician"),
    Endpoint("POST", "/api/sms/test", sms_test, "One test message", "act", body=SmsTest, answers=_SMS),
    Endpoint("GET", "/api/about", about, "Version, memory, what was left out", "technician"),
)
