"""station.toml: what it says, every mistake as one line, what runs in spite of one, secrets that stay so."""

from __future__ import annotations

import logging
import os
import zoneinfo
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.rules import Kind
from drivers.link import Line
from gateway.alarms_config import watch
from gateway.config import Rate, Station, load
from gateway.config_parts import Send
from gateway.errors import ConfigError

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "deploy" / "station.example.toml"
BAD = sorted((HERE / "badconfig").glob("*.toml"))

HEAD = """
[station]
id = "river-1"
"""
DUST = """
[[sensor]]
id = "dust1"
port = "/dev/serial/by-id/dust"
model = "plantower"
every = "1 s"
"""
RIVER = """
[[bus]]
id = "river"
port = "rtu+tcp://127.0.0.1:4001"
[[sensor]]
id = "ph1"
bus = "river"
model = "yosemitech-y532"
address = 1
[[sensor]]
id = "turb1"
bus = "river"
model = "yosemitech-y511"
address = 2
every = "5 s"
"""
RULE = """
[[rule]]
id = "turbid"
sensor = "turb1"
quantity = "turbidity"
unit = "NTU"
above = 50
"""


def write(folder: Path, text: str, **secrets: str) -> Path:
    """A station.toml in a folder of its own, with secrets beside it that nobody else may read."""
    file = folder / "station.toml"
    file.write_text(text, encoding="utf-8")
    for name, value in secrets.items():
        secret = folder / "secrets" / name.replace("__", ".")
        secret.parent.mkdir(exist_ok=True)
        secret.touch(mode=0o600)
        secret.write_text(value, encoding="utf-8")
    return file


def read(folder: Path, text: str, *, lenient: bool = False, **environment: str) -> Station:
    return load(write(folder, text), lenient=lenient, environment=environment)


def lines(folder: Path, text: str, *, lenient: bool = False, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, lenient=lenient, **environment)
    return caught.value.lines


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


# ── warnings: it runs, but look ──


def test_ports_are_looked_at(tmp_path: Path) -> None:
    there = tmp_path / "port"
    there.touch()
    assert read(tmp_path, HEAD + DUST.replace("/dev/serial/by-id/dust", str(there))).warnings == ()
    [gone] = read(tmp_path, HEAD + DUST).warnings
    assert gone.startswith(
        "station.toml: sensor[1].port (dust1): /dev/serial/by-id/dust is not there now; plug"
    )
    warnings = read(tmp_path, HEAD + DUST.replace("/dev/serial/by-id/dust", "/dev/ttyUSB7")).warnings
    assert any("may be another adapter after a restart" in line for line in warnings)


def test_one_port_under_two_names(tmp_path: Path) -> None:
    real = tmp_path / "ttyUSB0"
    real.touch()
    (tmp_path / "by-path").symlink_to(real)
    second = DUST.replace("dust1", "dust2").replace("/dev/serial/by-id/dust", str(tmp_path / "by-path"))
    [line] = lines(tmp_path, HEAD + DUST.replace("/dev/serial/by-id/dust", str(real)) + second)
    assert "sensor[2].port (dust2)" in line
    assert 'belongs to sensor "dust1" already' in line


def test_a_label_that_differs_from_the_bus(tmp_path: Path) -> None:
    bus = RIVER.replace('4001"', '4001"\nbaudrate = 19200\nformat = "8E1"')
    warnings = read(tmp_path, HEAD + bus).warnings
    assert [line.partition(":")[2].partition(" a ")[0] for line in warnings] == [
        " sensor[1].format (ph1):",
        " sensor[2].format (turb1):",
    ]
    assert 'set the instrument to 19200 8E1, then add format = "8E1" here' in warnings[0]
    said = bus.replace("address = 1", 'address = 1\nformat = "8E1"').replace(
        "address = 2", "address = 2\nbaudrate = 19200"
    )
    assert read(tmp_path, HEAD + said).warnings == ()


def test_a_password_in_the_clear(tmp_path: Path) -> None:
    mqtt = '[mqtt]\nurl = "mqtt://{}"\nusername = "a"\npassword = {{ env = "P" }}\n'
    text = HEAD + RIVER
    assert "in the clear" in read(tmp_path, text + mqtt.format("10.0.0.1"), P="x").warnings[0]
    assert read(tmp_path, text + mqtt.format("127.0.0.1"), P="x").warnings == ()


def test_an_idle_bus(tmp_path: Path) -> None:
    station = read(
        tmp_path, HEAD + DUST.replace("/dev/", "rtu+tcp://h:1/") + '[[bus]]\nid = "b"\nport = "tcp://h:2"\n'
    )
    assert station.warnings == (
        'station.toml: bus[1] (b): has no sensor; add [[sensor]] with bus = "b", or take the bus out',
    )
    assert [wire.id for wire in station.wires] == ["dust1"]


