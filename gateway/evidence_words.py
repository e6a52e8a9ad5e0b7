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
        "what": "What the instruments of this station said and what became of it, signed by the station. "
                "Whoever changes a number, takes out a row or puts one in is found by the check below.",
        "files": "Files", "rows": "rows", "by": "Made by", "check": "Check it yourself",
        "readings": "Every reading: raw, value, unit, flag with reason, calibration",
        "averages": "Averages with the number of values used and expected",
        "events": "Everything that happened",
        "calibrations": "Calibrations", "gaps": "Gaps and losses, with reasons",
        "configuration": "How the station was configured, and since when",
        "columns": "raw is what the instrument said, value what counted that day, corrected what a later "
                   "correction says (empty: value still counts).",
        "flags": "Flags (QARTOD): 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing.",
        "how": "The tables follow from the signed blocks in chain/. This command proves the blocks and "
               "makes the tables again. Write the name of the zip file for PACK.zip, and compare the key "
               "with the commissioning record:",
    },
    "ru": {
        "title": "Пакет доказательств", "span": "Период", "all": "весь журнал", "key": "Ключ",
        "what": "Что показали приборы этой станции и что с этим было дальше, с подписью станции. Кто "
                "изменит число, уберёт строку или вставит свою, того найдёт проверка внизу.",
        "files": "Файлы", "rows": "строк", "by": "Создано", "check": "Проверьте сами",
        "readings": "Все измерения: исходное и исправленное значение, единица, флаг с причиной, калибровка",
        "averages": "Средние с числом использованных и ожидаемых значений", "events": "Все события",
        "calibrations": "Калибровки", "gaps": "Пропуски и потери с причинами",
        "configuration": "Как станция была настроена и с какого времени",
        "columns": "raw — что показал прибор, value — что считалось в тот день, corrected — что говорит "
                   "более поздняя поправка (пусто: в силе value).",
        "flags": "Флаги (QARTOD): 1 хорошее, 2 не проверено, 3 сомнительное, 4 негодное, 9 нет данных.",
        "how": "Таблицы получены из подписанных блоков в chain/. Эта команда проверяет блоки и строит "
               "таблицы заново. Вместо PACK.zip напишите имя zip-файла; ключ сравните с записью в акте "
               "ввода в эксплуатацию:",
    },
    "ky": {
        "title": "Далилдер топтому", "span": "Мезгил", "all": "журналдын баары", "key": "Ачкыч",
        "what": "Бул станциянын аспаптары эмнени көрсөткөнү жана андан кийин эмне болгону, станциянын "
                "кол тамгасы менен. Ким санды өзгөртсө, сапты алып салса же кошсо, төмөнкү текшерүү аны "
                "табат.",
        "files": "Файлдар", "rows": "саптар", "by": "Түзгөн", "check": "Өзүңүз текшериңиз",
        "readings": "Бардык өлчөөлөр: баштапкы жана оңдолгон маани, бирдик, белги жана себеби, калибрлөө",
        "averages": "Орточо маанилер, колдонулган жана күтүлгөн сандар менен", "events": "Бардык окуялар",
        "calibrations": "Калибрлөөлөр", "gaps": "Үзгүлтүктөр жана жоготуулар, себептери менен",
        "configuration": "Станция кантип жана качантан бери жөндөлгөн",
        "columns": "raw — аспап көрсөткөнү, value — ошол күнү эсептелгени, corrected — кийинки оңдоо "
                   "айтканы (бош болсо: value күчүндө).",
        "flags": "Белгилер (QARTOD): 1 жакшы, 2 текшерилген эмес, 3 шектүү, 4 жараксыз, 9 маалымат жок.",
        "how": "Таблицалар chain/ ичиндеги кол коюлган блоктордон алынган. Бул буйрук блокторду текшерип, "
               "таблицаларды кайра түзөт. PACK.zip ордуна zip файлдын атын жазыңыз; ачкычты ишке киргизүү "
               "актысы менен салыштырыңыз:",
    },
}  # fmt: skip
STYLE = """
:root{color-scheme:light}
body{font:16px/1.5 system-ui,"DejaVu Sans",sans-serif;color:#1a202c;background:#fff;max-width:46rem;\
margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.2rem 0 .6rem}
h2{font-size:1.15rem;margin:1.6rem 0 .5rem;border-bottom:2px solid #2b6cb0;padding-bottom:.15rem}
dl{display:grid;grid-template-columns:auto 1fr;gap:.15rem 1rem;margin:.8rem 0}
dt{color:#4a5568}
dd{margin:0;min-width:0;overflow-wrap:anywhere}
ul{list-style:none;padding:0;margin:0}
li{border-bottom:1px solid #e2e8f0;padding:.45rem 0}
li span{float:right;color:#4a5568;margin-left:1rem}
li div{clear:right}
code,pre{font:.92em ui-monospace,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
pre{background:#f0f4f8;padding:.6rem;white-space:pre-wrap}
a{color:#1a4e8a}
.quiet{color:#4a5568;font-size:.9rem}
@media print{body{font-size:10pt;max-width:none;padding:0}li,pre{break-inside:avoid}}
"""


def page(about: Mapping[str, Any]) -> str:
    """The page as HTML; it follows from the manifest alone."""
    language = about["language"] if about["language"] in WORDS else "en"
    words = WORDS[language]
    zone = ZoneInfo(str(about["timezone"]))
    files = "".join(
        f'<li><a href="data/{name}.csv">data/{name}.csv</a> <span>{words["rows"]}: {_count(count, language)}'
        f"</span><div>{escape(words[name])}</div></li>\n"
        for name, count in about["rows"].items()
        if name in words
    )
    keys = "<br>".join(f"<code>{escape(str(key))}</code>" for key in about["keys"])
    named = " ".join(f"--key {escape(str(key))}" for key in about["keys"])
    return f"""<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(words["title"])}: {escape(str(about["name"]))}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(words["title"])}</h1>
<p>{words["what"]}</p>
<p><b>{escape(str(about["name"]))}</b> (<code>{escape(str(about["station"]))}</code>)</p>
<dl>
<dt>{words["span"]}</dt><dd>{_span(about, zone, words["all"])}</dd>
<dt>{words["key"]}</dt><dd>{keys}</dd>
<dt>{words["by"]}</dt><dd>{escape(str(about["made_by"]))}</dd>
</dl>
<h2>{words["files"]}</h2>
<ul>
{files}</ul>
<p class="quiet">{words["columns"]}</p>
<p class="quiet">{words["flags"]}</p>
<h2>{words["check"]}</h2>
<p>{words["how"]}</p>
<pre>suuaba verify PACK.zip {named}</pre>
</main>
</body>
</html>
"""


def _count(count: Any, language: str) -> str:
    return f"{int(count):,}".replace(",", "," if language == "en" else "\N{NO-BREAK SPACE}")


def _span(about: Mapping[str, Any], zone: ZoneInfo, everything: str) -> str:
    ends = []
    for name in ("from_ms", "to_ms"):
        try:
            at = datetime.fromtimestamp(int(about[name]) / 1000, UTC).astimezone(zone)
        except (OverflowError, ValueError, OSError):
            return everything
        ends.append(at.strftime("%Y-%m-%d %H:%M"))
    return everything if ends[0].startswith("1970") else f"{ends[0]} – {ends[1]} ({zone.key})"
