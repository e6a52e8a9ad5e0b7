"""`suuaba scan`: what hangs on which port, and where nothing does, why (decision D18).

    report = await scan(ports, kinds(), told)      # all ports side by side; cancelled: what was found so far

A scan only reads (gateway.scan_probe.may_be_sent); a port that another program has is left alone, and that is
said.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from gateway.doctor_finding import in_thread, one_line
from gateway.errors import ConfigError
from gateway.scan_port import PortScan, Wish, busy
from gateway.scan_ports import folder_ports, holder, serial_ports
from gateway.scan_result import Report
from gateway.scan_words import TEXTS, doing, line, shown, told

LOOK_WITHIN_S = 10.0
PORTS_AT_MOST = 32
FILE_LIMIT = 4 * 1024 * 1024

Say = Callable[[str], object]
Watch = Callable[[Sequence[PortScan]], object]
"""Called whenever something is new: the scans under way."""


async def scan(
    ports: Sequence[str], wish: Wish, watch: Watch = lambda _: None, *, stop: asyncio.Event | None = None
) -> Report:
    """Scan these ports side by side. Ends early, with what was found, when `stop` is set."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    report = Report()
    scans: list[PortScan] = []
    for port in ports[:PORTS_AT_MOST]:
        by = await _holder(port)
        if by:
            report.ports.append(busy(port, by))
        else:
            scans.append(PortScan(port, wish, lambda _: watch(scans)))
    tasks = [asyncio.create_task(each.run(), name=f"scan {each.port}") for each in scans]
    stopping = asyncio.create_task((stop or asyncio.Event()).wait())
    try:
        while not all(task.done() for task in tasks) and not stopping.done():
            left = [task for task in tasks if not task.done()]
            await asyncio.wait([*left, stopping], return_when=asyncio.FIRST_COMPLETED)
            watch(scans)
    finally:
        report.complete = all(task.done() for task in tasks)
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.wait([*tasks, stopping])
    for task in tasks:
        if not task.cancelled() and (e := task.exception()) is not None:
            raise e
    report.ports += [each.report for each in scans]
    report.ports.sort(key=lambda port: port.port)
    report.seconds = round(loop.time() - began_s, 1)
    return report


def as_json(report: Report) -> str:
    """The report as one JSON object; `load` reads it back."""
    return msgspec.json.encode(report).decode()


def load(file: Path) -> Report:
    """A report that `scan --json` printed; "-" is standard input. Raises ConfigError."""
    try:
        given = sys.stdin.buffer.read(FILE_LIMIT) if str(file) == "-" else file.read_bytes()
        return msgspec.json.decode(given, type=Report)
    except OSError as e:
        raise ConfigError([f"{file}: {e.strerror or e}"]) from e
    except (msgspec.DecodeError, UnicodeError) as e:
        raise ConfigError([f"{file}: not what suuaba scan --json prints: {one_line(e)}"]) from e


def render(report: Report, language: str = "en") -> list[str]:
    """The report as lines of plain text."""
    lines = []
    for port in report.ports:
        state = line(port.state, language)
        about = {"port": port.port, "state": state, "asked": port.asked, "seconds": f"{port.seconds:.0f}"}
        lines.append(line("port", language, **about))
        lines += [f"  {shown(found, language)}" for found in port.instruments]
        for problem in port.problems:
            what, helps = told(problem, language)
            lines += [f"  ! {what}", f"      → {helps}"]
    if not report.ports:
        lines.append(line("no port", language))
    count, ports, seconds = len(report.instruments), len(report.ports), f"{report.seconds:.0f}"
    whole = line("sum", language, count=count, ports=ports, seconds=seconds)
    lines.append(whole if report.complete else line("broken", language, sum=whole))
    return lines


async def command(
    ports: Sequence[str], folder: Path | None, say: Say, *, json: bool, progress: bool, quick: bool,
    stream: bool = False, language: str = "en",
) -> tuple[int, Report]:  # fmt: skip
    """`suuaba scan`: 0 when something was found, 1 when nothing was. Raises ConfigError."""
    from gateway.scan_probe import kinds

    if language not in TEXTS:
        raise ConfigError([f"--language: there is no {language!r}; there are {', '.join(TEXTS)}"])
    wish = Wish(quick=quick, kinds=kinds())
    try:
        chosen = list(ports) + (folder_ports(folder) if folder else [])
    except OSError as e:
        raise ConfigError([f"--ports-from: {folder}: {e.strerror or e}"]) from e
    chosen = list(dict.fromkeys(chosen or serial_ports()))
    stop = asyncio.Event()
    with _Interrupt(stop):
        if stream:
            report = await scan(chosen, wish, _Streaming(say), stop=stop)
        elif progress:
            report = await _with_bar(chosen, wish, stop, language)
        else:
            report = await scan(chosen, wish, stop=stop)
    if json or stream:
        say(as_json(report))
    else:
        for text in render(report, language):
            say(text)
    return (0 if report.instruments else 1), report


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


async def _holder(port: str) -> str:
    try:
        return await in_thread(lambda: holder(port), LOOK_WITHIN_S)
    except (OSError, TimeoutError):
        return ""


class _Streaming:
    """Says what each port is doing as JSON, once a second at most."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._next_s = 0.0

    def __call__(self, scans: Sequence[PortScan]) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._next_s:
            return
        self._next_s = now_s + 1.0
        self._say(msgspec.json.encode({"progress": [each.progress for each in scans]}).decode())


class _Interrupt:
    """Ctrl-C and SIGTERM end the scan with what it has found, not the program."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def __enter__(self) -> None:
        import signal

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    def __exit__(self, *_: object) -> None:
        import signal

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)


async def _with_bar(ports: Sequence[str], wish: Wish, stop: asyncio.Event, language: str) -> Report:
    """Show on standard error what each port is doing, the time left, and what is found as it is found."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        rows = {port: bar.add_task(port, total=1.0, left="") for port in ports}
        printed: set[int] = set()

        def watch(scans: Sequence[PortScan]) -> None:
            for each in scans:
                whole_s = each.done_s + each.left_s
                name = each.port.rpartition("/")[2][-24:]
                bar.update(
                    rows[each.port], completed=each.done_s / max(whole_s, 0.1),
                    description=f"{name}: {doing(each.doing, language)}",
                    left=line("left", language, seconds=f"{each.left_s:.0f}"),
                )  # fmt: skip
                for found in each.report.instruments:
                    if id(found) not in printed:
                        printed.add(id(found))
                        console.print(f"{name}: {shown(found, language)}", markup=False, highlight=False)

        return await scan(ports, wish, watch, stop=stop)
