"""What a monthly report says, as one value, and the pieces of HTML that it is made of.

Cells are HTML already: whatever came from a journal, from station.toml or from a rule goes through `escape`
here or in the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from alerts.readymade import RuleSet
from gateway.export_rows import Site
from gateway.report_limits import Judged, Verdict
from gateway.report_series import Series, Sums
from gateway.report_story import ROWS_AT_MOST, Story
from gateway.report_words import Words

LONGEST = 200
"""Characters of a foreign text that are shown."""
FIRST = ("ph", "turbidity", "pm2_5", "pm10", "conductivity", "dissolved_oxygen", "suspended_solids",
         "level", "orp")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evidence:
    """What came of checking the month's stretch of the chain."""

    first: int = 0
    last: int = 0
    head: str = ""
    keys: Sequence[str] = ()
    wrong: str = ""
    unproven: int = 0


@dataclass(slots=True)
class Facts:
    """All that stands in a report."""

    site: Site
    year: int
    month: int
    now_ms: int
    program: str
    sums: Sums
    story: Story
    judged: Sequence[Judged]
    sets: Sequence[RuleSet]
    not_judged: Sequence[str]
    verdict: Verdict
    evidence: Evidence
    corrections: Sequence[Any]
    midnights: Sequence[int]
    digits: dict[tuple[str, str], int] = field(default_factory=dict)

    def digits_of(self, series: Series) -> int:
        return self.digits.get((series.sensor, series.quantity), 2)


def section(w: Words, title: str, content: str, *, about: str = "") -> str:
    said = f"<p class=quiet>{w.text(about)}</p>" if about else ""
    return f'<section id="{title}"><h2>{w.text(title)}</h2>{said}{content}</section>\n'


def table(w: Words, heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    names = [w.text(head) if head else "" for head in heads]
    body = ""
    for row in rows:
        cells = "".join(
            f'<td{" class=n" if i in right else ""} data-l="{name}"><div>{cell}</div></td>'
            for i, (name, cell) in enumerate(zip(names, row, strict=True))
        )
        body += f"<tr>{cells}</tr>\n"
    if not body:
        return f"<p>{w.text('none')}</p>"
    top = "".join(f"<th{' class=n' if i in right else ''}>{name}</th>" for i, name in enumerate(names))
    return f"<table><thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table>"


def more(w: Words, count: int) -> str:
    return f"<p>{w.text('more', n=w.count(count - ROWS_AT_MOST))}</p>" if count > ROWS_AT_MOST else ""


def ordered(sums: Sums) -> list[Series]:
    def place(series: Series) -> tuple[int, str, str]:
        first = FIRST.index(series.quantity) if series.quantity in FIRST else len(FIRST)
        return first, series.quantity, series.sensor

    return sorted(sums.series.values(), key=place)


def short(text: object) -> str:
    shown = str(text if text is not None else "—")
    return escape(shown if len(shown) <= LONGEST else shown[:LONGEST] + "…")


def code(text: object) -> str:
    return f"<code>{short(text)}</code>"


def listed(given: object) -> str:
    return short(", ".join(map(str, given)) or "—") if isinstance(given, list) else short(given)


def figure(w: Words, value: object) -> str:
    return w.number(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else "—"


def fitting(value: float | None) -> int:
    """As many digits as a limit has."""
    return len(f"{value:g}".partition(".")[2]) if value is not None else 0
