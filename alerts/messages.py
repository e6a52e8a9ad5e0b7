"""What an SMS says, in the recipient's language: what, where, how much against which limit, since when.

    ТРЕВОГА kanysh-kyia-1 turb1: мутность 63,2 > 50 NTU с 14:05      70 characters at most: one segment, UCS-2
    ALARM kanysh-kyia-1 turb1: turbidity 63.2 > 50 NTU since 14:05   160 at most: one segment, GSM-7

The texts are data (texts/ky.toml, ru.toml, en.toml) and an operator's file can replace any of them. Each has
several forms from long to short; the first that costs one segment is taken. Names in braces are replaced
and nothing else is evaluated: a file cannot reach into the program.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from alerts.alphabet import TextError, segments
from alerts.rules import OF_STATION, STATES, Kind, Priority

LANGUAGES = ("ky", "ru", "en")
FOLDER = Path(__file__).parent / "texts"

TEXTS = (
    "raise", "clear", "escalate", "remind", "flapping", "no_data", "no_data_clear", "fault", "fault_clear",
    "stuck", "stuck_clear", "own", "own_clear", "state_escalate", "state_remind", "state_flapping",
)  # fmt: skip
NAMES = (
    "head", "station", "sensor", "quantity", "value", "sign", "limit", "unit", "since", "extreme", "worst",
    "minutes", "count", "condition", "settled", "over", "answer",
)  # fmt: skip
REPLIES = (
    "digest", "life", "life_muted", "budget", "ack", "ack_again", "over", "mute", "unmute", "wrong", "locked",
    "unlocked", "no_code", "status", "list", "list_none", "help",
    "doctor", "doctor_soon", "doctor_failed",
)  # fmt: skip
REPLY_NAMES = (
    "station", "now", "items", "sensors", "count", "open", "muted", "until", "tries", "used", "budget",
    "answer", "code", "failures", "warnings", "good",
)  # fmt: skip

_TABLES = ("head", "extreme", "condition", "settled", "over", "quantity", "unit")
_NAME = re.compile(r"\{([^{}]*)\}")
_LONGEST_FORM = 400
_SHORTEST_STATION = 4


class TextsError(ValueError):
    """A file of texts that cannot be used: file, key, what is wrong, what is allowed."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one language. `text` holds for each kind its forms, long to short."""

    language: str
    decimal: str = "."
    approximate: str = "~"
    before_time: tuple[str, ...] = ()
    """Words that make no sense without the {since} behind them."""
    repeated: tuple[str, ...] = ()
    answer: str = ""
    """How to answer, in every text that wants an answer; {code} is the alarm's one-time code."""
    text: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    head: Mapping[str, str] = field(default_factory=dict)
    extreme: Mapping[str, str] = field(default_factory=dict)
    condition: Mapping[str, str] = field(default_factory=dict)
    settled: Mapping[str, str] = field(default_factory=dict)
    over: Mapping[str, str] = field(default_factory=dict)
    quantity: Mapping[str, str] = field(default_factory=dict)
    unit: Mapping[str, str] = field(default_factory=dict)
    short: Mapping[str, str] = field(default_factory=dict)
    reply: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a text is about. `since` and `now` are local times; `sure` says whether the clock was right.

    `above` tells on which side of `limit` the trouble is. `minutes` and `count` belong to some kinds only.
    """

    station: str
    sensor: str
    kind: Kind
    priority: Priority
    since: datetime
    now: datetime
    quantity: str = ""
    unit: str = ""
    value: float | None = None
    limit: float | None = None
    worst: float | None = None
    above: bool = True
    digits: int = 1
    minutes: int = 0
    count: int = 0
    sure: bool = True
    over_s: float = 0.0
    change_s: float = 0.0
    nowcast: bool = False
    code: str = ""


def packaged(language: str) -> Texts:
    """The texts that come with the program. Blocks on the disk once. Raises TextsError for an unknown
    language.
    """
    if language not in LANGUAGES:
        raise TextsError(f"language {language!r}: one of {', '.join(LANGUAGES)} is allowed")
    source = (FOLDER / f"{language}.toml").read_text(encoding="utf-8")
    return parse(source, f"{language}.toml", Texts(language))


def parse(source: str, name: str, under: Texts) -> Texts:
    """Lay the texts of a TOML file over those `under` it. `name` is the file's, for errors. Raises
    TextsError.
    """
    try:
        table = tomllib.loads(source)
    except tomllib.TOMLDecodeError as e:
        raise TextsError(f"{name}: {e}") from e
    new: dict[str, Any] = {}
    for key, value in table.items():
        match key:
            case "decimal" | "approximate" | "answer":
                new[key] = _word(name, key, value, ("code",))
            case "repeated" | "before_time":
                new[key] = _forms(name, key, value, NAMES)
            case "text":
                new[key] = {**under.text, **_all_forms(name, key, value, TEXTS, NAMES)}
            case "reply":
                new[key] = {**under.reply, **_all_forms(name, key, value, REPLIES, REPLY_NAMES)}
            case "short":
                new[key] = {**under.short, **_words_of(name, key, value, NAMES)}
            case _ if key in _TABLES:
                new[key] = {**getattr(under, key), **_words_of(name, key, value)}
            case _:
                words = "decimal, approximate, before_time, repeated, answer"
                allowed = f"{words}, text, reply, short, {', '.join(_TABLES)}"
                raise TextsError(f"{name}: {key}: not known; allowed are {allowed}")
    return replace(under, **new)


def which(notice: str, kind: Kind) -> str:
    """The text's key for a notice ("raise", "clear", "escalate" …) of a rule of this kind."""
    if kind not in STATES:
        return notice
    word = "own" if kind in OF_STATION else str(kind)
    own = {"raise": word, "clear": f"{word}_clear"}
    return own.get(notice, f"state_{notice}")


