"""The collector's small page: who is there, what is missing. Read only; for an operator and for Prometheus.

GET /              a table of the stations
GET /api/stations  the same as JSON
GET /metrics       Prometheus text
GET /healthz       200 while broker and database answer, else 503 with the reason
"""

from __future__ import annotations

import asyncio
import html
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any

from aiohttp import web

from gateway.collector import Collector
from gateway.collector_account import Seen, missing
from gateway.collector_points import Standing
from gateway.config_collector import Wanted

log = logging.getLogger(__name__)

SUMS_EVERY_S = 30.0
"""The sums over all collectors are asked of the database at most so often."""
SHOWN = 2000
AGAIN_S = 5.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


LABELS = (
    "Station", "State", "Why", "Heard (UTC)", "Clock", "Waiting there", "Records here", "Last number",
    "Missing",
)  # fmt: skip
PROMETHEUS = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
TEMPLATE = Path(__file__).with_name("collector_page.html")


class Page:
    """What the page says; the sums come from the database, in a thread."""

    def __init__(self, collector: Collector, offline_s: float, now_ms: Callable[[], int]) -> None:
        self._collector, self._offline_s, self._now_ms = collector, offline_s, now_ms
        self._rows: list[dict[str, Any]] = []
        self._due_s = 0.0
        self._lock = asyncio.Lock()

    async def stations(self) -> list[dict[str, Any]]:
        """One row for each station, those in trouble first. Raises OSError when the database does not
        answer.
        """
        async with self._lock:
            if time.monotonic() >= self._due_s:
                whole = await asyncio.to_thread(self._collector.everybody)
                names = self._names(whole.stations)
                rows = [self._row(name, whole.stations.get(name, Seen())) for name in names]
                self._rows = sorted(rows, key=lambda row: (_is_well(row), row["station"]))
                self._due_s = time.monotonic() + SUMS_EVERY_S
        return self._rows

    def trouble(self) -> str:
        """Why not everything is well; empty: it is."""
        collector = self._collector
        if not collector.restored:
            return f"waiting for the database: {collector.trouble}"
        return collector.trouble or ("" if collector.inbox.connected else collector.inbox.why)

    def metrics(self) -> str:
        """Prometheus text format 0.0.4; counts of this collector alone."""
        counts = self._collector.counts
        standing, inbox = self._collector.points.standing, self._collector.inbox
        lines: list[str] = []
        for name, what, number in (
            ("messages", "Messages taken from the broker.", counts.messages),
            ("records", "Records written and confirmed by the database.", counts.records),
            ("doubles", "Records that came again, which changes nothing.", counts.doubles),
            ("poison", "Messages set aside because they can never be written.", self._collector.aside.count),
            ("writes", "Writes that the database confirmed.", counts.writes),
            ("failures", "Writes that failed and were tried again.", counts.failures),
            ("asked", "Times a station was asked to send something once more.", counts.asked),
            ("sessions_lost", "Times the broker had forgotten this collector.", inbox.sessions_lost),
        ):
            lines += _metric(f"suuaba_collect_{name}_total", "counter", what, number)
        silent = sum(map(self._is_away, standing.values()))
        for name, what, number in (
            ("connected", "Whether the broker is connected.", int(inbox.connected)),
            ("stations", "Stations heard of since the start.", len(standing)),
            ("stations_silent", "Stations from which nothing came lately.", silent),
        ):
            lines += _metric(f"suuaba_collect_{name}", "gauge", what, number)
        return "\n".join(lines) + "\n"

    def _is_away(self, standing: Standing) -> bool:
        """Whether nothing came for too long; who packs is heard only so often."""
        allowed_s = max(self._offline_s, 2.5 * standing.every_s)
        return self._now_ms() - standing.heard_ms > allowed_s * 1000

    def _names(self, stations: Any) -> list[str]:
        return sorted({*stations, *self._collector.points.standing})[: SHOWN * 10]

    def _row(self, name: str, seen: Seen) -> dict[str, Any]:
        standing = self._collector.points.standing.get(name)
        row: dict[str, Any] = {
            "station": name,
            "state": "unknown",
            "records": 0,
            "missing": None,
            "holes": [],
        }
        if standing is not None:
            away = self._is_away(standing)
            row["state"] = "silent" if away and standing.state != "offline" else standing.state
            row |= {"why": standing.why, "heard_ms": standing.heard_ms, "backlog": standing.backlog}
            row |= {"clock": standing.clock, "chain_head": standing.head}
        ends = seen.ends()
        row["missing"] = missing(seen, standing.claims if standing else [])
        if ends is not None:
            row |= {"records": seen.count(0, ends[1]), "last_seq": ends[1], "holes": seen.holes(20)}
        return row


