"""The page: what comes over the wire at first, when the first values are there, and what a day of live feed
leaves in the browser's memory. Chromium on a real station with emulated instruments; a phone's processor is
taken to be four times slower, the station's hotspot to have 20 ms and 10 Mbit/s (DevTools' own throttling).

    python -m tests.bench page
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from gateway.journal_history import History
from gateway.model import Reading, Stamp, Value
from tests.journal_making import make_journal
from tests.pages import StationWithPage, station_with_page

SLOWER = 4
HOTSPOT = {"offline": False, "latency": 20, "downloadThroughput": 1.25e6, "uploadThroughput": 0.6e6}
LOADS = 7
DAY_S = 86_400
DAY_MS = 86_400_000
BEGIN_MS = 1_790_000_000_000

FAKE = """
window.sources = [];
window.EventSource = class extends EventTarget {
  constructor(url) {
    super();
    this.readyState = 1;
    window.sources.push(this);
    setTimeout(() => this.onopen && this.onopen(), 0);
  }
  close() { this.readyState = 2; }
};
window.feed = async (seconds, sensors) => {
  const source = window.sources.at(-1);
  const give = (kind, what) => source.dispatchEvent(new MessageEvent(kind, { data: JSON.stringify(what) }));
  let now = Date.now(), seq = 1e6;
  for (let s = 0; s < seconds; s++) {
    now += 1000;
    for (const row of sensors) {
      const values = row.values.map((v) => ({ ...v, value: v.value + Math.sin(s / 500 + v.value) }));
      give("reading", { sensor: row.id, at_ms: now, values });
    }
    if (s % 2000 === 0) await new Promise((done) => setTimeout(done, 0));
  }
};
"""


def run() -> list[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory(prefix="suuaba-bench-") as folder:
        rows = _thirty_days(Path(folder) / "history")
        with station_with_page(Path(folder) / "site") as place, sync_playwright() as p:
            place.start()
            ready = place.client()
            place.until(lambda: all(s["values"] for s in ready.get("/api/now").json["sensors"]))
            browser = p.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            rows = [*_first_load(browser, place), *_day(browser, place), *rows, *_server(place)]
            browser.close()
    return rows


def _first_load(browser: Browser, place: StationWithPage) -> list[tuple[str, str, str]]:
    took_s, busy_ms = [], []
    weight = with_charts = 0
    for _ in range(LOADS):
        context = browser.new_context(viewport={"width": 360, "height": 780}, locale="ky")
        page = context.new_page()
        cdp = context.new_cdp_session(page)
        got: list[float] = []
        cdp.on("Network.loadingFinished", lambda e, got=got: got.append(e["encodedDataLength"]))
        cdp.send("Network.enable")
        cdp.send("Network.emulateNetworkConditions", HOTSPOT)
        cdp.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
        page.goto(place.url, wait_until="commit")
        took_s.append(_painted_ms(page) / 1000)
        assert page.locator("main .number").first.inner_text()
        page.wait_for_load_state("load")
        page.wait_for_timeout(500)
        weight = round(sum(got))
        page.goto(f"{place.url}/#/charts")
        page.wait_for_selector(".chart canvas")
        page.wait_for_timeout(300)
        with_charts = round(sum(got))
        context.close()
        busy_ms.append(_busy_ms(browser, place))
    best, usual = min(took_s), statistics.median(took_s)
    return [
        ("page: first load over the wire, KB", "< 150", f"{weight / 1000:.0f}"),
        ("page: the same with the charts opened, KB", "< 150", f"{with_charts / 1000:.0f}"),
        (f"page: first values painted, CPU/{SLOWER}, hotspot, s: middle of {LOADS}", "< 1", f"{usual:.2f}"),
        ("page: the best of them, s", "", f"{best:.2f}"),
        (f"page: main thread's own work till then, times {SLOWER}, s", "",
         f"{SLOWER * statistics.median(busy_ms) / 1000:.2f}"),
    ]  # fmt: skip


def _painted_ms(page: Page) -> float:
    """When the first values stood on the screen: they are drawn with the first paint, or behind it."""
    while True:  # the page's policy forbids Playwright to wait for an expression
        found: list[float] = page.evaluate(
            "['values', 'first-contentful-paint'].flatMap((n) => performance.getEntriesByName(n))"
            ".map((e) => e.startTime)"
        )
        if len(found) == 2:
            return max(found)
        page.wait_for_timeout(200)


def _busy_ms(browser: Browser, place: StationWithPage) -> float:
    """The processor time of the page's main thread until then, not slowed: a busy machine changes little."""
    context = browser.new_context(viewport={"width": 360, "height": 780}, locale="ky")
    page = context.new_page()
    cdp = context.new_cdp_session(page)
    events: list[dict[str, Any]] = []
    done: list[Any] = []
    cdp.on("Tracing.dataCollected", lambda e: events.extend(e["value"]))
    cdp.on("Tracing.tracingComplete", lambda e: done.append(e))
    cdp.send(
        "Tracing.start",
        {"categories": "devtools.timeline,loading,toplevel,disabled-by-default-devtools.timeline"},
    )
    page.goto(place.url, wait_until="commit")
    _painted_ms(page)
    cdp.send("Tracing.end")
    while not done:
        page.wait_for_timeout(50)
    context.close()
    paint = [e for e in events if e["name"] == "firstContentfulPaint"][-1]
    begun = min(e["ts"] for e in events if e["name"] == "ResourceSendRequest")
    of_page = [e for e in events if (e["pid"], e["tid"]) == (paint["pid"], paint["tid"])]
    tasks = [e for e in of_page if e["name"] == "RunTask" and begun <= e["ts"] <= paint["ts"]]
    return sum(float(e.get("tdur", 0)) for e in tasks) / 1000


