"""The clock the other tests run on."""

from __future__ import annotations

import asyncio
import time

from drivers.link import Line, Link
from tests.ptys import Pty
from tests.virtual_time import run

LINE = Line(9600, "8N1")


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_time_jumps_but_never_past_bytes_on_their_way() -> None:
    async def main() -> None:
        real_s = time.monotonic()
        with Pty() as wire:
            link = Link(wire.port, LINE)
            await link.open()
            for _ in range(500):
                asking = asyncio.create_task(link.receive(3, 60.0))
                await asyncio.sleep(0.5)
                wire.say(b"abc")
                said_s = now_s()
                await asking
                assert now_s() == said_s, "the clock ran while bytes were on their way"
            link.close()
        assert time.monotonic() - real_s < 25, "250 virtual seconds should pass in a moment"

    run(main())


def test_time_stands_still_while_a_thread_works_or_is_held() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        timer = loop.call_later(10.0, lambda: None)
        await asyncio.to_thread(time.sleep, 0.02)
        assert loop.time() == began_s
        timer.cancel()
        await asyncio.sleep(10.0)
        assert loop.time() == began_s + 10.0

    run(main())
