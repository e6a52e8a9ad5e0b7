"""What people answer by SMS, read as commands. Pure, and forgiving: three languages, letters that look alike,
any case.

    "ACK 4711" · "принято 4711" · "кабыл 4711" · "4711"      → acknowledge
    "MUTE 4711 2h we clean it" · "тихо 4711 30 мин"           → shelve for so long, with a reason
    "UNMUTE 4711" · "STATUS" · "ДОКТОР" · "СПИСОК" · "?"                 → …

A Latin "ACK" typed on a Cyrillic keyboard ("АСК") is the same word: letters that look alike are one letter
here. Whether somebody may is not decided here (alerts.answers).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

LONGEST = 300
"""Characters that are looked at; a command has twenty."""
WHY_LONGEST = 60
MUTE_MIN = 60
"""Without a duration, MUTE is for so long."""
MUTE_MOST_MIN = 24 * 60


class Verb(StrEnum):
    ACK = "ack"
    MUTE = "mute"
    UNMUTE = "unmute"
    STATUS = "status"
    DOCTOR = "doctor"
    LIST = "list"
    HELP = "help"
    NONE = "none"
    """Nothing that is understood."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it was meant. `token` is the code or PIN that came with it, "" if none did."""

    verb: Verb
    token: str = ""
    minutes: int = MUTE_MIN
    why: str = ""


WORDS: dict[Verb, str] = {
    Verb.ACK: "ack ok okay yes ок да есть принял принято принята приняла кабыл кабылдадым макул kabyl qabyl "
    "makul prinyal prinyato",
    Verb.MUTE: "mute shelve silence тихо тишина отключи отключить откл тынч унчукпа өчүр tiho otkl tynch",
    Verb.UNMUTE: "unmute unshelve включи включить вкл күйгүз vkl",
    Verb.STATUS: "status state статус состояние абал абалы abal",
    Verb.DOCTOR: "doctor доктор врач дарыгер doktor vrach daryger",
    Verb.LIST: "list alarms список тревоги тизме spisok tizme",
    Verb.HELP: "help ? помощь справка жардам zhardam jardam pomosch pomoshch",
}
_ALIKE = str.maketrans("АВЕЁКМНОРСТУХҮӨҢІЈЅ" + "ЗҚҒ", "ABEEKMHOPCTYXYOHIJS" + "ЗKГ")
_DIGITS_ALIKE = str.maketrans("OОoоIІilІЗзБб", "0000111113366")
_DURATION = re.compile(r"(\d{1,4}) ?(M|MIN|MINUTES?|MИH\w*|MYH\w*|H|HR|HOURS?|Ч|ЧAC\w*|C|CAAT\w*|САAТ\w*)?")
_TOKEN = re.compile(r"\d{4,8}")


def parse(text: str) -> Command:
    """The command that a text means; Verb.NONE when it means none."""
    words = _plain(text[:LONGEST]).split()
    if not words:
        return Command(Verb.NONE)
    verb = _VERBS.get(skeleton(words[0].strip(".,:;!?-") or words[0]), Verb.NONE)
    rest = words[1:]
    if verb is Verb.NONE:
        code = _token(words[0])  # the code alone, or with thanks
        return Command(Verb.NONE) if code is None else Command(Verb.ACK, code)
    if verb not in (Verb.ACK, Verb.MUTE, Verb.UNMUTE):
        return Command(verb)
    token = _token(rest[0]) if rest else None
    if token is None:
        return Command(verb)
    if verb is not Verb.MUTE:
        return Command(verb, token)
    minutes, why = _duration(rest[1:])
    return Command(verb, token, minutes, " ".join(why)[:WHY_LONGEST])


def skeleton(word: str) -> str:
    """A word with letters that look alike made one, and without case."""
    return unicodedata.normalize("NFKC", word).upper().translate(_ALIKE)


def _plain(text: str) -> str:
    """Without what cannot be seen; digits of any script as ours."""
    text = unicodedata.normalize("NFKC", text)
    shown = (c if c.isprintable() else " " for c in text)
    return "".join(str(unicodedata.digit(c)) if c.isdigit() else c for c in shown)


def _token(word: str) -> str | None:
    word = word.strip(".,:;!#()\"'")
    if not any(c.isdigit() for c in word):
        return None
    word = word.translate(_DIGITS_ALIKE)
    return word if _TOKEN.fullmatch(word) else None


def _duration(words: list[str]) -> tuple[int, list[str]]:
    """The minutes that a MUTE asks for, and what stands behind them."""
    for count in (2, 1):  # "2 h", then "2h"
        match = _DURATION.fullmatch(skeleton(" ".join(words[:count]))) if len(words) >= count else None
        if match is not None and (count == 1 or match[2]):
            number, unit = int(match[1]), match[2] or ("H" if int(match[1]) <= 12 else "M")
            minutes = number if unit.startswith("M") else number * 60
            return min(max(minutes, 1), MUTE_MOST_MIN), words[count:]
    return MUTE_MIN, words


_VERBS = {skeleton(word): verb for verb, words in WORDS.items() for word in words.split()}
