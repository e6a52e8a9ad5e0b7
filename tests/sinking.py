"""What the tests of the real sinks share: a job with a deadline, a follower that does not pause for long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from gateway.follow import Follower
from gateway.influx import InfluxSink
from gateway.mqtt import MqttSink
from tests.memory_journal import stamp


def play(job: Callable[[], Awaitable[None]], within_s: float = 50.0) -> None:
    async def within() -> None:
        async with asyncio.timeout(within_s):
            await job()

    asyncio.run(within())


@contextlib.asynccontextmanager
async def following(journal: Any, sink: MqttSink | InfluxSink) -> AsyncIterator[Follower]:
    name = "mqtt" if isinstance(sink, MqttSink) else "influxdb"
    follower = Follower(journal, name, sink, stamp=stamp, random=lambda: 0.05)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def becomes(condition: Callable[[], bool]) -> None:
    """Ask until it is so; the deadline is that of `play`."""
    while not condition():  # noqa: ASYNC110  what is asked makes no event
        await asyncio.sleep(0.01)


async def down(follower: Follower) -> str:
    """Wait until it is down; give the reason."""
    await becomes(lambda: follower.progress.down_since_ms is not None)
    return follower.progress.last_error or ""


async def in_thread(job: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, job)
