"""Texts, numbers and dates of the monthly report, in Kyrgyz, Russian and English.

The texts are data (report_texts/*.toml). Names of quantities and reasons of gaps are those of the page
(web/static/texts/*.json), so that both say the same. Everything that goes into HTML goes through `text`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

LANGUAGES = ("ky", "ru", "en")
UNITS = {"ug/m3": "µg/m³", "degC": "°C", "uS/cm": "µS/cm", "1/cm3": "1/cm³", "pH": ""}
_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Words:
    """One language, for one time zone."""

    language: str
    form: Mapping[str, Any]
    say_: Mapping[str, str]
    page: Mapping[str, str]
    zone: ZoneInfo

    def say(self, key: str, **given: object) -> str:
        """A text as plain text; names in braces are replaced, once, and what is put in is not read again."""
        found = self.say_[key]
        return found.format_map(_Given(given)) if given else found

    def text(self, key: str, **given: object) -> str:
        """The same, for HTML."""
        return escape(self.say(key, **given))

    def quantity(self, name: str) -> str:
        return self.page.get(f"q.{name}", name)

    def why(self, reason: str) -> str:
        return self.page.get(f"why.{reason}", reason)

    def number(self, value: float | None, digits: int = 2) -> str:
        """3.142 as 3,14; — where there is none."""
        if value is None or value != value or abs(value) == float("inf"):
            return "—"
        if abs(value) >= 1e15:
            return f"{value:.3e}"
        plain = f"{value:,.{digits}f}"
        if plain.strip("-0.") == "":
            plain = plain.lstrip("-")
        gap = _SPACE if self.form["thousands"] == " " else self.form["thousands"]
        return plain.replace(",", "\0").replace(".", self.form["decimal"]).replace("\0", gap)

    def count(self, value: int) -> str:
        return self.number(value, 0)

    def percent(self, share: float) -> str:
        """Never 100 % of something that is not whole."""
        floor = int(share * 1000) / 10
        return f"{self.number(floor, 1)}{_SPACE}%"

    def unit(self, unit: str) -> str:
        return UNITS.get(unit, unit)

    def with_unit(self, value: float | None, unit: str, digits: int = 2) -> str:
        return f"{self.number(value, digits)}{_SPACE}{self.unit(unit)}".rstrip()

    def when(self, utc_ms: object, *, date_only: bool = False) -> str:
        """A local date, and time."""
        if isinstance(utc_ms, bool) or not isinstance(utc_ms, int):
            return "—"
        try:
            at = datetime.fromtimestamp(utc_ms / 1000, UTC).astimezone(self.zone)
        except (OverflowError, ValueError, OSError):
            return str(utc_ms)
        names = {"day": at.day, "dd": f"{at.day:02}", "mm": f"{at.month:02}", "year": at.year}
        date = str(self.form["date"]).format(**names, short=self.form["short"][at.month - 1])
        date = date.replace(" ", _SPACE)
        return date if date_only else f"{date}{_SPACE}{at:%H:%M}"

    def lasting(self, ms: float) -> str:
        minutes = ms / 60_000
        if minutes < 100:
            return self.say("minutes", n=self.number(minutes, 0))
        key, many = ("hours", minutes / 60) if minutes < 72 * 60 else ("days", minutes / 1440)
        return self.say(key, n=self.number(many, 0 if many == int(many) else 1))

    def spelled(self, ms: float) -> str:
        """How long, for a sentence: 24 hours. The text has the form for one, then that for many."""
        key, many = "long_minutes", round(ms / 60_000, 1)
        if many >= 60 and (many >= 100 or many % 60 == 0):
            key, many = "long_hours", round(many / 60, 1)
            if many >= 72:
                key, many = "long_days", round(many / 24, 1)
        whole = many == int(many)
        last, before = int(many) % 10, int(many) % 100 // 10
        ones = {"en": many == 1, "ru": not whole or (last == 1 and before != 1)}.get(self.language, False)
        forms = self.say(key, n=self.number(many, 0 if whole else 1)).split("|")
        return forms[0 if ones else -1].replace(" ", _SPACE)

    def inside(self, name: str) -> str:
        """A name within a sentence: no capital, but for an abbreviation."""
        return name[:1].lower() + name[1:] if name[1:2].islower() else name

    def month(self, year: int, month: int) -> str:
        return str(self.form["month"]).format(name=self.form["months"][month - 1], year=year)


class _Given(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return "—"


def words(language: str, timezone: str) -> Words:
    """The words of a language. Blocks on the disk once."""
    own = resources.files("gateway").joinpath("report_texts", f"{language}.toml")
    page = resources.files("gateway").joinpath("web", "static", "texts", f"{language}.json")
    form = tomllib.loads(own.read_text(encoding="utf-8"))
    said = json.loads(page.read_text(encoding="utf-8"))
    return Words(language, form, form["say"], said, ZoneInfo(timezone))
