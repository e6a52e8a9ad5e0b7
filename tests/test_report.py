"""The monthly report: its numbers against the exported csv, its HTML, its three languages, its PDF."""

from __future__ import annotations

import asyncio
import csv
import io
import math
import re
import shutil
import subprocess
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import html5lib
import pytest

from gateway import cli
from gateway.calibration import corrected_reading
from gateway.export_rows import Site, csv_text
from gateway.export_source import Span
from gateway.journal_blocks import Reader
from gateway.model import Reading, Stamp, Value
from gateway.report import month_of
from gateway.report_limits import Limit, judge, windows
from gateway.report_plots import hours, runs
from gateway.report_sums import Series, month
from gateway.report_words import LANGUAGES, words
from tests.report_month import BEGIN_MS, DRIFT, STEP_MS, TOML, ZONE, at, keep

SPACE = "\N{NO-BREAK SPACE}"
MONTH = ["--month", "2026-10"]
OCTOBER = Span(*(month_of(2026, 10, "Asia/Bishkek")[i] for i in (0, -1)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return keep(tmp_path_factory.mktemp("month"))


def report(file: Path, out: Path, *more: str) -> str:
    """The report as it was written."""
    assert cli.main(["report", str(file), *MONTH, "--output", str(out), *more]) == 0
    return out.read_text(encoding="utf-8") if out.suffix == ".html" else ""


def plain(page: str) -> str:
    """What a reader sees of it, without the charts; strictly parsed."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    tree = parser.parse(page)
    for parent in tree.iter():
        for child in list(parent):
            if child.tag in ("svg", "style", "{http://www.w3.org/2000/svg}svg"):
                tail = child.tail
                child.clear()
                child.tail = tail
    return re.sub(r"[ \t\n]+", " ", " ".join(tree.find("body").itertext()))


def exported(file: Path) -> dict[tuple[str, str], list[tuple[int, float, float]]]:
    """Usable values of the month by plain Python over the export: time, raw, value as they count now."""
    found: dict[tuple[str, str], list[tuple[int, float, float]]] = defaultdict(list)
    with Reader(file.parent / "data") as reader:
        site = Site("kyia", "K", "Asia/Bishkek")
        text = "".join(t for t, _ in csv_text(reader, OCTOBER, "readings", frozenset(), site))
    for row in csv.DictReader(io.StringIO(text)):
        if row["flag"] not in ("1", "2"):
            continue
        ms = round(datetime.fromisoformat(row["time_utc"]).timestamp() * 1000)
        raw, value = float(row["raw"]), float(row["value"])
        at_ = Stamp(ms, "", 0, True)
        values = {row["quantity"]: Value(raw, value, row["unit"], 1)}
        reading = Reading(row["sensor"], "", row["medium"], at_, values, int(row["calibration"]))
        value = corrected_reading(reading, [DRIFT]).values[row["quantity"]].value
        found[row["sensor"], row["quantity"]].append((ms, raw, value))
    return found


def mean_of(quantity: str, values: list[float]) -> float:
    if quantity == "ph":
        return -math.log10(math.fsum(10.0**-x for x in values) / len(values))
    return math.fsum(values) / len(values)


def test_sums_are_those_of_the_export(place: Path) -> None:
    known = exported(place)
    sums = month(place.parent / "data", OCTOBER, [DRIFT], lambda done: None, processes=1).sums
    assert set(sums.series) == {key for key in known if key[1] != "n0_3"}
    assert sum(map(len, known.values())) > 4000
    for (sensor, quantity), series in sums.series.items():
        rows = known[sensor, quantity]
        assert sum(series.used) == len(rows)
        assert series.mean(0, series.steps) == pytest.approx(
            mean_of(quantity, [v for _, _, v in rows]), abs=1e-9
        )
        assert series.mean(0, series.steps, raw=True) == pytest.approx(
            mean_of(quantity, [raw for _, raw, _ in rows]), abs=1e-9
        )
        assert min(series.low) == min(v for _, _, v in rows)
        assert max(series.high) == max(v for _, _, v in rows)
        by_hour: dict[int, list[float]] = defaultdict(list)
        for ms, _, value in rows:
            by_hour[(ms - BEGIN_MS) // 3_600_000].append(value)
        for hour, mean in enumerate(hours(series)):
            if hour in by_hour:
                assert mean == pytest.approx(mean_of(quantity, by_hour[hour]), abs=1e-9)
            else:
                assert math.isnan(mean), "never a line over a gap"
    ph = sums.series["ph1", "ph"]
    assert ph.corrected > 600
    assert ph.reasons == {"spike": 1}
    assert sum(ph.at_work) == 4
    assert ph.used[(at(2, 11) - BEGIN_MS) // STEP_MS] == 0


def test_processes_give_the_same(place: Path) -> None:
    folder = place.parent / "data"
    one = month(folder, OCTOBER, [DRIFT], lambda done: None, processes=1)
    two = month(folder, OCTOBER, [DRIFT], lambda done: None, processes=2)
    assert two == one


def test_what_a_report_says(place: Path, tmp_path: Path) -> None:
    text = plain(
        report(place, tmp_path / "en.html", "--language", "en", "--limits", "who-2021", "--limits", "own")
    )
    rows = exported(place)["dust1", "pm2_5"]
    days: dict[int, list[float]] = defaultdict(list)
    for ms, _, value in rows:
        days[(ms - BEGIN_MS) // 86_400_000].append(value)
    beyond = [
        day for day, values in days.items() if math.fsum(values) / len(values) > 15 and len(values) >= 108
    ]
    assert beyond == [3], "the fourth of October"
    whole = sum(len(values) >= 108 for values in days.values())
    assert f"Fine dust PM2.5 dust1 who-pm2_5-day > 15 µg/m³ 24{SPACE}h".replace(SPACE, " ") in text.replace(
        SPACE, " "
    )
    said = text.replace(SPACE, " ")
    assert f"24 h (1 of {whole}) 80 4 Oct 2026" in said
    assert "It was bad at Kanysh-Kyia in October 2026: " in said
    assert "fine dust PM2.5 was above the limit for 24 hours, 80 µg/m³ at worst (limit 15 µg/m³)" in said
    assert "Turbidity turb1 turbidity-high > 50 NTU 10 min 60 min (6 of " in said
    # the alarm, who took it, and when
    assert (
        "Turbidity turb1 turbidity-high high 3 Oct 2026 12:00 3 Oct 2026 14:00 95.00 NTU (limit 50) "
        "Aibek 3 Oct 2026 12:30" in said
    )
    # capture: 1152 slots, of which the 24 of the power cut are missing
    assert "ph1 97.9 % 1,128 1,152 power off 24" in said
    assert "bat1 97.9 % 188 192 power off 4" in said
    assert "ph1 , turb1 , dust1 2 Oct 2026 10:00 2 Oct 2026 14:00 4 h 24 power off" in said
    # the visit and what it changed
    assert (
        "Aibek passed 4.00: 4.10 → 4.01 lot LOT-4 "
        "7.00: 7.20 → 7.00 lot LOT-7 97.20 % -3.50 mV -0.12 5 Nov 2026" in said
    )
    ph = exported(place)["ph1", "ph"]
    raw, value = (mean_of("ph", [row[i] for row in ph]) for i in (1, 2))
    assert raw - value > 0.03
    changed = sum(1 for ms, _, _ in ph if DRIFT.from_ms < ms < (DRIFT.to_ms or 0))
    assert f"pH: {changed} values corrected; monthly mean {raw:.2f} → {value:.2f}. The" in said
    # supply, program, evidence
    assert "Voltage bat1 11.80 V" in said
    assert "Program started, version 0.1.0" in said
    assert "Configuration changed, SHA-256 abababababab" in said
    assert re.search(r"Blocks \d+ to \d+ of the signed chain were checked: whole", said)


@pytest.mark.parametrize("language", LANGUAGES)
def test_three_languages_say_the_same_in_their_own_way(place: Path, tmp_path: Path, language: str) -> None:
    page = report(place, tmp_path / "r.html", "--language", language)
    text = plain(page).replace(SPACE, " ")
    assert f'<html lang="{language}">' in page
    keys = {name: set(words(name, "UTC").say_) for name in LANGUAGES}
    assert keys[language] == keys["en"]
    w = words(language, "Asia/Bishkek")
    for key in ("capture", "limits", "alarms", "calibrations", "gaps", "battery", "visits", "evidence"):
        assert w.say(key) in text
    assert w.when(at(3, 12)).replace(SPACE, " ") in text
    assert ("97.9 %" if language == "en" else "97,9 %") in text
    assert page.count("<svg") == 5
    assert not re.search(r"\{[a-z_]*\}", text), "a name in braces was left"
    for name in keys["en"]:
        given = set(re.findall(r"\{(\w+)\}", words("en", "UTC").say_[name]))
        assert set(re.findall(r"\{(\w+)\}", w.say_[name])) == given, name


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{worst}{0}"
    file = keep(tmp_path / "evil", by=evil, why=evil, rule=evil)
    file.write_text(TOML.format(name=evil.replace('"', "").replace("'", ""), language="en"), encoding="utf-8")
    page = report(file, tmp_path / "evil.html")
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    tags = {str(element.tag) for element in tree.iter()}
    assert not tags & {"script", "img"}
    assert not any(name.startswith("on") for element in tree.iter() for name in map(str, element.attrib))
    assert plain(page).count("<script>alert(1)</script>") >= 4


def test_pdf_says_what_html_says(place: Path, tmp_path: Path) -> None:
    assert shutil.which("pdftotext"), "poppler-utils"
    html = plain(report(place, tmp_path / "r.html", "--language", "ky"))
    report(place, tmp_path / "r.pdf", "--language", "ky", "--format", "pdf")
    done = subprocess.run(
        ["pdftotext", str(tmp_path / "r.pdf"), "-"], capture_output=True, text=True, check=True, timeout=60
    )
    there = set(re.findall(r"\w{4,}", done.stdout))
    wanted = set(re.findall(r"\w{4,}", html))
    missing = {word for word in wanted - there if len(word) < 20}  # long ones are broken over lines
    assert len(missing) < 0.02 * len(wanted), missing
    assert "Айлык" in done.stdout
    pages = [page.split("\n") for page in done.stdout.rstrip("\f\n").split("\f")]
    assert len(pages) <= 4
    w = words("ky", "Asia/Bishkek")
    titles = {
        w.say(key) for key in ("capture", "limits", "summary", "plots", "alarms", "calibrations", "gaps")
    }
    for number, lines in enumerate(pages, 1):
        rest = [line for line in lines if line.strip()]
        assert rest.pop().replace(" ", "") == f"{number}/{len(pages)}"
        assert rest[-1] not in titles, "no heading is alone at the foot of a page"


def test_bad_wishes_are_one_line(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "r.html")
    for more, says in (
        (["--month", "2026-13"], "--month 2026-13: is no month; write 2026-11"),
        (["--month", "2026-10", "--limits", "who"], "--limits who: there is no such set; "),
        (["--month", "2025-01"], "--month 2025-01: the journal has nothing of that month"),
    ):
        assert cli.main(["report", str(place), "--output", out, *more]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
    Path(out).write_text("mine")
    assert cli.main(["report", str(place), *MONTH, "--output", out]) == 2
    assert "is there already" in capsys.readouterr().err
    assert Path(out).read_text() == "mine"
    assert cli.main(["report", str(place), *MONTH, "--output", str(tmp_path / "no" / "r.html")]) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.html"]


def test_a_changed_journal_is_said(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.report_figures.there", lambda: False)
    from tests import chains

    copy = tmp_path / "data"
    shutil.copytree(place.parent / "data", copy)
    block = chains.blocks(copy)[9]
    chains.write(copy, chains.changed_body(block, b'"pH"', b'"PH"'))
    file = tmp_path / "station.toml"
    file.write_text(place.read_text(encoding="utf-8"), encoding="utf-8")
    text = plain(report(file, tmp_path / "r.html", "--language", "en"))
    assert "The signed chain is NOT whole" in text
    assert "the evidence chain is broken" in text


def test_without_matplotlib_there_is_a_report(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.report_figures.there", lambda: False)
    page = report(place, tmp_path / "r.html", "--language", "en")
    assert "<svg" not in page
    assert "Charts are missing: matplotlib is not installed" in plain(page)


# ── windows ─────────────────────────────────────────────────────────────────────────────────────


def test_windows_begin_anew_at_midnight_and_need_three_quarters() -> None:
    hour = 6
    midnights = [0, 25 * 3_600_000, 49 * 3_600_000]  # a day of 25 hours, when clocks are set back
    steps = 49 * hour
    assert windows(86_400, steps, 0, midnights) == [(0, 150), (150, 294)]
    assert windows(1800, steps, 0, midnights)[:2] == [(0, 3), (3, 6)]
    assert windows(8 * 3600, steps, 0, midnights) == [
        (0, 48), (48, 96), (96, 144), (144, 150), (150, 198), (198, 246), (246, 294),
    ]  # fmt: skip
    series = Series("d", "pm10", "ug/m3", "air", steps)
    for step in range(112):  # 112.5 of 150 would be three quarters
        series.take(step, (100.0,), (100.0,))
    for step in range(150, 258):  # 108 of 144 are
        series.take(step, (50.0,), (50.0,))
    sums = month_sums(series)
    [one] = judge([Limit("x", "pm10", "ug/m3", 86_400, 45, None, True)], sums, midnights, {})
    assert (one.windows, one.beyond, one.worst, one.beyond_ms) == (1, 1, 50.0, 24 * 3_600_000)
    [below] = judge([Limit("x", "pm10", "ug/m3", 86_400, None, 45, True)], sums, midnights, {})
    assert (below.windows, below.beyond) == (1, 0)
    assert judge([Limit("x", "pm10", "mg/m3", 86_400, 45, None, True)], sums, midnights, {}) == []


def month_sums(series: Series) -> Any:
    from gateway.report_sums import Sums

    return Sums(Span(0, series.steps * STEP_MS), {(series.sensor, series.quantity): series})


def test_runs() -> None:
    assert runs([]) == []
    assert runs([True, True, False, True]) == [(0, 2), (3, 4)]


def test_months_have_their_midnights() -> None:
    assert month_of(2026, 10, "Asia/Bishkek")[0] == BEGIN_MS
    assert len(month_of(2026, 12, "Asia/Bishkek")) == 32
    berlin = month_of(2026, 10, "Europe/Berlin")
    assert berlin[25] - berlin[24] == 25 * 3_600_000
    assert datetime.fromtimestamp(berlin[-1] / 1000, tz=ZONE).month == 11


def test_numbers_are_written_as_people_do() -> None:
    table = {
        "en": ("1,234.50", "1,128", "97.9 %", "3 Oct 2026 12:00", "October 2026"),
        "ru": ("1 234,50", "1 128", "97,9 %", "03.10.2026 12:00", "октябрь 2026 г."),
        "ky": ("1 234,50", "1 128", "97,9 %", "03.10.2026 12:00", "2026-жыл, октябрь"),
    }
    for language, wanted in table.items():
        w = words(language, "Asia/Bishkek")
        said = (w.number(1234.5), w.count(1128), w.percent(0.97999), w.when(at(3, 12)), w.month(2026, 10))
        assert tuple(text.replace(SPACE, " ") for text in said) == wanted
        assert w.percent(0.99999).replace(SPACE, " ") in ("99.9 %", "99,9 %"), (
            "never 100 of what is not whole"
        )
        assert w.number(float("nan")) == w.number(None) == "—"
        assert w.number(-0.001) in ("0.00", "0,00")


def test_it_works_while_a_journal_is_written(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.report_figures.there", lambda: False)
    from gateway.journal import Journal
    from tests.report_month import MonthClock

    copy = tmp_path / "data"
    shutil.copytree(place.parent / "data", copy)
    file = tmp_path / "station.toml"
    file.write_text(place.read_text(encoding="utf-8"), encoding="utf-8")

    async def job() -> str:
        clock = MonthClock()
        clock.now_ms = at(9, 6)
        journal = Journal(copy, clock)
        await journal.open()
        journal.append([Reading("ph1", "y", "water", clock.stamp(), {"ph": Value(2.0, 2.0, "pH", 1)}, 2)])
        await journal.sync()
        text = await asyncio.to_thread(report, file, tmp_path / "r.html", "--language", "en")
        await journal.close()
        return text

    text = plain(asyncio.run(job())).replace(SPACE, " ")
    assert "newest records are in no block yet: whole, but not proven" in text
    assert "pH ph1 2.00 " in text