def _day(browser: Browser, place: StationWithPage) -> list[tuple[str, str, str]]:
    context = browser.new_context(viewport={"width": 360, "height": 780})
    page = context.new_page()
    page.add_init_script(FAKE)
    page.goto(place.url)
    page.wait_for_selector("main .number:not(:empty)")
    while not page.evaluate("window.sources.length"):
        page.wait_for_timeout(100)
    sensors = place.client().get("/api/now").json["sensors"]
    heaps, elements = [], []
    for seconds in (600, DAY_S // 2, DAY_S // 2):
        page.evaluate("([s, rows]) => window.feed(s, rows)", [seconds, sensors])
        heaps.append(_heap(context, page) / 1e6)
        elements.append(page.evaluate("document.getElementsByTagName('*').length"))
    context.close()
    return [
        ("page: heap after 10 min, 12 h, 24 h of feed, MB", "steady",
         ", ".join(f"{heap:.1f}" for heap in heaps)),
        ("page: elements then", "steady", ", ".join(str(n) for n in elements)),
    ]  # fmt: skip


def _heap(context: Any, page: Page) -> float:
    cdp = context.new_cdp_session(page)
    cdp.send("HeapProfiler.enable")
    cdp.send("HeapProfiler.collectGarbage")
    return float(page.evaluate("performance.memory.usedJSHeapSize"))


def _thirty_days(folder: Path) -> list[tuple[str, str, str]]:
    """Ten sensors every minute for thirty days: summing up, and a month's chart after that."""
    folder.mkdir()
    bodies = [
        Reading(
            f"s{sensor}", "m", "water", Stamp(BEGIN_MS + minute * 60_000, "b", minute * 60_000, True),
            {"ph": Value(7 + minute % 10 / 10, 7, "pH", 1)},
        )
        for minute in range(30 * 1440)
        for sensor in range(10)
    ]  # fmt: skip
    make_journal(folder, bodies, 2000)
    history = History(folder, lambda stamp: stamp.utc_ms)
    began_s = time.monotonic()
    while history.roll():
        pass
    rolled_s = time.monotonic() - began_s
    empty = history.chapter_of([])
    began_s = time.monotonic()
    history.buckets("s3", "ph", BEGIN_MS, BEGIN_MS + 30 * DAY_MS, empty)
    month_s = time.monotonic() - began_s
    fresh = History(folder, lambda stamp: stamp.utc_ms)
    began_s = time.monotonic()
    fresh.points("s3", "ph", BEGIN_MS + 28 * DAY_MS, BEGIN_MS + 30 * DAY_MS, empty)
    days_s = time.monotonic() - began_s
    fresh.close()
    history.close()
    size = (folder / "history.db").stat().st_size
    return [
        ("page: 30 days of 10 series summed up at first, s", "", f"{rolled_s:.1f}"),
        ("page: a month's chart after that, ms", "< 100", f"{month_s * 1000:.0f}"),
        ("page: two days, reading by reading, first time, ms", "", f"{days_s * 1000:.0f}"),
        ("page: history.db of these 30 days, MB", "", f"{size / 1e6:.1f}"),
    ]


def _server(place: StationWithPage) -> list[tuple[str, str, str]]:
    memory = place.client().get("/api/about").json["memory_bytes"]
    return [("page: RSS of the station with SMS and the page, after all this, MB", "", f"{memory / 1e6:.1f}")]


if __name__ == "__main__":
    for row in run():
        print(*row)