def render(texts: Texts, notice: str, facts: Facts, *, repeat: bool = False) -> str:
    """Give the text of a notice: its longest form that costs one segment. `repeat` marks one that may have
    come already.
    """
    forms = texts.text[which(notice, facts.kind)]
    if not facts.sure:
        forms = _without_time(texts, facts, forms)
    marks = texts.repeated if repeat and texts.repeated else ("",)
    words = _words(texts, facts)
    for form in forms:
        for mark in marks:
            text = mark + _fill(form, words)
            if _is_one_segment(text):
                return text
    for length in range(len(facts.station) - 1, _SHORTEST_STATION - 1, -1):
        text = marks[-1] + _fill(forms[-1], {**words, "station": facts.station[:length]})
        if _is_one_segment(text):
            return text
    return marks[-1] + _fill(forms[-1], words)  # dear but whole: an alarm is not cut


def brief(texts: Texts, notice: str, facts: Facts) -> str:
    """What a message about several says of this one; with "reading" only its value."""
    kind = "state" if facts.kind in STATES else "value"
    key = {"clear": f"{kind}_clear", "reading": "reading"}.get(notice, kind)
    return _fill(texts.short[key], _words(texts, facts))


def say(texts: Texts, key: str, words: Mapping[str, str], *, most: int = 1, names: Sequence[str] = ()) -> str:
    """A text that is about no single rule: its longest form that costs at most so many segments. Of `names`
    it lists as {items} as many as there is room for, from the first on.
    """
    forms = texts.reply[key]
    for some in range(len(names), 0, -1):
        listed = {**words, "items": ", ".join(names[:some])}
        for form in forms:
            if "{items}" in form and _count(text := _fill(form, listed)) <= most:
                return text
    for form in forms:
        text = _fill(form, words).rstrip(" :;")
        if _count(text) <= most:
            return text
    return _cut(_fill(forms[-1], words), most)


def how_to_answer(texts: Texts, code: str) -> str:
    """The words by which a text asks for an answer; "" without a code."""
    return _fill(texts.answer, {"code": code}, strip=False) if code else ""


def clock(texts: Texts, since: datetime, now: datetime, *, sure: bool) -> str:
    """A local time as texts show it."""
    text = since.strftime("%H:%M" if since.date() == now.date() else "%d.%m %H:%M")
    return text if sure else texts.approximate + text


def mark_repeated(texts: Texts, text: str) -> str:
    """Mark a text that may have come already; at the cost of no second segment where that is possible."""
    for mark in texts.repeated:
        if _is_one_segment(mark + text):
            return mark + text
    return (texts.repeated[-1] if texts.repeated else "") + text


