"""Ordered paths of SMS: who is asked when, with paths that say what the test tells them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from alerts.cms import SmsError, SmsFix, SmsRefused, SmsRetry, SmsUnknown
from alerts.paths import REST_CEILING_S, REST_S, Paths, SentBy, SmsUnknownTwice
from alerts.pdu import NumberError

Saying = SmsError | ValueError | None
NO_NETWORK, NO_SIM = SmsRetry("no network"), SmsFix("no SIM", "Put a SIM in")
REFUSED, UNKNOWN = SmsRefused("barred"), SmsUnknown("no result came")


@dataclass
class Answer:
    references: tuple[int | str, ...]


@dataclass
class Scripted:
    """A path that knows no ids of messages, as the modem is."""

    name: str
    script: list[Saying] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)

    async def send(self, to: str, text: str, *, reference: int) -> Answer:
        self.texts.append(text)
        said = self.script.pop(0) if self.script else None
        if said is not None:
            raise said
        return Answer((f"{self.name}-{reference}",))

    async def listen(self, within_s: float) -> bool:
        return bool(self.late)

    def take_late(self) -> list[str]:
        taken, self.late = self.late, []
        return taken


@dataclass
class Knowing:
    """A path that wants to know which message it is, as a provider does."""

    ids: list[str] = field(default_factory=list)

    async def send(self, to: str, text: str, *, reference: int, message_id: str = "") -> Answer:
        self.ids.append(message_id)
        return Answer((1,))


@dataclass
class Resuming(Scripted):
    """A path that can go on where a message was broken off, as the modem is."""

    firsts: list[int] = field(default_factory=list)

    async def send(
        self, to: str, text: str, *, reference: int, first: int = 1, validity_h: float = 24.0
    ) -> Answer:
        self.firsts.append(first)
        return await super().send(to, text, reference=reference)


class Site:
    """Two or three scripted paths and a clock."""

    def __init__(self, *scripts: list[Saying], **more: Any) -> None:
        self.now_s = 0.0
        self.each = [Scripted(name, script) for name, script in zip("abc", scripts, strict=False)]
        self.paths = Paths([(path.name, path) for path in self.each], now_s=lambda: self.now_s, **more)

    def send(self, message_id: str = "m", text: str = "x", **more: Any) -> SentBy:
        return asyncio.run(self.paths.send("+996555000001", text, reference=3, message_id=message_id, **more))

    def failing(self, **more: Any) -> SmsError:
        with pytest.raises(SmsError) as e:
            self.send(**more)
        return e.value

    @property
    def asked(self) -> list[int]:
        return [len(path.texts) for path in self.each]


def test_the_first_that_takes_it_is_the_only_one() -> None:
    site = Site([], [])
    assert site.send() == SentBy("a", ("a-3",), ())
    assert site.asked == [1, 0]


@pytest.mark.parametrize("error", [NO_NETWORK, NO_SIM, REFUSED])
def test_the_next_path_takes_over_and_it_is_said_why(error: SmsError) -> None:
    site = Site([error], [])
    assert site.send() == SentBy("b", ("b-3",), (f"a: {error}",))
    assert site.each[1].texts == ["x"], "nothing went, so nothing is marked"


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (NO_NETWORK, NO_SIM, SmsRetry), (NO_SIM, NO_NETWORK, SmsRetry), (REFUSED, NO_NETWORK, SmsRetry),
        (REFUSED, NO_SIM, SmsFix), (NO_SIM, REFUSED, SmsFix), (REFUSED, REFUSED, SmsRefused),
    ],
)  # fmt: skip
def test_when_none_takes_it_the_error_is_what_can_still_help(
    first: SmsError, second: SmsError, kind: type[SmsError]
) -> None:
    error = Site([first], [second]).failing()
    assert type(error) is kind
    assert str(error) == f"a: {first}; b: {second}"


def test_a_limit_of_tries_counts_only_when_every_retry_has_one() -> None:
    limited, other = SmsRetry("500"), SmsRetry("500 as well")
    limited.tries, other.tries = 3, 5
    assert getattr(Site([limited], [other]).failing(), "tries", 0) == 5
    assert getattr(Site([limited], [NO_NETWORK]).failing(), "tries", 0) is None


def test_what_is_not_urgent_waits_for_the_first_path_a_while() -> None:
    site = Site([NO_NETWORK] * 9, [], patience=2)
    for _ in range(2):
        assert type(site.failing(urgent=False)) is SmsRetry
    assert site.asked == [2, 0]
    assert site.send(urgent=False).path == "b"
    assert Site([NO_NETWORK], []).send(urgent=True).path == "b"
    assert Site([NO_SIM], []).send(urgent=False).path == "b"


def test_an_open_end_is_not_sent_by_another_path_and_its_repetition_begins_there() -> None:
    site = Site([UNKNOWN], [])
    assert type(site.failing()) is SmsUnknown
    assert site.asked == [1, 0]
    assert site.send(text="again: x").path == "b"
    assert site.asked == [1, 1]
    site.now_s += REST_CEILING_S
    assert site.send("another").path == "a"


def test_after_a_repetition_with_an_open_end_it_is_enough() -> None:
    site = Site([UNKNOWN], [UNKNOWN])
    assert type(site.failing()) is SmsUnknown
    assert type(site.failing()) is SmsUnknownTwice
    assert site.asked == [1, 1]


def test_a_message_that_was_taken_in_the_end_leaves_nothing_behind() -> None:
    site = Site([UNKNOWN, UNKNOWN], [])
    site.failing()
    site.send()
    site.now_s += REST_CEILING_S
    assert type(site.failing()) is SmsUnknown, "the same id, later: a message of its own"


def test_with_a_mark_the_repetition_is_made_at_once_marked_and_once() -> None:
    def mark(text: str) -> str:
        return f"again: {text}"

    site = Site([UNKNOWN], [], mark=mark)
    assert site.send() == SentBy("b", ("b-3",), ("a: no result came",))
    assert site.each[1].texts == ["again: x"]

    site = Site([UNKNOWN], [NO_NETWORK], [], mark=mark)
    assert site.send().path == "c"
    assert [path.texts for path in site.each] == [["x"], ["again: x"], ["again: x"]]

    site = Site([UNKNOWN], [UNKNOWN], [], mark=mark)
    assert type(site.failing()) is SmsUnknownTwice
    assert site.asked == [1, 1, 0]

    site = Site([UNKNOWN], [NO_NETWORK], mark=mark)
    assert type(site.failing()) is SmsUnknown
    site.each[1].script = [UNKNOWN]
    assert type(site.failing(text="again: x")) is SmsUnknownTwice, "the owner's repetition is the last"
    assert site.each[1].texts == ["again: x", "again: x"], "marked once"


def test_a_message_of_which_a_part_went_has_an_open_end() -> None:
    partly = SmsRetry("no network")
    partly.taken = (17,)
    site = Site([partly], [])
    error = site.failing()
    assert type(error) is SmsUnknown
    assert error.taken == (17,)
    assert site.asked == [1, 0]


def test_a_path_that_failed_rests_and_longer_each_time() -> None:
    site = Site([NO_SIM] * 20, [])
    site.send()
    assert site.paths.resting() == ["a"]
    site.send()
    assert site.asked == [1, 2], "the one that works goes first"
    site.now_s += REST_S
    assert site.paths.resting() == []
    site.send()
    assert site.asked == [2, 3]
    site.now_s += REST_S
    assert site.paths.resting() == ["a"], "twice as long now"
    for _ in range(12):
        site.now_s += REST_CEILING_S
        site.send()
    assert site.asked[0] == 14, "at most a quarter of an hour"


def test_when_all_rest_all_are_tried_and_a_refusal_is_no_rest() -> None:
    site = Site([NO_SIM, None], [NO_SIM])
    site.failing()
    assert site.paths.resting() == ["a", "b"]
    assert site.send().path == "a"
    assert site.paths.resting() == ["b"], "it works again"
    site = Site([REFUSED], [])
    site.send()
    assert site.paths.resting() == []


def test_a_number_that_is_none_is_nobody_s_fault() -> None:
    site = Site([NumberError("no number")], [])
    with pytest.raises(NumberError):
        site.send()
    assert site.asked == [1, 0]


def test_a_path_that_knows_messages_is_told_which_it_is() -> None:
    knowing = Knowing()
    paths = Paths([("a", Scripted("a", [NO_SIM])), ("b", knowing)])
    asyncio.run(paths.send("+996555000001", "x", reference=1, message_id="m/1"))
    assert knowing.ids == ["m/1"]


def test_late_answers_come_through() -> None:
    site = Site([], [])
    paths = Paths([("a", site.each[0]), ("b", Knowing())])
    site.each[0].late = ["7"]
    assert asyncio.run(paths.listen(0.1))
    assert paths.take_late() == ["7"]
    assert paths.take_late() == []


def test_what_is_remembered_has_a_limit() -> None:
    site = Site([UNKNOWN] * 500)
    for number in range(500):
        site.failing(message_id=f"m{number}")
    assert len(site.paths._unknown) == 200
    with pytest.raises(ValueError, match="no path"):
        Paths([])


def test_the_loop_s_clock_counts_when_none_is_given() -> None:
    async def run() -> list[str]:
        paths = Paths([("a", Scripted("a", [NO_SIM])), ("b", Scripted("b"))])
        await paths.send("+996555000001", "x", reference=1)
        return paths.resting()

    assert asyncio.run(run()) == ["a"]


def broken_off() -> tuple[SmsRetry, Resuming, Resuming, Paths]:
    """Two modems; the first has taken one part of a message."""
    error = SmsRetry("no network")
    error.taken = (17,)
    one, other = Resuming("a", [error]), Resuming("b")
    paths = Paths([("a", one), ("b", other)], now_s=lambda: 0.0)
    with pytest.raises(SmsRetry) as e:
        asyncio.run(paths.send("+996555000001", "x", reference=3, message_id="m"))
    assert (e.value.taken, e.value.path) == ((17,), "a")
    return error, one, other, paths


def rest(paths: Paths, **more: Any) -> SentBy:
    return asyncio.run(
        paths.send("+996555000001", "x", reference=3, message_id="m", first=2, before="a", **more)
    )


def test_a_message_broken_off_goes_on_by_the_path_that_took_its_beginning() -> None:
    _, one, other, paths = broken_off()
    assert rest(paths).path == "a"
    assert (one.firsts, other.firsts) == ([1, 2], [])


@pytest.mark.parametrize("error", [NO_NETWORK, NO_SIM, REFUSED, UNKNOWN])
def test_where_it_does_not_go_on_the_whole_is_repeated_by_another(error: SmsError) -> None:
    _, one, other, paths = broken_off()
    one.script = [error]
    with pytest.raises(SmsUnknown) as e:
        rest(paths)
    assert e.value.path == "a"
    assert other.firsts == [], "its parts would not be put together"
    again = Paths([("a", one), ("b", other)])  # after a restart
    sent = asyncio.run(again.send("+996555000001", "(repeat) x", reference=4, message_id="m", before="a"))
    assert (sent.path, other.firsts) == ("b", [1])


def test_what_is_not_urgent_waits_to_go_on_and_without_another_path_all_waits() -> None:
    _, one, other, paths = broken_off()
    one.script = [NO_NETWORK]
    with pytest.raises(SmsRetry):
        rest(paths, urgent=False)
    assert rest(paths).path == "a"
    alone = Paths([("a", one)])
    one.script = [NO_NETWORK]
    with pytest.raises(SmsRetry):
        rest(alone)
    with pytest.raises(SmsUnknown, match="is gone"):
        rest(Paths([("b", other)]))