def test_what_this_version_does_not_do_yet_is_said(tmp_path: Path) -> None:
    text = HEAD + RIVER + "[sensor.expect.turbidity]\ngross = [0, 4000]\n"
    text += RULE + 'over = "10 min"\n[mqtt]\nurl = "mqtts://h"\nsend = ["average:1 h"]\n'
    text += '[sms]\nbudget = "9 segments / 1 d"\nprovider = { env = "P" }\n'
    address = "https://sms.example/send?to={to}&text={text}"
    assert [line.split(";")[0] for line in read(tmp_path, text, P=address).warnings] == [
        (
            "station.toml: sms.provider: nothing says how the answer begins when a message was taken, "
            "so HTTP 200 counts as taken"
        ),
    ]


@pytest.mark.parametrize("names", ['"a.kg"', '["http://a.kg"]', "[1]", '["a b"]', '["a.kg:80"]'])
def test_names_of_the_page_that_are_none(tmp_path: Path, names: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        read(tmp_path, HEAD + RIVER + f"[web]\nnames = {names}\n")
    [line] = wrong.value.lines
    assert line.startswith("station.toml: web.names: ")
    assert "station.example.kg" in line


# ── time zones ──


def test_a_machine_without_time_zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(key: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(key)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", missing)
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    [line] = lines(tmp_path, HEAD + 'timezone = "Asia/Bishkek"\n' + DUST)
    assert line.endswith('this machine has no time zone data; sudo apt-get install tzdata, or write "UTC"')
    assert read(tmp_path, HEAD + 'timezone = "Asia/Bishkek"\n' + DUST, lenient=True).timezone == "UTC"


# ── what follows from a mistake ──


def test_a_rule_falls_with_its_sensor(tmp_path: Path) -> None:
    text = HEAD + RIVER.replace("address = 2", "address = 300") + RULE
    assert len(lines(tmp_path, text)) == 1  # the rule itself is right: nothing to mend there
    station = read(tmp_path, text, lenient=True)
    assert [s.id for s in station.sensors] == ["ph1"]
    assert station.rules == ()
    assert station.left_out == (
        "station.toml: sensor[2].address (turb1): 300 is out of range; allowed 1…247; did you mean 30?",
        'station.toml: rule[1].sensor (turbid): sensor "turb1" is left out, and so is this rule',
    )


def test_sensors_fall_with_their_bus(tmp_path: Path) -> None:
    text = HEAD + RIVER.replace('port = "rtu+tcp', 'port = "rtutcp') + DUST + RULE
    assert len(lines(tmp_path, text)) == 1
    station = read(tmp_path, text, lenient=True)
    assert [s.id for s in station.sensors] == ["dust1"]
    assert [line.split(":")[1] for line in station.left_out] == [
        " bus[1].port (river)",
        " sensor[1].bus (ph1)",
        " sensor[2].bus (turb1)",
        " rule[1].sensor (turbid)",
    ]


def test_the_later_of_two_buses_on_a_port_falls(tmp_path: Path) -> None:
    second = RIVER.replace('"river"', '"well"').replace('"ph1"', '"ph2"').replace('"turb1"', '"turb2"')
    station = read(tmp_path, HEAD + RIVER + second, lenient=True)
    assert [s.id for s in station.sensors] == ["ph1", "turb1"]
    assert [wire.id for wire in station.wires] == ["river"]
    assert [line.split(":")[1] for line in station.left_out] == [
        " bus[2].port (well)",
        " sensor[3].bus (ph2)",
        " sensor[4].bus (turb2)",
    ]


def test_a_database_without_its_bucket_is_left_out(tmp_path: Path) -> None:
    influx = '[influxdb]\nurl = "http://h"\norg = "o"\ntoken = { env = "T" }\n'
    station = read(tmp_path, HEAD + RIVER + influx, lenient=True, T="t")
    assert station.influxdb is None
    assert len(station.left_out) == 1


def test_a_rule_keeps_the_contacts_there_are(tmp_path: Path) -> None:
    text = (
        HEAD
        + RIVER
        + RULE
        + 'send = [["duty", "nobody"], ["chief", "after 5 min"]]\n[sms]\nmodem = "/dev/m"\n'
    )
    text += '[[contact]]\nid = "duty"\nphone = "+996555000001"\n[[contact]]\nid = "chief"\nphone = "5"\n'
    station = read(tmp_path, text, lenient=True)
    assert [(t.contacts, t.after_s) for t in station.rules[0].send] == [(("duty",), 0.0)]
    assert len(station.left_out) == 2


def test_a_sink_without_its_secret_is_left_out(tmp_path: Path) -> None:
    text = HEAD + RIVER + '[mqtt]\nurl = "mqtts://h"\nusername = "a"\npassword = { file = "p" }\n'
    station = read(tmp_path, text, lenient=True)
    assert station.mqtt is None
    [line] = station.left_out
    assert line.startswith("station.toml: mqtt.password: the secret is missing; write it into ")


# ── secrets ──


MQTT = '[mqtt]\nurl = "mqtts://h"\nusername = "a"\npassword = { file = "mqtt.password" }\n'


def secret_of(station: Station) -> str:
    assert station.mqtt is not None
    assert station.mqtt.password is not None
    return station.mqtt.password.get_secret_value()


def test_where_a_secret_is_looked_for(tmp_path: Path) -> None:
    """systemd's credentials, then secrets/, then beside the file."""
    text = HEAD + RIVER + MQTT
    credentials = tmp_path / "credentials"
    for folder in (tmp_path, tmp_path / "secrets", credentials):
        folder.mkdir(exist_ok=True)
        file = folder / "mqtt.password"
        file.touch(mode=0o600)
        file.write_text(f"from {folder.name}\n", encoding="utf-8")
    assert secret_of(read(tmp_path, text, CREDENTIALS_DIRECTORY=str(credentials))) == "from credentials"
    assert secret_of(read(tmp_path, text)) == "from secrets"
    (tmp_path / "secrets/mqtt.password").unlink()
    assert secret_of(read(tmp_path, text)) == f"from {tmp_path.name}"
    absolute = text.replace('"mqtt.password"', f'"{credentials / "mqtt.password"}"')
    assert secret_of(read(tmp_path, absolute)) == "from credentials"


def test_a_secret_everybody_can_read(tmp_path: Path) -> None:
    file = write(tmp_path, HEAD + RIVER + MQTT, mqtt__password="x")
    assert load(file).warnings == ()
    secret = tmp_path / "secrets/mqtt.password"
    secret.chmod(0o644)
    assert load(file).warnings == (
        f"{secret}: everybody on this machine may read this secret; chmod o= {secret}",
    )


@pytest.mark.parametrize(
    ("content", "what"), [(b"", "is empty"), (b"\xff", "is not text"), (b"x" * 5000, "is too long")]
)
def test_secrets_that_are_none(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "mqtt.password").write_bytes(content)
    [line] = lines(tmp_path, HEAD + RIVER + MQTT)
    assert f"mqtt.password {what}; write the secret into it as one line" in line


def test_a_secret_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = HEAD + RIVER + MQTT.replace('{ file = "mqtt.password" }', '{ env = "P" }')
    station = read(tmp_path, text, P="hunter2")
    logging.getLogger("test").warning("%s %r", station, station.mqtt)
    assert "hunter2" not in caplog.text + repr(station) + str(station)
    literal = lines(tmp_path, text.replace('{ env = "P" }', '"hunter2"'))
    assert "hunter2" not in "".join(literal)
    assert "a secret does not belong in this file" in literal[0]
    in_url = lines(tmp_path, HEAD + RIVER + '[mqtt]\nurl = "mqtt://a:hunter2@h"\n')
    assert "hunter2" not in "".join(in_url)


# ── all input is hostile ──

_scalar = st.one_of(
    st.booleans().map(lambda b: str(b).lower()),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(
        ["nan", "inf", "-inf", "1e400", "1979-05-27", "07:32:00", "[]", "{}", "[[]]", "[{ a = 1 }]", '""']
    ),
    st.text("abc/:.0 é\u202e", max_size=12).map(lambda t: f'"{t}"'),
    st.sampled_from(
        ['"10 s"', '"1e9 s"', '"999999999999 d"', '["duty"]', "[0, 1]", '{ file = "../../etc/passwd" }']
    ),
)
_GOOD = (
    HEAD + RIVER + DUST + RULE + MQTT + '[influxdb]\nurl = "http://h"\nversion = 1\ndatabase = "d"\n'
).splitlines()


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.integers(0, len(_GOOD) - 1), _scalar), min_size=1, max_size=3))
def test_whatever_stands_in_it(tmp_path: Path, changes: list[tuple[int, str]]) -> None:
    """Any value anywhere gives a station or lines, one line each, never another exception."""
    rows = list(_GOOD)
    for row, value in changes:
        key, equals, _ = rows[row].partition(" = ")
        rows[row] = f"{key} = {value}" if equals else value
    for lenient in (False, True):
        try:
            found = list(read(tmp_path, "\n".join(rows), lenient=lenient).left_out)
        except ConfigError as e:
            found = e.lines or [""]
        assert all("\n" not in line and line.startswith("station.toml: ") for line in found)
