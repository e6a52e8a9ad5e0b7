"""The first page of an evidence pack, in Kyrgyz, Russian and English."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "title": "Evidence pack", "span": "Time span", "all": "everything in the journal", "key": "Key",
        "files": "Files", "rows": "rows", "by": "Made by", "check": "Check",
        "readings": "Every reading: raw, value, unit, flag with reason, calibration",
        "averages": "Averages with the number of values used and expected",
        "events": "Everything that happened",
        "calibrations": "Calibrations", "gaps": "Gaps and losses, with reasons",
        "configuration": "How the station was configured, and since when",
        "flags": "Flags (QARTOD): 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing.",
        "how": "The tables follow from the signed blocks in chain/. This command proves the blocks and makes "
               "the tables again; compare the key with the commissioning record:",
    },
    "ru": {
        "title": "Пакет доказательств", "span": "Период", "all": "весь журнал", "key": "Ключ",
        "files": "Файлы", "rows": "строк", "by": "Создано", "check": "Проверка",
        "readings": "Все измерения: исходное и исправленное значение, единица, флаг с причиной, калибровка",
        "averages": "Средние с числом использованных и ожидаемых значений", "events": "Все события",
        "calibrations": "Калибровки", "gaps": "Пропуски и потери с причинами",
        "configuration": "Как станция была настроена и с какого времени",
        "flags": "Флаги (QARTOD): 1 хорошее, 2 не проверено, 3 сомнительное, 4 негодное, 9 нет данных.",
        "how": "Таблицы получены из подписанных блоков в chain/. Эта команда проверяет блоки и строит "
               "таблицы заново; сравните ключ с записью в акте ввода в эксплуатацию:",
    },
    "ky": {
        "title": "Далилдер топтому", "span": "Мезгил", "all": "журналдын баары", "key": "Ачкыч",
        "files": "Файлдар", "rows": "сап", "by": "Түзгөн", "check": "Текшерүү",
        "readings": "Бардык өлчөөлөр: баштапкы жана оңдолгон маани, бирдик, белги жана себеби, калибрлөө",
        "averages": "Орточо маанилер, колдонулган жана күтүлгөн сандар менен", "events": "Бардык окуялар",
        "calibrations": "Калибрлөөлөр", "gaps": "Үзгүлтүктөр жана жоготуулар, себептери менен",
        "configuration": "Станция кантип жана качантан бери жөндөлгөн",
        "flags": "Белгилер (QARTOD): 1 жакшы, 2 текшерилген эмес, 3 шектүү, 4 жараксыз, 9 маалымат жок.",
        "how": "Таблицалар chain/ ичиндеги кол коюлган блоктордон алынган. Бул буйрук блокторду текшерип, "
               "таблицаларды кайра түзөт; ачкычты ишке киргизүү актысы менен салыштырыңыз:",
    },
}  # fmt: skip


def page(about: Mapping[str, Any]) -> str:
    """The page as HTML; it follows from the manifest alone."""
    language = about["language"] if about["language"] in WORDS else "en"
    words = WORDS[language]
    zone = ZoneInfo(str(about["timezone"]))
    rows = "".join(
        f'<tr><td><a href="data/{name}.csv">data/{name}.csv</a></td><td>{escape(words[name])}</td>'
        f"<td>{int(count)} {words['rows']}</td></tr>\n"
        for name, count in about["rows"].items()
        if name in words
    )
    keys = " ".join(f"<code>{escape(str(key))}</code>" for key in about["keys"])
    named = " ".join(f"--key {escape(str(key))}" for key in about["keys"])
    return f"""<!doctype html>
<html lang="{language}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(words["title"])}: {escape(str(about["name"]))}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}}\
td{{padding:.2rem .8rem .2rem 0;\
vertical-align:top}}code,pre{{background:#eee;overflow-wrap:anywhere;white-space:pre-wrap}}</style>
<h1>{escape(words["title"])}</h1>
<p><b>{escape(str(about["name"]))}</b> ({escape(str(about["station"]))})<br>
{words["span"]}: {_span(about, zone, words["all"])}<br>{words["key"]}: {keys}<br>
{words["by"]}: {escape(str(about["made_by"]))}</p>
<h2>{words["files"]}</h2>
<table>
{rows}</table>
<p>{words["flags"]}</p>
<h2>{words["check"]}</h2>
<p>{words["how"]}</p>
<pre>suuaba verify {escape(str(about["station"]))}.zip {named}</pre>
</html>
"""


def _span(about: Mapping[str, Any], zone: ZoneInfo, everything: str) -> str:
    ends = []
    for name in ("from_ms", "to_ms"):
        try:
            at = datetime.fromtimestamp(int(about[name]) / 1000, UTC).astimezone(zone)
        except (OverflowError, ValueError, OSError):
            return everything
        ends.append(at.strftime("%Y-%m-%d %H:%M"))
    return everything if ends[0].startswith("1970") else f"{ends[0]} – {ends[1]} ({zone.key})"
