"""Readings pushed to Grafana Live within a second of being committed: for people who watch, not for keeping.

    POST /api/live/push/suuaba          Authorization: Bearer …, line protocol in ns; 200 when it was taken
    water,station=kyia-1,sensor=ph1 ph=7.1,ph_raw=7.12,ph_flag=1i 1795428000000000000

It looks at the journal and has no cursor there: what could not be shown when it was new is dropped, and
counted. So retention does not wait for it, and nothing before the journal can notice it. A request runs in a
thread that nobody waits for longer than `WITHIN_S`; while one still hangs no other is begun.

Sources: Grafana documentation, "Stream data from Telegraf to Grafana" and "Grafana Live": the push endpoint
takes Influx line protocol, and channels are called stream/STREAM/MEASUREMENT.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from alerts.untold import untold
from gateway.influx_lines import Lines
from gateway.model import Reading, Record

log = logging.getLogger(__name__)

AT_ONCE = 500
"""Readings in a push at most; what is behind them is too old to be live."""
CONNECT_S, READ_S, WITHIN_S = 2.0, 4.0, 5.0
PAUSE_S, PAUSE_CEILING_S = 1.0, 30.0
SAID_BYTES = 300


class Journal(Protocol):
    """What it needs of the journal."""

    @property
    def committed_seq(self) -> int: ...
    async def more(self, seq: int) -> None: ...
    async def after(self, seq: int, limit: int) -> list[Record]: ...


class Door:
    """Grafana's push endpoint. `push` blocks; raises OSError with the reason when it was not taken."""

    def __init__(self, url: str, stream: str, token: Callable[[], str | None], ca: str | None = None) -> None:
        import urllib3

        self.where = url.rstrip("/")
        self._path = f"{self.where}/api/live/push/{quote(stream, safe='')}"
        self._token = token
        timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
        self._http = urllib3.PoolManager(num_pools=1, maxsize=1, retries=False, timeout=timeout, ca_certs=ca)

    def push(self, lines: bytes) -> None:
        import urllib3

        headers = {"User-Agent": "suuaba", "Content-Type": "text/plain; charset=utf-8"}
        if token := self._token():
            headers["Authorization"] = f"Bearer {token}"
        try:
            answer = self._http.request(
                "POST", self._path, body=lines, headers=headers, redirect=False, preload_content=False
            )
            try:
                said = untold(answer.read(SAID_BYTES).decode("utf-8", "replace").strip(), token)
                answer.drain_conn()
            finally:
                answer.release_conn()
        except urllib3.exceptions.HTTPError as e:
            raise ConnectionError(str(e)[:SAID_BYTES]) from e
        if answer.status not in (200, 204):
            wrong = {
                401: "it does not know the token",
                403: "the token may not push: give its service account the role Editor",
                404: "there is no push endpoint at this address",
            }.get(answer.status, said)
            raise ConnectionError(f"{answer.status} {wrong}")


class GrafanaLive:
    """Push until cancelled. `pushed`, `dropped` and `trouble` may be read at any time."""

    def __init__(
        self,
        station: str,
        journal: Journal,
        door: Callable[[], Door],
        *,
        jitter: Callable[[], float] = random.random,
        within_s: float = WITHIN_S,
    ) -> None:
        self.pushed = self.dropped = 0
        """Readings, since the start."""
        self.trouble = ""
        """Why Grafana does not take them; empty: it does."""
        self._lines = Lines(station)
        self._journal, self._make_door, self._jitter, self._within_s = journal, door, jitter, within_s
        self._door: Door | None = None
        self._hangs = False

    def health(self) -> dict[str, Any]:
        """For the status message."""
        told: dict[str, Any] = {"pushed": self.pushed, "dropped": self.dropped}
        return told | ({"error": self.trouble} if self.trouble else {})

    async def run(self) -> None:
        """Push what is committed from now on."""
        seq, failures = self._journal.committed_seq, 0
        while True:
            await self._journal.more(seq)
            late = self._journal.committed_seq - AT_ONCE
            if seq < late:
                self.dropped += await self._count(seq, late)
                seq = late
            records = await self._journal.after(seq, AT_ONCE)
            seq = records[-1].seq if records else self._journal.committed_seq
            readings = [record.body for record in records if isinstance(record.body, Reading)]
            lines = [line for line in map(self._lines.reading, readings) if line]
            if not lines:
                continue
            try:
                await self._push("\n".join(f"{line}000000" for line in lines).encode("utf-8", "replace"))
            except (OSError, TimeoutError) as e:
                failures += 1
                self.dropped += len(readings)
                self._say(str(e) or f"no answer within {self._within_s:g} s")
                ceiling_s = min(PAUSE_CEILING_S, PAUSE_S * 2.0 ** min(failures, 10))
                await asyncio.sleep(max(self._jitter() * ceiling_s, 0.1))
                continue
            failures = 0
            self.pushed += len(readings)
            self._say("")

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    async def _count(self, since: int, upto: int) -> int:
        """How many readings are passed over; without reading far back, where every record counts as one."""
        if upto - since > 20 * AT_ONCE:
            return upto - since
        found: Sequence[Record] = await self._journal.after(since, upto - since)
        return sum(isinstance(r.body, Reading) and r.seq <= upto for r in found)

    async def _push(self, lines: bytes) -> None:
        """Raises OSError and TimeoutError."""
        if self._hangs:
            raise TimeoutError("the request before still hangs")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle(wrong: Exception | None) -> None:
            if not future.done():
                future.set_exception(wrong) if wrong is not None else future.set_result(None)

        def run() -> None:
            wrong: Exception | None = None
            try:
                if self._door is None:
                    self._door = self._make_door()
                self._door.push(lines)
            except OSError as e:
                wrong = e
            finally:
                self._hangs = False
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(settle, wrong)

        self._hangs = True
        threading.Thread(target=run, name="grafana-live", daemon=True).start()
        async with asyncio.timeout(self._within_s):
            await future

    def _say(self, trouble: str) -> None:
        """Once when it breaks, once when it is well again."""
        where = self._door.where if self._door is not None else "grafana live"
        if trouble and not self.trouble:
            log.warning("grafana live: %s: %s; what is new meanwhile is not shown", where, trouble)
        elif self.trouble and not trouble:
            log.warning("grafana live: %s takes readings again; %d were not shown", where, self.dropped)
        self.trouble = trouble
