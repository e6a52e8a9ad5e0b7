"""The pictures of docs/gallery: reports and evidence packs of a made-up month, as they are rendered.

    python -m tests.gallery_reports    # half a minute; Chromium, poppler-utils, matplotlib, WeasyPrint

For each language: on a phone (360 pixels wide, by Chromium) the beginning and the charts, and A4 (by
WeasyPrint, 60 dots an inch). --keep FOLDER leaves all pages of all of them there, for who wants to look.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from gateway import cli
from tests.report_month import keep

GALLERY = Path(__file__).parent.parent / "docs" / "gallery"
LANGUAGES = ("ky", "ru", "en")
PHONE, SCREEN = 360, 780
GAP = 12


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gallery_reports")
    parser.add_argument("--keep", type=Path, help="leave every page here")
    kept = parser.parse_args().keep
    with tempfile.TemporaryDirectory(prefix="suuaba-gallery-") as name:
        folder = kept or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        written(folder)
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if chromium is None:
            sys.stderr.write("Chromium is missing: apt-get install chromium\n")
            return 1
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            charts_at = {language: photographed(browser, folder, language) for language in LANGUAGES}
            browser.close()
        for language in LANGUAGES:
            pdf = folder / f"{language}.pdf"
            for old in folder.glob(f"{language}-a4-*.png"):
                old.unlink()
            subprocess.run(
                ["pdftoppm", "-r", "60", "-png", pdf, folder / f"{language}-a4"], check=True, timeout=60
            )
        put("report-phone.png", [screen(folder / f"{x}-phone.png", 0) for x in LANGUAGES])
        put("report-charts.png", [screen(folder / f"{x}-phone.png", charts_at[x]) for x in LANGUAGES])
        for language in LANGUAGES:
            pages = sorted(folder.glob(f"{language}-a4-*.png"))[:2]
            put(f"report-a4-{language}.png", [Image.open(page) for page in pages])
        put("evidence.png", [screen(folder / f"{x}-evidence-phone.png", 0) for x in LANGUAGES])
    return 0


def written(folder: Path) -> None:
    """A report as HTML and as PDF, and the page of an evidence pack, in each language."""
    if not (folder / "station.toml").exists():
        keep(folder, days=31)
    plain = (folder / "station.toml").read_text(encoding="utf-8")
    for language in LANGUAGES:
        file = folder / f"{language}.toml"
        file.write_text(plain.replace('language = "ru"', f'language = "{language}"'), encoding="utf-8")
        for kind in ("html", "pdf"):
            out = folder / f"{language}.{kind}"
            out.unlink(missing_ok=True)
            wanted = ["--format", kind, "--limits", "kyrgyzstan", "--limits", "own", "--output", str(out)]
            done(cli.main(["report", str(file), "--month", "2026-10", *wanted]))
        pack = folder / f"{language}.zip"
        pack.unlink(missing_ok=True)
        span = ["--from", "2026-10-01", "--to", "2026-10-31"]
        done(cli.main(["export", str(file), "--evidence", *span, "--output", str(pack)]))
        with zipfile.ZipFile(pack) as opened:
            (folder / f"{language}-evidence.html").write_bytes(opened.read("index.html"))


def photographed(browser: Browser, folder: Path, language: str) -> int:
    """Both pages on a phone and on a wide screen; gives where the report's charts begin on the phone."""
    charts = 0
    for name in (language, f"{language}-evidence"):
        for kind, width in (("phone", PHONE), ("wide", 1100)):
            page = browser.new_page(viewport={"width": width, "height": SCREEN})
            page.goto((folder / f"{name}.html").as_uri())
            page.screenshot(path=folder / f"{name}-{kind}.png", full_page=True)
            if name == language and kind == "phone":
                charts = int(page.evaluate("document.querySelector('#plots').getBoundingClientRect().top"))
            page.close()
    return charts


def screen(file: Path, top: int, height: int = SCREEN) -> Image.Image:
    """So much of a long picture."""
    whole = Image.open(file)
    return whole.crop((0, top, whole.width, top + height))


def put(name: str, parts: Sequence[Image.Image]) -> None:
    """Beside each other, in few colours, into the gallery."""
    size = sum(part.width for part in parts) + GAP * (len(parts) - 1), max(part.height for part in parts)
    sheet, x = Image.new("RGB", size, "#cbd5e0"), 0
    for part in parts:
        sheet.paste(Image.new("RGB", part.size, "white"), (x, 0))
        sheet.paste(part.convert("RGB"), (x, 0))
        x += part.width + GAP
    file = GALLERY / name
    sheet.quantize(64, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, optimize=True)
    sys.stdout.write(f"{name}: {file.stat().st_size // 1000} KB\n")


def done(code: int) -> None:
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    sys.exit(main())
