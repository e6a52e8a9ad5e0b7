"""The verbs `suuaba scan` and `suuaba init`: their words, and what they call."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError


def add(verbs: Any, say: Callable[..., object]) -> None:
    """Add both to argparse's table of verbs; they speak by `say`, which is `print`."""
    scan = verbs.add_parser("scan", help="what hangs on which port; only reads; says what is wrong, and why")
    _scan_words(scan)
    scan.add_argument("--json", action="store_true", help="one JSON object, for suuaba init --from")
    scan.add_argument("--stream", action="store_true", help="JSON lines: progress, then the report")
    scan.set_defaults(do=lambda arguments: _scan(arguments, say))

    init = verbs.add_parser("init", help="write a station.toml from what a scan finds; overwrites nothing")
    _scan_words(init)
    init.add_argument(
        "--from",
        dest="scanned",
        type=Path,
        metavar="SCAN.json",
        help="what scan --json printed; -: standard input",
    )
    init.add_argument("--output", type=Path, default=Path("station.toml"), metavar="FILE", help="-: the pipe")
    init.add_argument("--id", default="", metavar="ID", help="the station's id (default: asked for)")
    init.add_argument("--name", default="", metavar="TEXT")
    init.set_defaults(do=lambda arguments: _init(arguments, say), language="")


def _scan_words(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--port", action="append", default=[], metavar="PORT", help="only this one; can be repeated")
    add("--ports-from", type=Path, metavar="FOLDER", help="the ports that this folder has links to")
    add("--tcp", action="append", default=[], metavar="HOST[:PORT]", help="Modbus TCP (port 502)")
    add("--quick", action="store_true", help="only factory settings, and likely addresses at 9600 8N1")
    add("--language", default="en", help="of the findings: ky, ru, en")


def _ports(arguments: argparse.Namespace) -> list[str]:
    hosts = [host if ":" in host else f"{host}:502" for host in arguments.tcp]
    return [*arguments.port, *(f"tcp://{host}" for host in hosts)]


def _scan(arguments: argparse.Namespace, say: Callable[..., object]) -> int:
    from gateway.scan import command

    job = command(
        _ports(arguments), arguments.ports_from, lambda line: say(line, flush=True), json=arguments.json,
        progress=sys.stderr.isatty(), quick=arguments.quick, stream=arguments.stream,
        language=arguments.language,
    )  # fmt: skip
    code, _ = asyncio.run(job)
    return code


def _init(arguments: argparse.Namespace, say: Callable[..., object]) -> int:
    from gateway import init, scan

    if arguments.output.exists():
        raise ConfigError([f"{arguments.output}: is there already; nothing is overwritten: --output ANOTHER"])
    wanted = init.answers(arguments.id, arguments.name, arguments.language, init.asks())
    if arguments.scanned:
        report = scan.load(arguments.scanned)
    else:
        job = scan.command(
            _ports(arguments), arguments.ports_from, say, json=False, progress=sys.stderr.isatty(),
            quick=arguments.quick, language=wanted.language,
        )  # fmt: skip
        _, report = asyncio.run(job)
    return init.init(arguments.output, report, wanted, say)
