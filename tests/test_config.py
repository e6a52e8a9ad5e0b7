"""station.toml: what it says, every mistake as one line, what runs in spite of one, secrets that stay so."""

from __future__ import annotations

import os
import zoneinfo
from pathlib import Path

import pytest

from alerts.rules import Kind
from drivers.link import Line
from gateway.alarms_config import watch
from gateway.config import Rate, load
from gateway.config_parts import Send
from gateway.errors import ConfigError
from tests.configs import DUST, HEAD, RIVER, RULE, lines, read, write

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "deploy" / "station.example.toml"
BAD = sorted((HERE / "badconfig").glob("*.toml"))


# ── every mistake, one line ──


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_mistake_gives_its_line(file: Path) -> None:
    expected = [
        line.removeprefix("# expect: ").replace("{folder}", str(file.parent))
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.startswith("# expect: ")
    ]
    with pytest.raises(ConfigError) as caught:
        load(file, environment={})
    assert caught.value.lines == expected
    assert expected


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_what_can_run_runs(file: Path) -> None:
    """Leniently a mistake costs only its own part, and its line is kept; what is fatal stays an error."""
    fatal = file.stem.startswith(("toml_", "station_", "no_sensor", "section_single"))
    if fatal and file.stem != "station_timezone":
        with pytest.raises(ConfigError):
            load(file, lenient=True, environment={})
        return
    station = load(file, lenient=True, environment={})
    with pytest.raises(ConfigError) as caught:
        load(file, environment={})
    assert [line for line in caught.value.lines if line not in station.left_out] == []
    assert {s.id for wire in station.wires for s in wire.sensors} == {s.id for s in station.sensors}
    for sensor in station.sensors:
        assert station.instrument(sensor).quantities == station.quantities[sensor.id]


def test_there_are_bad_files() -> None:
    assert len(BAD) > 90


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\xff\xfe[\x00", "station.toml: line 1 is not UTF-8 text; save the file as UTF-8"),
        (b"#" * 1_000_001, "station.toml: is larger than 1000000 bytes; this is no station.toml"),
        (b"", 'station.toml: station: is missing; add [station] with id = "…"'),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes, line: str) -> None:
    file = tmp_path / "station.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file, lenient=True)
    assert caught.value.lines[0] == line


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file; copy deploy/"):
        load(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "station.toml"
    file.write_bytes(b"\xef\xbb\xbf" + (HEAD + DUST).replace("\n", "\r\n").encode())
    assert load(file).id == "river-1"


# ── what it says ──


def test_the_example_loads(tmp_path: Path) -> None:
    file = write(tmp_path, EXAMPLE.read_text(encoding="utf-8"), mqtt__password="abc\n", influxdb__token="def")
    station = load(file, environment={})
    assert station.left_out == ()
    assert [line for line in station.warnings if "is not there now" not in line] == []
    assert (station.id, station.timezone, station.language) == ("kanysh-kyia-1", "Asia/Bishkek", "ru")
    river, dust = station.wires
    assert (river.id, river.line, river.framing) == ("river", Line(9600, "8N1"), "rtu")
    assert [s.id for s in river.sensors] == ["ph1", "turb1"]
    assert (dust.id, dust.port) == ("dust1", "/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0")
    assert [s.every_s for s in station.sensors] == [10.0, 10.0, 1.0]
    ph = river.sensors[0].expect["ph"]
    assert (ph.gross, ph.usual) == ((0, 14), (5, 9.5))
    assert station.mqtt is not None
    assert station.mqtt.password is not None
    assert station.mqtt.password.get_secret_value() == "abc"  # the line end of the file is not part of it
    assert station.influxdb is not None
    assert station.influxdb.token is not None
    assert station.influxdb.token.get_secret_value() == "def"
    assert station.sms is not None
    assert station.sms.budget == Rate(200, 30 * 86400.0)
    [rule] = station.rules
    assert (rule.above, rule.below, rule.on_delay_s, rule.off_delay_s, rule.over_s) == (
        50,
        None,
        120,
        600,
        None,
    )
    assert [(tier.contacts, tier.after_s) for tier in rule.send] == [(("duty",), 0.0), (("chief",), 900.0)]


def test_the_documented_keys_of_every_section(tmp_path: Path) -> None:
    """The station.toml of the manual, with what the example leaves out."""
    text = EXAMPLE.read_text(encoding="utf-8")
    text = text.replace('# send = ["reading", "event"]', 'send = ["reading", "average:1 min", "event"]')
    text = text.replace("# budget", "budget").replace("# quiet", "quiet").replace("# framing", "framing")
    text = text.replace("# echo", "echo").replace("# data", "data").replace("# pin", "pin")
    for key in ("spike", "attenuated", "gap", "climatology", "over"):
        text = text.replace(f"# {key}", key)
    text = text.replace('# password = { file = "web.password" }', 'password = { env = "WEB" }')
    text = text.replace("# names =", "names =")
    file = write(tmp_path, text, mqtt__password="a", influxdb__token="b", sim__pin="1234")
    station = load(file, environment={"WEB": "c"})
    assert station.data == Path("/var/lib/suuaba")
    assert station.mqtt is not None
    assert station.mqtt.send == (Send(kind="reading"), Send(kind="average", length_s=60), Send(kind="event"))
    assert station.mqtt.budget == Rate(200e6, 30 * 86400.0)
    assert station.rules[0].over_s == 600.0
    ph = station.sensors[0].expect["ph"]
    assert (ph.spike, ph.spike_method, ph.rate, ph.gap_s) == ((0.5, 1.0), "average", Rate(0.5, 60.0), 300.0)
    assert ph.climatology == {12: (6.0, 8.0), 1: (6.0, 8.0), 2: (6.0, 8.0), 7: (6.5, 9.0)}
    assert ph.attenuated is not None
    assert (ph.attenuated.over_s, ph.attenuated.suspect, ph.attenuated.fail) == (43_200.0, 0.05, 0.02)
    assert ph.flat is not None
    assert (ph.flat.within, ph.flat.suspect_s, ph.flat.fail_s) == (0.015, 1800.0, 7200.0)
    quiet = station.contacts[0].quiet
    assert quiet is not None
    assert (quiet.from_min, quiet.to_min, quiet.unless) == (22 * 60, 7 * 60, "critical")
    assert station.web is not None
    assert station.web.names == ("station.example.kg",)
    assert station.web.listen == ("0.0.0.0", 8080)  # noqa: S104  what the file says


def test_defaults(tmp_path: Path) -> None:
    station = read(tmp_path, HEAD + DUST)
    journal = station.journal
    assert (journal.keep_s, journal.limit_bytes) == (400 * 86400.0, 10**9)
    assert (journal.commit_s, journal.sync_s) == (1.0, 15.0)
    assert (station.name, station.timezone, station.language) == ("river-1", "UTC", "en")
    [wire] = station.wires
    assert (wire.id, wire.line) == ("dust1", Line(9600, "8N1"))  # the model's own
    assert wire.sensors[0].medium == "air"
    assert station.mqtt is station.influxdb is station.sms is station.web is None


def test_a_bus_takes_the_format_its_instruments_share(tmp_path: Path) -> None:
    text = RIVER.replace("yosemitech-y532", "renke-rs-ph-n01").replace("yosemitech-y511", "renke-rs-ph-n01")
    assert read(tmp_path, HEAD + text).wires[0].line == Line(4800, "8N1")


@pytest.mark.parametrize(
    ("port", "framing"), [("tcp://10.0.0.5:502", "tcp"), ("rtu+tcp://10.0.0.5:4001", "rtu")]
)
def test_network_ports(tmp_path: Path, port: str, framing: str) -> None:
    station = read(tmp_path, HEAD + RIVER.replace("rtu+tcp://127.0.0.1:4001", port))
    assert (station.wires[0].port, station.wires[0].framing) == (port, framing)
    assert station.warnings == ()


def test_a_profile_beside_the_file_is_found(tmp_path: Path) -> None:
    ours = (HERE.parent / "drivers/profiles/yosemitech-y532.toml").read_text(encoding="utf-8")
    (tmp_path / "profiles").mkdir()
    own = ours.replace('model = "yosemitech-y532"', 'model = "our-ph"')
    (tmp_path / "profiles/our-ph.toml").write_text(own, encoding="utf-8")
    text = HEAD + RIVER.replace("yosemitech-y532", "our-ph")
    assert read(tmp_path, text).sensors[0].model == "our-ph"
    (tmp_path / "profiles/our-ph.toml").write_text(
        own.replace("[[register]]", "[[registers]]"), encoding="utf-8"
    )
    [line] = [line for line in lines(tmp_path, text) if "our-ph.toml: register" in line][:1]
    assert line.startswith("station.toml: sensor[1].model (ph1): its profile cannot be used: ")


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/suuaba"}, "/var/lib/suuaba"),
        ({"XDG_STATE_HOME": "/home/aida/.state"}, "/home/aida/.state/suuaba"),
    ],
)
def test_where_the_data_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], folder: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert read(tmp_path, HEAD + DUST, **environment).data == Path(folder)
    assert read(tmp_path, HEAD + 'data = "d"\n' + DUST, **environment).data == tmp_path / "d"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert read(tmp_path, HEAD + DUST).data == Path("/var/lib/suuaba")


