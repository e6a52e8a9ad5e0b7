"""What people answer: words in three languages, codes, who may, and what an attacker gets for his trouble."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts import answers
from alerts.answers import Answer, act
from alerts.commands import LONGEST, MUTE_MOST_MIN, WORDS, Command, Verb, parse, skeleton
from alerts.memory import Change
from alerts.outbox import Row
from tests.command_desk import muddy


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("ACK 4711", Command(Verb.ACK, "4711")),
        ("ack 4711", Command(Verb.ACK, "4711")),
        ("АСК 4711", Command(Verb.ACK, "4711")),  # typed in Cyrillic
        ("OК 4711", Command(Verb.ACK, "4711")),  # half and half
        ("принято 4711.", Command(Verb.ACK, "4711")),
        ("Кабыл 4711", Command(Verb.ACK, "4711")),
        ("kabyl 4711", Command(Verb.ACK, "4711")),
        ("4711", Command(Verb.ACK, "4711")),
        (" 4711 спасибо", Command(Verb.ACK, "4711")),
        ("ок 47О1", Command(Verb.ACK, "4701")),  # the letter О
        ("ok ４７１１", Command(Verb.ACK, "4711")),
        ("ok ٤٧١١", Command(Verb.ACK, "4711")),
        ("ACK", Command(Verb.ACK)),
        ("ACK soon", Command(Verb.ACK)),
        ("ACK 47", Command(Verb.ACK)),
        ("MUTE 4711 2h", Command(Verb.MUTE, "4711", 120)),
        ("MUTE 4711 30 min we clean it", Command(Verb.MUTE, "4711", 30, "we clean it")),
        ("тихо 4711 2ч чистим", Command(Verb.MUTE, "4711", 120, "чистим")),
        ("тихо 4711 30 мин", Command(Verb.MUTE, "4711", 30)),
        ("тынч 4711 2 саат", Command(Verb.MUTE, "4711", 120)),
        ("ТЫНЧ 4711 2с", Command(Verb.MUTE, "4711", 120)),
        ("тынч 4711 30 мүн", Command(Verb.MUTE, "4711", 30)),
        ("mute 4711", Command(Verb.MUTE, "4711", 60)),
        ("mute 4711 3", Command(Verb.MUTE, "4711", 180)),
        ("mute 4711 45", Command(Verb.MUTE, "4711", 45)),
        ("mute 4711 99 h", Command(Verb.MUTE, "4711", MUTE_MOST_MIN)),
        ("mute 4711 0", Command(Verb.MUTE, "4711", 1)),
        ("mute 4711 for ever", Command(Verb.MUTE, "4711", 60, "for ever")),
        ("UNMUTE 4711", Command(Verb.UNMUTE, "4711")),
        ("включи 4711", Command(Verb.UNMUTE, "4711")),
        ("STATUS", Command(Verb.STATUS)),
        ("Статус?", Command(Verb.STATUS)),
        ("абал", Command(Verb.STATUS)),
        ("СПИСОК", Command(Verb.LIST)),
        ("тизме", Command(Verb.LIST)),
        ("help", Command(Verb.HELP)),
        ("?", Command(Verb.HELP)),
        ("помощь", Command(Verb.HELP)),
        ("жардам", Command(Verb.HELP)),
        ("", Command(Verb.NONE)),
        ("\u200b \x00", Command(Verb.NONE)),
        ("Абонент занят, перезвоните позже", Command(Verb.NONE)),
        ("You won 1000000 som", Command(Verb.NONE)),
        ("set limit 9000", Command(Verb.NONE)),
    ],
)
def test_a_text_is_the_command_that_was_meant(text: str, command: Command) -> None:
    assert parse(text) == command


def test_no_word_means_two_things() -> None:
    words = [skeleton(word) for words in WORDS.values() for word in words.split()]
    verbs = {skeleton(word): verb for verb, words in WORDS.items() for word in words.split()}
    assert all(
        parse(word).verb is verbs[skeleton(word)] for words in WORDS.values() for word in words.split()
    )
    for a, b in itertools.combinations(WORDS, 2):
        mine, others = ({skeleton(w) for w in WORDS[v].split()} for v in (a, b))
        assert not mine & others
    assert len(words) > 50


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=400))
def test_any_text_is_taken(text: str) -> None:
    command = parse(text)
    assert 1 <= command.minutes <= MUTE_MOST_MIN
    assert command.why.isprintable()
    assert command.token == "" or (command.token.isascii() and command.token.isdigit())


def test_a_very_long_text_is_looked_at_only_so_far() -> None:
    assert parse("x " * 10**6).verb is Verb.NONE
    assert len(parse("mute 4711 1h " + "y" * 10_000).why) < LONGEST


def test_strange_events_do_nothing() -> None:
    desk = muddy()
    for detail in (
        {},
        {"by": "duty"},
        {"by": "duty", "verb": "ack", "result": "ok", "rules": "mud"},
        {"by": "duty", "verb": "reboot", "result": "ok", "rules": []},
        {"by": 5, "verb": "ack", "result": "ok", "rules": []},
        {"by": "duty", "verb": "mute", "result": "ok", "rules": ["mud"], "minutes": "9"},
    ):
        assert answers.read(detail) is None
    nobody = Answer("nobody", Verb.ACK, "ok", ("mud",))
    assert act(desk.watch, nobody, desk.now) == []
    said = act(desk.watch, Answer("duty", Verb.ACK, "ok", ("no such rule",)), desk.now)
    assert not [one for one in said if isinstance(one, Change)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["duty", "chief", "lab"]), st.text(max_size=40)), max_size=40))
def test_no_text_without_a_code_changes_an_alarm(messages: list[tuple[str, str]]) -> None:
    desk = muddy()
    replies = 0
    for by, text in messages:
        if "4711" in text or "8642" in text:
            continue
        _, said = desk.hears(by, text)
        assert all(isinstance(one, Row) for one in said)
        replies += len(said)
    assert desk.state("mud") == "active_unacknowledged"
    assert replies <= 3 * 21
