"""The link: deadlines, silences, echo, noise, and plugs that are pulled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from drivers.base import GarbledAnswer, NoAnswer
from drivers.link import BUFFER_LIMIT, CHATTER_S, Line, Link
from tests.ptys import Pty, TcpPort
from tests.virtual_time import run

LINE = Line(9600, "8N1")


def on_a_pty(
    conversation: Callable[[Link, Pty], Awaitable[None]], line: Line = LINE, echo: bool = False
) -> None:
    async def main() -> None:
        with Pty() as wire:
            link = Link(wire.port, line, echo=echo)
            await link.open()
            try:
                await conversation(link, wire)
            finally:
                link.close()

    run(main())


def now_s() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    ("line", "char_ms", "silence_ms"),
    [
        (Line(1200, "7E1"), 8.333, 32.083),
        (Line(9600, "8N1"), 1.0417, 4.0104),
        (Line(9600, "8N2"), 1.1458, 4.0104),
        (Line(9600, "8E1"), 1.1458, 4.0104),
        (Line(19200, "8N2"), 0.5729, 2.0052),
        (Line(38400, "8N1"), 0.2604, 1.75),
        (Line(115200, "8N1"), 0.0868, 1.75),
    ],
)
def test_the_times_of_a_line(line: Line, char_ms: float, silence_ms: float) -> None:
    assert line.char_s * 1000 == pytest.approx(char_ms, rel=1e-3)
    assert line.silence_s * 1000 == pytest.approx(silence_ms, rel=1e-3)


# ── receiving ─────────────────────────────────────────────────────────────────────────────────────────────


def test_gives_what_was_asked_for_and_keeps_the_rest() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        wire.say(b"12345\r678")
        assert await link.receive(2, 1.0) == b"12"
        assert await link.receive_until(b"\r", 1.0) == b"345\r"
        assert await link.receive(3, 1.0) == b"678"
        with pytest.raises(NoAnswer, match=r"no answer within 2\.5 s"):
            await link.receive(1, 2.5)

    on_a_pty(conversation)


def test_a_part_is_a_garbled_answer_and_can_still_be_had() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        wire.say(b"12")
        with pytest.raises(GarbledAnswer, match="31 32") as caught:
            await link.receive(3, 1.0)
        assert caught.value.frame == b"12"
        wire.say(b"3")
        assert await link.receive(3, 1.0) == b"123"

    on_a_pty(conversation)


@pytest.mark.parametrize("within_s", [0.0, 0.1, 5.0])
def test_the_deadline_is_kept_and_counts_from_the_end_of_our_own_bytes(within_s: float) -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        await link.send(b"0123456789")
        sent_s = now_s()
        with pytest.raises(NoAnswer):
            await link.receive(1, within_s)
        assert now_s() - sent_s == pytest.approx(10 * LINE.char_s + within_s, abs=1e-3)
        began_s = now_s()
        with pytest.raises(NoAnswer):
            await link.receive(1, within_s)
        assert now_s() - began_s == pytest.approx(within_s, abs=1e-3)

    on_a_pty(conversation)


def test_a_deadline_that_is_over_still_gives_what_is_there() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        wire.say(b"1")
        assert await link.receive(1, 0.0) == b"1"

    on_a_pty(conversation)


def test_an_answer_that_came_while_we_had_no_time_is_taken() -> None:
    """Who is not run until the deadline is over may be told of that, and of the bytes only behind it."""

    async def conversation(link: Link, wire: Pty) -> None:
        await link.send(b"?")
        loop = asyncio.get_running_loop()
        loop.remove_reader(link._fd)  # nobody tells of bytes
        loop.call_later(0.1, wire.say, b"7.12")
        assert await link.receive(4, 0.2) == b"7.12"

    on_a_pty(conversation)


@pytest.mark.parametrize(("begun", "spent_s"), [(b"", 1.0), (b"1", 3.0)])
def test_a_frame_that_has_begun_gets_time_for_its_rest(begun: bytes, spent_s: float) -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        wire.say(begun)
        began_s = now_s()
        with pytest.raises((NoAnswer, GarbledAnswer)):
            await link.receive_frame(lambda got: (got, 2) if len(got) >= 2 else None, 1.0, rest_s=2.0)
        assert now_s() - began_s == pytest.approx(spent_s, abs=1e-3)

    on_a_pty(conversation)


def test_bytes_one_at_a_time_lose_no_wake_up() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        async def dribble() -> None:
            for i in range(200):
                wire.say(bytes((i,)))
                await asyncio.sleep(0.001 if i % 3 else 0)

        dribbling = asyncio.create_task(dribble())
        assert await link.receive(200, 1.0) == bytes(range(200))
        await dribbling

    on_a_pty(conversation)


def test_what_a_cut_raises_comes_through_and_the_next_send_cleans_up() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        def cut(got: bytes) -> tuple[bytes, int] | None:
            raise GarbledAnswer("bad checksum", got)

        wire.say(b"bad")
        with pytest.raises(GarbledAnswer, match="bad checksum"):
            await link.receive_frame(cut, 1.0)
        assert link.dropped_bytes == 0
        await link.send(b"again")
        assert link.dropped_bytes == 3
        wire.say(b"good")
        assert await link.receive(4, 1.0) == b"good"

    on_a_pty(conversation)


def test_stale_bytes_are_dropped_before_a_send_unless_kept() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        wire.say(b"stale")
        await asyncio.sleep(0.01)
        await link.send(b"1")
        assert link.dropped_bytes == 5
        wire.say(b"kept ")
        await asyncio.sleep(0.01)
        await link.send(b"2", keep=True)
        wire.say(b"new")
        assert await link.receive(8, 1.0) == b"kept new"
        assert link.discard() == b""

    on_a_pty(conversation)


def test_a_chattering_instrument_fills_the_buffer_and_no_more() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        async def chatter() -> None:
            for _ in range(40):
                wire.say(b"x" * 1024)
                await asyncio.sleep(0.001)
            wire.say(b"\r")

        chattering = asyncio.create_task(chatter())
        line = await link.receive_until(b"\r", 1.0)
        assert line == b"x" * (BUFFER_LIMIT - 1) + b"\r"
        assert link.dropped_bytes == 40 * 1024 + 1 - BUFFER_LIMIT
        await chattering

    on_a_pty(conversation)


# ── the silence before a send ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "line", [Line(1200, "8N1"), Line(9600, "8N1"), Line(19200, "8E1"), Line(115200, "8N1")]
)
@pytest.mark.parametrize("after_s", [0.0, 0.1])
def test_keeps_the_silence_after_what_came_and_after_what_was_sent(line: Line, after_s: float) -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        quiet_s = max(line.silence_s, after_s)
        await link.send(b"12345678", after_s=after_s)
        sent_s = now_s()
        await link.send(b"12345678", after_s=after_s)
        assert now_s() - sent_s == pytest.approx(8 * line.char_s + quiet_s, abs=1e-4)
        assert now_s() - sent_s >= 8 * line.char_s + quiet_s - 1e-9
        await asyncio.sleep(1.0)
        wire.say(b"answer")
        await link.receive(6, 1.0)
        heard_s = now_s()
        await link.send(b"1", after_s=after_s)
        assert quiet_s - 1e-9 <= now_s() - heard_s <= quiet_s + 1e-4
        await asyncio.sleep(1.0)
        idle_s = now_s()
        await link.send(b"1", after_s=after_s)
        assert now_s() == idle_s, "a wire that has long been silent makes nobody wait"

    on_a_pty(conversation, line)


def test_a_character_meanwhile_starts_the_silence_anew() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        began_s = now_s()
        sending = asyncio.create_task(link.send(b"1", after_s=0.1))
        await asyncio.sleep(0.06)
        wire.say(b"\0")
        await sending
        assert now_s() - began_s == pytest.approx(0.16, abs=1e-3)
        assert link.dropped_bytes == 1

    on_a_pty(conversation)


def test_a_stream_of_which_nothing_may_be_lost_delays_no_send() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        began_s = now_s()
        sending = asyncio.create_task(link.send(b"1", after_s=0.1, keep=True))
        await asyncio.sleep(0.06)
        wire.say(b"data")
        await sending
        assert now_s() - began_s == pytest.approx(0.1, abs=1e-3)
        assert await link.receive(4, 1.0) == b"data"

    on_a_pty(conversation)


def test_a_wire_that_is_never_silent_holds_a_send_for_a_bounded_time() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        async def chatter() -> None:
            while True:
                wire.say(b"\x55")
                await asyncio.sleep(LINE.char_s)

        chattering = asyncio.create_task(chatter())
        began_s = now_s()
        await link.send(b"C,0\r")
        assert now_s() - began_s == pytest.approx(CHATTER_S + LINE.silence_s, abs=1e-2)
        assert await wire.hear(4) == b"C,0\r"
        chattering.cancel()

    on_a_pty(conversation)


def test_a_network_needs_no_silence() -> None:
    async def main() -> None:
        with await TcpPort.open() as wire:
            link = Link(wire.port.replace("tcp", "rtu+tcp"), LINE)
            await link.open()
            began_s = now_s()
            for _ in range(3):
                await link.send(b"12345678")
            assert now_s() == began_s
            assert await wire.hear(24) == b"12345678" * 3
            link.close()

    run(main())


# ── echo ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("before", [b"", b"\0", b"\xff\xff"])
def test_the_echo_is_taken_out(before: bytes) -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        sending = asyncio.create_task(link.send(b"hello"))
        heard = await wire.hear(5)
        assert not sending.done()
        wire.say(before + heard + b"world")
        await sending
        assert await link.receive(5, 1.0) == b"world"

    on_a_pty(conversation, echo=True)


def test_an_echo_that_differs_or_is_missing_is_said() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        sending = asyncio.create_task(link.send(b"hello"))
        await wire.hear(5)
        wire.say(b"hexlo")
        with pytest.raises(GarbledAnswer, match=r"echo differs .* 68 65 78 6c 6f"):
            await sending
        with pytest.raises(NoAnswer, match="set to echo but nothing came back"):
            await link.send(b"hello")

    on_a_pty(conversation, echo=True)
