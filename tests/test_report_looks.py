"""Reports and the page of an evidence pack as a browser shows them, on a phone and to a screen reader; in
three languages.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import html5lib
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright

from alerts import readymade
from gateway import cli
from gateway.evidence_words import page as page_of
from gateway.report_story import story
from gateway.report_words import LANGUAGES, words
from tests.report_month import keep

AXE = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
SMALLEST_PX = 10
"""Of letters, also in charts."""
POINTS = 8.5
"""Of letters in a chart, as it is drawn."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LANGUAGE-report.html and LANGUAGE-evidence.html."""
    folder = tmp_path_factory.mktemp("looks")
    plain = keep(folder).read_text(encoding="utf-8")
    for language in LANGUAGES:
        file = folder / f"{language}.toml"
        file.write_text(plain.replace('language = "ru"', f'language = "{language}"'), encoding="utf-8")
        wanted = ["--limits", "kyrgyzstan", "--limits", "own"]
        wanted += ["--output", str(folder / f"{language}-report.html")]
        assert cli.main(["report", str(file), "--month", "2026-10", *wanted]) == 0
    assert cli.main(["export", str(file), "--evidence", "--output", str(folder / "pack.zip")]) == 0
    with zipfile.ZipFile(folder / "pack.zip") as opened:
        about = json.loads(opened.read("manifest.json"))
        assert opened.read("index.html").decode() == page_of(about)
    for language in LANGUAGES:
        text = page_of(about | {"language": language})
        (folder / f"{language}-evidence.html").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is missing: apt-get install chromium"
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize("kind", ["report", "evidence"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_it_can_be_read_on_a_phone_and_by_a_screen_reader(
    place: Path, browser: Browser, language: str, kind: str
) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme="dark")
    failed: list[str] = []
    page.on("console", lambda message: failed.append(message.text))
    page.on("request", lambda request: failed.append(request.url) if "file:" not in request.url else None)
    page.goto((place / f"{language}-{kind}.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 360, "nothing is wider than the screen"
    assert page.locator("html").get_attribute("lang") == language
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    sizes: dict[str, float] = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("main *")]
        .filter(e => e.checkVisibility() && [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
        .map(e => [e.textContent.slice(0, 40), parseFloat(getComputedStyle(e).fontSize)]))"""
    )
    assert {text: px for text, px in sizes.items() if px < SMALLEST_PX} == {}
    for chart in page.locator("svg").all():
        width: float = chart.evaluate("e => e.getBoundingClientRect().width / e.viewBox.baseVal.width")
        assert POINTS * width >= SMALLEST_PX
    found = Axe().run(page, options=AXE).response["violations"]
    assert [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found] == []
    assert failed == []
    page.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_charts_show_what_happened_and_say_it_in_words(place: Path, language: str) -> None:
    text = (place / f"{language}-report.html").read_text(encoding="utf-8")
    w = words(language, "Asia/Bishkek")
    figures = re.findall(r"<figure>(.*?)</figure>", text, flags=re.DOTALL)
    ph, turbidity, fine, coarse, battery = figures
    signs = {
        "doubtful": r"fill: #8a8a8a; opacity",
        "maintenance": r"fill: #5aa9e6; opacity",
        "alarm": r'fill: #c53030"',
        "calibration": r"stroke: #2f855a",
        "before correction": r"stroke: #b7791f",
        "limit": r"fill: none; stroke: #c53030",
        "unconfirmed": r"stroke-dasharray[^\"]*stroke: #c53030",
    }

    def drawn(figure: str) -> set[str]:
        return {sign for sign, pattern in signs.items() if re.search(pattern, figure)}

    assert drawn(ph) == {"doubtful", "maintenance", "calibration", "before correction", "unconfirmed"}
    assert drawn(turbidity) == {"alarm", "limit"}
    assert drawn(fine) >= {"limit"}
    assert drawn(coarse) >= {"limit"}
    assert drawn(battery) == set()
    for sign in ("mean", "band", "raw", "limit", "unsure", "alarm", "doubt", "work", "calibrated"):
        assert f"<i class=l-{sign}></i>{w.text(f'legend_{sign}')}</li>" in text
    labels = re.findall(r'<svg role="img" aria-label="([^"]*)"', text)
    assert len(labels) == 5
    given: dict[str, Any] = {"sensor": "turb1", "quantity": w.quantity("turbidity")}
    given |= {"low": w.number(3.0, 1), "high": w.number(95, 1), "limits": "50", "alarms": "1", "doubts": "0"}
    assert w.text("plot_alt", **given) in labels
    assert labels[0].endswith(" 1"), "the spike"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_limit_names_its_source_and_how_sure_it_is(place: Path, language: str) -> None:
    """In the reader's language, but for the source itself, which is as it was published."""
    limits = sections(place / f"{language}-report.html")["limits"]
    w = words(language, "Asia/Bishkek")
    given = readymade.ruleset("kyrgyzstan")
    assert (
        f"{w.say('source')} ({w.say('in_original')}): {given.title}. {given.source}, {given.date}." in limits
    )
    for sure in ("certain", "own_limit", "uncertain"):
        assert w.say(sure) in limits


def sections(file: Path) -> dict[str | None, str]:
    tree = html5lib.parse(file.read_text(encoding="utf-8"), namespaceHTMLElements=False)
    return {section.get("id"): "".join(section.itertext()) for section in tree.iter("section")}


def test_what_there_was_none_of_is_said_in_one_place(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"alarms", "calibrations", "gaps", "battery", "visits", "station_events"}
    whole = sections(place / "en-report.html").keys()
    assert "nothing" not in whole, "this month had everything"
    assert told <= whole

    def quiet(events: Any, span: Any) -> Any:
        found = story(events, span)
        found.alarms, found.gaps, found.visits = [], [], []
        return found

    monkeypatch.setattr("gateway.report.story", quiet)
    monkeypatch.setattr("gateway.report_figures.there", lambda: False)
    out = tmp_path / "r.html"
    assert cli.main(["report", str(place / "en.toml"), "--month", "2026-10", "--output", str(out)]) == 0
    found = sections(out)
    assert found.keys() & told == told - {"alarms", "gaps", "visits"}
    assert found["nothing"] == "None of these this monthAlarms, gaps and losses, visits."


def test_a_gap_of_several_instruments_is_one_row(place: Path) -> None:
    tree = html5lib.parse((place / "en-report.html").read_text(encoding="utf-8"), namespaceHTMLElements=False)
    [gaps] = [section for section in tree.iter("section") if section.get("id") == "gaps"]
    rows = ["|".join("".join(cell.itertext()) for cell in row.iter("td")) for row in gaps.iter("tr")][1:]
    assert [row.partition("|")[0] for row in rows] == ["ph1, turb1, dust1", "bat1"]


@pytest.mark.parametrize(
    ("language", "wanted"),
    [
        ("en", "1 minute, 21 minutes, 1 hour, 2.5 hours, 11 hours, 24 hours, 3 days, 3.5 days"),
        ("ru", "1 минуты, 21 минуты, 1 часа, 2,5 часа, 11 часов, 24 часов, 3 суток, 3,5 суток"),
        ("ky", "1 мүнөт, 21 мүнөт, 1 саат, 2,5 саат, 11 саат, 24 саат, 3 күн, 3,5 күн"),
    ],
)
def test_how_long_is_spelled_out(language: str, wanted: str) -> None:
    w = words(language, "UTC")
    minutes = (1, 21, 60, 150, 11 * 60, 24 * 60, 72 * 60, 84 * 60)
    said = ", ".join(w.spelled(n * 60_000) for n in minutes)
    assert said.replace("\N{NO-BREAK SPACE}", " ") == wanted