def _words(texts: Texts, facts: Facts) -> dict[str, str]:
    value, limit, worst = facts.value, facts.limit, facts.worst
    return {
        "head": texts.head.get(facts.priority, ""),
        "station": facts.station,
        "sensor": facts.sensor,
        "quantity": texts.quantity.get(facts.quantity, facts.quantity),
        "value": _number(texts, value, facts.digits, limit),
        "sign": ">" if facts.above else "<",
        "limit": "" if limit is None else _plain(limit).replace(".", texts.decimal),
        "unit": texts.unit.get(facts.unit, facts.unit),
        "since": clock(texts, facts.since, facts.now, sure=facts.sure),
        "extreme": texts.extreme.get("above" if facts.above else "below", ""),
        "worst": _number(texts, worst, facts.digits, limit),
        "minutes": str(facts.minutes),
        "count": str(facts.count),
        "condition": texts.condition.get(facts.kind, ""),
        "settled": texts.settled.get(facts.kind, ""),
        "over": _over(texts, facts),
        "answer": how_to_answer(texts, facts.code),
    }


def _without_time(texts: Texts, facts: Facts, forms: tuple[str, ...]) -> tuple[str, ...]:
    """While the clock is not set a time would be wrong: where there is room it says so instead."""
    words = "|".join(re.escape(word) for word in texts.before_time)
    since = re.compile(rf",?(?: (?:{words}))? ?\{{since\}}")
    unset = f" ({texts.condition.get('clock', '')})" if facts.kind is not Kind.CLOCK else ""
    return tuple(since.sub(instead, form) for form in forms for instead in dict.fromkeys((unset, "")))


def _number(texts: Texts, value: float | None, digits: int, limit: float | None) -> str:
    """A value with the digits worth showing, and up to three more where rounding would hide that it is
    beyond the limit.
    """
    if value is None:
        return "?"
    text = f"{value:.{digits}f}"
    for more in range(digits, digits + 4):
        text = f"{value:.{more}f}"
        if limit is None or value == limit or float(text) != limit:
            break
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace(".", texts.decimal)


def _plain(limit: float) -> str:
    text = f"{limit:.4f}"
    return text.rstrip("0").rstrip(".")


def _over(texts: Texts, facts: Facts) -> str:
    """What was held against the limit, where it is not the value itself."""
    if facts.nowcast:
        return texts.over.get("nowcast", "NowCast")
    if not (length_s := facts.change_s or facts.over_s):
        return ""
    what = "change_" if facts.change_s else ""
    minutes = round(length_s / 60)
    if minutes % 60 == 0:
        return _fill(texts.over.get(f"{what}hours", ""), {"count": str(minutes // 60)})
    return _fill(texts.over.get(f"{what}minutes", ""), {"count": str(minutes)})


def _fill(form: str, words: Mapping[str, str], *, strip: bool = True) -> str:
    text = _NAME.sub(lambda m: words.get(m.group(1), ""), form)
    text = re.sub(r" +([,.:!])", r"\1", re.sub(r" {2,}", " ", text)).replace(":,", ":")
    return text.strip() if strip else text


def _count(text: str) -> int:
    try:
        return segments(text).count
    except TextError:
        return 10**6


def _is_one_segment(text: str) -> bool:
    return _count(text) == 1


def _cut(text: str, most: int) -> str:
    """What does not fit, at a space where there is one."""
    while _count(text) > most:
        text = text[: max(text.rfind(" "), len(text) - 20, 1)].rstrip(" ;,")
    return text


def _table(name: str, key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TextsError(f"{name}: {key}: a table is needed: [{key}]")
    return value


def _words_of(name: str, key: str, value: Any, names: Sequence[str] = ("count",)) -> dict[str, str]:
    return {k: _word(name, f"{key}.{k}", v, names) for k, v in _table(name, key, value).items()}


def _word(name: str, key: str, value: Any, names: Sequence[str]) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_FORM or not (value.isprintable() or value == ""):
        raise TextsError(f"{name}: {key}: a short text in quotes is needed")
    for found in _NAME.findall(value):
        if found not in names:
            raise TextsError(f"{name}: {key}: {{{found}}} is not known; allowed are {', '.join(names)}")
    return value


def _forms(name: str, key: str, value: Any, names: Sequence[str]) -> tuple[str, ...]:
    forms = [value] if isinstance(value, str) else value
    if not isinstance(forms, list) or not forms:
        raise TextsError(f"{name}: {key}: a text, or a list of texts from long to short, is needed")
    return tuple(_word(name, key, form, names) for form in forms)


def _all_forms(
    name: str, table: str, value: Any, keys: Sequence[str], names: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    forms = {}
    for key, form in _table(name, table, value).items():
        if key not in keys:
            raise TextsError(f"{name}: {table}.{key}: not known; allowed are {', '.join(keys)}")
        forms[key] = _forms(name, f"{table}.{key}", form, names)
    return forms
