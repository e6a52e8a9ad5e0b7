"""The command `suuaba`: a thin skin. Every verb imports what it needs when it is called.

Exit codes: 0 good, 1 found something wrong, 2 cannot be used so (arguments, configuration), 130 broken
off by Ctrl-C before it was done.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from gateway import cli_scan, cli_text
from gateway.errors import ConfigError, ControlError, JournalError
from gateway.version import VERSION

GOOD, WRONG, UNUSABLE, BROKEN_OFF = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Gives the exit code; errors are one line each on standard error."""
    cli_text.show_what_can_be_shown()
    arguments = _parser().parse_args(argv)
    _log(arguments.verbose)
    try:
        cli_text.check(arguments)
        code: int = arguments.do(arguments)
    except ConfigError as e:
        for line in e.lines:
            print(line, file=sys.stderr)
        return UNUSABLE
    except (JournalError, ControlError) as e:
        print(f"suuaba: {e}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:  # for what goes on until Ctrl-C it is the usual end; nothing else was finished
        endless = arguments.do in (_demo, _run, _simulate, _collect) or getattr(arguments, "watch", False)
        return GOOD if endless else BROKEN_OFF
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has enough
        return GOOD
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="suuaba",
        description="Suu-Aba: continuous water and air monitoring. Reads instruments, keeps a journal, "
        "publishes to MQTT and InfluxDB, sends alarms by SMS.",
    )
    parser.add_argument("--version", action="version", version=f"suuaba {VERSION}")
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="say more; -vv: bytes on the wires"
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = verbs.add_parser("demo", help="a whole simulated station, on emulated instruments and modem")
    demo.add_argument("--seconds", type=_seconds, help="end after so long (default: until Ctrl-C)")
    demo.add_argument("--json", action="store_true", help="at the end one JSON object with counts")
    demo.add_argument("--mqtt", metavar="URL", help="publish to this broker, not to the embedded one")
    demo.add_argument(
        "--influxdb", metavar="URL", help="write to this InfluxDB too (version 1, database suuaba)"
    )
    demo.add_argument("--data", type=Path, metavar="FOLDER", help="keep the journal here (default: nowhere)")
    demo.add_argument(
        "--with",
        dest="parts",
        type=Path,
        metavar="FILE",
        help="[mqtt], [web] … as in this file, not the demo's own",
    )
    demo.set_defaults(do=_demo)

    run = verbs.add_parser("run", help="run the station")
    _station(run)
    run.set_defaults(do=_run)

    check = verbs.add_parser("check", help="check the configuration, print wire time, traffic and disk use")
    _station(check)
    check.set_defaults(do=_check)

    read = verbs.add_parser("read", help="take a reading now; through the service where it has the port")
    _station(read)
    read.add_argument("sensor", metavar="SENSOR", help="the sensor's id in station.toml")
    read.add_argument("--watch", action="store_true", help="go on at the sensor's rate until Ctrl-C")
    read.add_argument("--frames", action="store_true", help="show the bytes on the wire")
    read.set_defaults(do=_read)

    doctor = verbs.add_parser(
        "doctor",
        help="look at ports, clock, disk, journal, broker, database, modem, contacts; say what helps",
    )
    _station(doctor)
    doctor.add_argument("--json", action="store_true", help="the findings as one JSON object")
    doctor.add_argument("--language", default="en", help="of the findings: ky, ru, en")
    doctor.set_defaults(do=_doctor)

    cli_scan.add(verbs, print)

    retry = verbs.add_parser("retry", help="offer a sink again what it refused, after the cause is mended")
    _station(retry)
    retry.add_argument("sink", metavar="SINK", nargs="?", default="", help="mqtt or influxdb (default: both)")
    retry.set_defaults(do=_retry)

    calibrate = verbs.add_parser("calibrate", help="a guided calibration; writes the ledger")
    _station(calibrate)
    calibrate.add_argument("sensor", metavar="SENSOR", help="the sensor's id in station.toml")
    calibrate.add_argument(
        "--points", default="", metavar="7.00=7.08,…|FILE", help="noted readings, without questions"
    )
    calibrate.add_argument("--by", default="", metavar="NAME", help="who calibrates")
    calibrate.add_argument("--standards", default="", metavar="7.00,4.01", help="the bottles to use")
    calibrate.add_argument("--quantity", default="", help="what, where the sensor measures several things")
    calibrate.add_argument("--check-only", action="store_true", help="with --points: adjust nothing")
    calibrate.add_argument("--photo", default="", metavar="NAME", help="the photo's file name")
    calibrate.add_argument("--note", default="", metavar="TEXT")
    calibrate.add_argument("--exchanged", action="store_true", help="a new probe: do not correct the past")
    calibrate.set_defaults(do=_calibrate)

    maintenance = verbs.add_parser("maintenance", help="somebody works there: no alarms, data are flagged")
    _station(maintenance)
    maintenance.add_argument("deed", choices=("begin", "end", "list"))
    maintenance.add_argument("--sensor", default="", help="one sensor (default: the whole station)")
    maintenance.add_argument("--minutes", type=_minutes, default=60.0, help="it ends by itself (default 60)")
    maintenance.add_argument("--by", default="", metavar="NAME", help="who (default: the system's user)")
    maintenance.add_argument("--why", default="", metavar="TEXT")
    maintenance.set_defaults(do=_maintenance)

    simulate = verbs.add_parser("simulate", help="only the emulated instruments, on ports that are printed")
    simulate.add_argument("--faults", default="", metavar="TEXT", help='e.g. "dead:turb1@30+60"')
    simulate.add_argument("--seconds", type=_seconds, help="end after so long (default: until Ctrl-C)")
    simulate.set_defaults(do=_simulate)

    export = verbs.add_parser("export", help="write what was measured into a file; the service may run")
    _station(export)
    _export_words(export)
    export.set_defaults(do=_export)

    report = verbs.add_parser("report", help="a month for people: limits, charts, alarms, gaps, calibrations")
    _station(report)
    report.add_argument("--month", required=True, metavar="YYYY-MM")
    report.add_argument("--language", choices=["ky", "ru", "en"], help="default: the station's")
    report.add_argument("--format", choices=["html", "pdf"], default="html", help="pdf: suuaba[pdf]")
    report.add_argument("--output", metavar="FILE", help="default: a name that says what it is")
    report.add_argument(
        "--limits", action="append", default=[], metavar="SET",
        help="what is held against: a ready-made set (default kyrgyzstan) or own; can be repeated",
    )  # fmt: skip
    report.set_defaults(do=_report)

    verify = verbs.add_parser("verify", help="check the evidence chain of a journal or an evidence pack")
    verify.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="a data folder, a journal.db, or a pack (.zip)"
    )
    verify.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="KEY",
        help="only this key may have signed: its fingerprint or the file station.pub; can be repeated",
    )
    verify.add_argument(
        "--heads", type=Path, metavar="FILE", help="events chain_head as published, one JSON a line"
    )
    verify.set_defaults(do=_verify)

    sms = verbs.add_parser("sms", help="send one test message by the configured path")
    _station(sms)
    sms.add_argument("number", metavar="NUMBER", help="with country code: +996555000001")
    sms.add_argument("text", metavar="TEXT")
    sms.set_defaults(do=_sms)

    alarms = verbs.add_parser("alarms", help="what stands, and acting on it, through the running service")
    _station(alarms)
    deeds = ("list", "ack", "shelve", "unshelve", "out-of-service", "in-service")
    alarms.add_argument("deed", nargs="?", choices=deeds, default="list", help="default: list")
    alarms.add_argument("rules", nargs="*", metavar="RULE")
    alarms.add_argument("--for", dest="lasting", default="", metavar="TIME", help="shelve for so long: 2h")
    alarms.add_argument("--why", default="", metavar="TEXT", help="the reason; it stays in the journal")
    alarms.add_argument("--by", default="", metavar="NAME", help="who, beside the system user")
    alarms.add_argument("--json", action="store_true", help="one JSON object")
    alarms.set_defaults(do=_alarms)

    rules = verbs.add_parser("rules", help="try rules before they are needed")
    about_rules = rules.add_subparsers(required=True, metavar="test")
    test = about_rules.add_parser("test", help="play rule cases: series in, expected messages out")
    test.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a case, or a folder of cases")
    test.add_argument("--show", action="store_true", help="say all that came, in the form of the file")
    test.set_defaults(do=_rules_test)

    collect = verbs.add_parser("collect", help="the centre: what many stations publish, into InfluxDB")
    collect.add_argument("collector", type=Path, metavar="COLLECTOR.toml")
    collect.add_argument("--accounts", action="store_true", help="say what is there of each station, and end")
    collect.set_defaults(do=_collect)
    return parser


