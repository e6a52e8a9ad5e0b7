"""For machines that watch the station: /healthz and /metrics.

Metrics are Prometheus text (prometheus.io/docs, "Exposition formats", text format 0.0.4): few and flat, so
written here; a test reads them with the official client's parser.
"""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from gateway.web.endpoint import Ask, Endpoint


async def healthz(ask: Ask) -> web.Response:
    """200 while every part shows life; else 503 with the names of those that do not."""
    station = ask.site.station
    silent = [*station.pulse.silent(), *(["journal"] if station.journal.trouble is not None else [])]
    if silent:
        return web.json_response({"alive": False, "silent": silent}, status=503)
    return web.json_response({"alive": True, "silent": []})


async def metrics(ask: Ask) -> web.Response:
    return web.Response(
        body=render(ask).encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )


def render(ask: Ask) -> str:
    station = ask.site.station
    health = station.health()
    lines: list[str] = []

    def family(name: str, kind: str, text: str, rows: list[tuple[dict[str, str], float]]) -> None:
        lines.extend([f"# HELP {name} {text}", f"# TYPE {name} {kind}"])
        lines.extend(_line(name, labels, value) for labels, value in rows)

    sensors = [s for bus in station.buses for s in bus.sensors]
    family("suuaba_up", "gauge", "The station runs.", [({"version": ask.site.version}, 1)])
    family("suuaba_journal_seq", "gauge", "The number of the journal's last record.", [({}, health["seq"])])
    family(
        "suuaba_clock_synced",
        "gauge",
        "Whether the clock is right.",
        [({}, float(health["clock"]["synced"]))],
    )
    values = [
        ({"sensor": s.id, "quantity": name, "unit": v.unit, "flag": str(v.flag)}, v.value)
        for s in sensors
        if s.last is not None
        for name, v in s.last.values.items()
    ]
    family("suuaba_value", "gauge", "The last value, with its quality flag (1 good … 4 failed).", values)
    family(
        "suuaba_reading_time_seconds",
        "gauge",
        "When the last reading was taken.",
        [({"sensor": s.id}, s.last.at.utc_ms / 1000) for s in sensors if s.last is not None],
    )
    for counter in ("expected", "taken", "failed", "not_ready", "skipped"):
        family(
            f"suuaba_slots_{counter}_total",
            "counter",
            f"Slots {counter.replace('_', ' ')} since the start.",
            [({"sensor": s.id}, getattr(s, counter)) for s in sensors],
        )
    for key, kind in (("backlog", "gauge"), ("delivered", "counter")):
        family(
            f"suuaba_sink_{key}" + ("_total" if kind == "counter" else ""),
            kind,
            f"Records: {key}.",
            [({"sink": name}, row[key]) for name, row in health["sinks"].items()],
        )
    rules = station.alarms.standing()
    family(
        "suuaba_alarm_active",
        "gauge",
        "Whether the alarm stands.",
        [
            ({"rule": r["rule"], "priority": r["priority"]}, float(r["state"].startswith("active")))
            for r in rules
        ],
    )
    family("suuaba_pages_open", "gauge", "Browsers that listen.", [({}, len(ask.site.stream.clients))])
    return "\n".join(lines) + "\n"


def _line(name: str, labels: dict[str, str], value: Any) -> str:
    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    number = float(value)
    text = "NaN" if math.isnan(number) else repr(number).replace("inf", "Inf")
    return f"{name}{{{shown}}} {text}" if shown else f"{name} {text}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


ENDPOINTS = (
    Endpoint(
        "GET", "/healthz", healthz, "Whether every part shows life", answers={503: "some part is silent"}
    ),
    Endpoint("GET", "/metrics", metrics, "Prometheus text", "technician", content="text/plain"),
)