def _metric(name: str, kind: str, what: str, number: int) -> list[str]:
    return [f"# HELP {name} {what}", f"# TYPE {name} {kind}", f"{name} {number}"]


def app(collector: Collector, offline_s: float, now_ms: Callable[[], int]) -> web.Application:
    """The application."""
    page = Page(collector, offline_s, now_ms)

    async def table(_: web.Request) -> web.Response:
        try:
            rows, trouble = await page.stations(), page.trouble()
        except OSError as e:
            rows, trouble = [], f"the database does not answer: {e}"
        return web.Response(text=_html(rows, trouble), content_type="text/html")

    async def stations(_: web.Request) -> web.Response:
        try:
            return web.json_response({"stations": await page.stations()})
        except OSError as e:
            return web.json_response({"error": f"the database does not answer: {e}"}, status=503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=page.metrics().encode(), headers=PROMETHEUS)

    async def healthz(_: web.Request) -> web.Response:
        trouble = page.trouble()
        return web.Response(text=trouble or "ok", status=503 if trouble else 200)

    async def protect(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)

    made = web.Application()
    made.on_response_prepare.append(protect)
    made.router.add_get("/", table)
    made.router.add_get("/api/stations", stations)
    made.router.add_get("/metrics", metrics)
    made.router.add_get("/healthz", healthz)
    return made


async def serve(collector: Collector, wanted: Wanted, now_ms: Callable[[], int]) -> None:
    """Serve the page until cancelled. A port that is taken is tried again; collecting goes on meanwhile."""
    if wanted.web is None:
        return
    host, port = wanted.web.listen
    runner = web.AppRunner(app(collector, wanted.offline_s, now_ms), access_log=None)
    await runner.setup()
    said = False
    try:
        while True:
            try:
                await web.TCPSite(runner, host, port).start()
                break
            except OSError as e:
                if not said:
                    log.error(
                        "the page cannot listen on %s:%d: %s; trying again", host, port, e.strerror or e
                    )
                said = True
            await asyncio.sleep(AGAIN_S)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _is_well(row: dict[str, Any]) -> bool:
    return row["state"] == "online" and not row["missing"]


def _html(rows: list[dict[str, Any]], trouble: str) -> str:
    said = f"<p class=bad>{html.escape(trouble)}</p>" if trouble else "<p>Broker and database answer.</p>"
    body = "".join(f"<tr>{''.join(_cells(row))}</tr>" for row in rows[:SHOWN])
    head = "".join(f"<th>{label}" for label in LABELS)
    trouble_in = sum(not _is_well(row) for row in rows)
    count = f"{len(rows)} stations, " + (f"{trouble_in} to look at" if trouble_in else "all well")
    more = f"<p>{len(rows) - SHOWN} more: /api/stations</p>" if len(rows) > SHOWN else ""
    parts = {"said": said, "stations": count, "head": head, "body": body, "more": more}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(parts)


def _cells(row: dict[str, Any]) -> list[str]:
    """The cells of a row; what makes it one to look at is marked."""
    heard_ms = row.get("heard_ms")
    heard = datetime.fromtimestamp(heard_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if heard_ms else "–"
    absent = row["missing"]
    cells = [
        row["station"], row["state"], row.get("why", ""), heard, row.get("clock", ""), row.get("backlog", ""),
        row["records"], row.get("last_seq", ""), "not known" if absent is None else absent,
    ]  # fmt: skip
    marks = {"State": "good" if row["state"] == "online" else "bad", "Missing": "bad" if absent else ""}
    return [
        f'<td data-label="{label}" class="{marks.get(label, "")}">{html.escape(str(cell))}</td>'
        for label, cell in zip(LABELS, cells, strict=True)
    ]