def _station(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("station", type=Path, metavar="STATION.toml")


def _demo(arguments: argparse.Namespace) -> int:
    from gateway.demo import Wishes, demo

    return _drive(
        demo(
            Wishes(
                seconds=arguments.seconds,
                as_json=arguments.json,
                mqtt=arguments.mqtt,
                influxdb=arguments.influxdb,
                parts=arguments.parts,
                data=arguments.data,
            ),
            print,
        )
    )


def _run(arguments: argparse.Namespace) -> int:
    from gateway.config_apart import Reading

    reading = Reading(arguments.station)  # meanwhile the rest is imported
    from gateway.station import run

    return _drive(run(reading))


def _check(arguments: argparse.Namespace) -> int:
    from gateway import config, plan
    from gateway.alarms_config import check_texts
    from gateway.station import watch

    station = config.load(arguments.station)
    watch(station)  # rules that make no sense
    check_texts(station)
    for warning in station.warnings:
        print(warning, file=sys.stderr)
    print(plan.render(plan.plan(station)))
    return GOOD


def _read(arguments: argparse.Namespace) -> int:
    from gateway.field import read

    return _drive(
        read(
            arguments.station,
            arguments.sensor,
            watch=arguments.watch,
            frames=arguments.frames,
            say=print,
            terminal=sys.stdout.isatty(),
        )
    )


def _doctor(arguments: argparse.Namespace) -> int:
    from gateway.doctor import doctor

    about = {"json": arguments.json, "progress": sys.stderr.isatty(), "language": arguments.language}
    return _drive(doctor(arguments.station, print, **about))


def _retry(arguments: argparse.Namespace) -> int:
    from gateway.retry import retry

    return _drive(retry(arguments.station, arguments.sink, print))


def _calibrate(arguments: argparse.Namespace) -> int:
    from gateway.guide import Wish, calibrate
    from gateway.guide_terminal import RichTerminal

    wish = Wish(
        arguments.sensor, arguments.points, arguments.by, arguments.quantity, arguments.standards,
        not arguments.check_only, arguments.photo, arguments.note, arguments.exchanged,
    )  # fmt: skip
    try:
        return _drive(calibrate(arguments.station, wish, RichTerminal()))
    except EOFError:
        return WRONG


def _maintenance(arguments: argparse.Namespace) -> int:
    from gateway.guide import maintenance

    about = {key: getattr(arguments, key) for key in ("sensor", "minutes", "by", "why")}
    return _drive(maintenance(arguments.station, arguments.deed, **about, tell=print))


def _simulate(arguments: argparse.Namespace) -> int:
    from gateway.demo import simulate

    return _drive(simulate(arguments.faults, arguments.seconds, print))


def _export_words(export: argparse.ArgumentParser) -> None:
    add = export.add_argument
    when = '"2026-11-01" or "2026-11-01 14:30" in the station\'s time zone, or with Z or +06:00'
    add("--from", dest="begin", metavar="TIME", help=f"{when}; default: the beginning")
    add("--to", metavar="TIME", help="not included; a date alone: the end of that day")
    add("--sensor", action="append", default=[], metavar="ID", help="only this one; can be repeated")
    add("--what", choices=["readings", "averages", "events"], default="readings")
    add("--format", choices=["csv", "jsonl", "parquet"], default="csv")
    add("--shape", choices=["plain", "sensorthings", "openaq"], default="plain", help="of jsonl")
    add("--output", metavar="FILE", help="default: a name that says what it is; - for the pipe")
    add("--evidence", action="store_true", help="one zip: data, events, configuration and the signed chain")


def _export(arguments: argparse.Namespace) -> int:
    from gateway import config, export

    station = config.load(arguments.station, lenient=True)
    return export.export(station, export.wish(station, vars(arguments)))


def _report(arguments: argparse.Namespace) -> int:
    from gateway import config, report

    station = config.load(arguments.station, lenient=True)
    return report.report(station, report.wish(station, vars(arguments)))


def _verify(arguments: argparse.Namespace) -> int:
    from gateway import verify

    trusted = verify.trusted(arguments.key, arguments.heads)
    return GOOD if verify.verify(arguments.paths, trusted, print) else WRONG


def _sms(arguments: argparse.Namespace) -> int:
    from gateway.field import sms

    return _drive(sms(arguments.station, arguments.number, arguments.text, print))


def _alarms(arguments: argparse.Namespace) -> int:
    from gateway.alarms_command import Wish, alarms

    wish = Wish(
        arguments.deed, arguments.rules, arguments.lasting, arguments.why, arguments.by, arguments.json
    )
    return _drive(alarms(arguments.station, wish, print))


def _rules_test(arguments: argparse.Namespace) -> int:
    from gateway import alarms_cases

    return alarms_cases.play(arguments.files, print, show=arguments.show)


def _collect(arguments: argparse.Namespace) -> int:
    from gateway import collector

    if arguments.accounts:
        return collector.accounts(arguments.collector, print)
    return _drive(collector.run(arguments.collector))


def _drive(job: Coroutine[Any, Any, int]) -> int:
    return asyncio.run(job)


def _log(verbose: int) -> None:
    level = [logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)]
    # systemd's journal adds the time; a person at a terminal sees it happen
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for ours in ("gateway", "alerts", "drivers"):  # others show whole requests, and what is secret in them
        logging.getLogger(ours).setLevel(level)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 10**8:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds; write e.g. 40")
    return value


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 1 <= value <= 1440:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes from 1 to 1440")
    return value


if __name__ == "__main__":
    sys.exit(main())