def test_a_rule_with_a_band(tmp_path: Path) -> None:
    [rule] = read(tmp_path, HEAD + RIVER + RULE + "below = 1\nhysteresis = 2\n").rules
    assert (rule.below, rule.above, rule.hysteresis) == (1, 50, 2)


def test_rules_of_every_kind(tmp_path: Path) -> None:
    rest = """[[rule]]
id = "silent"
sensor = "turb1"
no_data = "5 min"
[[rule]]
id = "no-turbidity"
sensor = "turb1"
quantity = "turbidity"
no_data = "1 h"
[[rule]]
id = "ill"
sensor = "turb1"
fault = true
latching = true
[[rule]]
id = "jump"
sensor = "ph1"
quantity = "ph"
unit = "pH"
change = "1.5 / 10 min"
and = "turbid"
season = "11-3"
hours = { from = "08:00", to = "18:00" }
"""
    station = read(tmp_path, HEAD + RIVER + RULE + rest)
    rules = watch(station).rules
    assert [(rule.id, rule.kind, rule.no_data_s, rule.latching) for rule in rules.values()] == [
        ("turbid", Kind.ABOVE, 600, False),
        ("silent", Kind.NO_DATA, 300, False),
        ("no-turbidity", Kind.NO_DATA, 3600, False),
        ("ill", Kind.FAULT, 600, True),
        ("jump", Kind.ABOVE, 600, False),
    ]
    jump = rules["jump"]
    assert (jump.high, jump.change_s, jump.and_rule) == (1.5, 600.0, "turbid")
    assert (jump.months, jump.hours) == ((11, 12, 1, 2, 3), (480, 1080))


# ── time zones ──


def test_a_machine_without_time_zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(key: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(key)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", missing)
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    [line] = lines(tmp_path, HEAD + 'timezone = "Asia/Bishkek"\n' + DUST)
    assert line.endswith('this machine has no time zone data; sudo apt-get install tzdata, or write "UTC"')
    assert read(tmp_path, HEAD + 'timezone = "Asia/Bishkek"\n' + DUST, lenient=True).timezone == "UTC"
