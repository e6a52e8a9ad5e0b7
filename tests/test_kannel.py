"""The kannel provider against real Kannel: bearerbox and smsbox of Debian, and its fakesmsc, which shows
what a message centre would get.

    DEBUG: Got message 2: <13013 +996555000001 ucs-2 %04!%04C%04C>
    DEBUG: Got message 3: <13013 +996555000001 udh %05%00%03%02%02%01 data %04%E8…>       part 1 of 2

Missing programs are a failure, never a skip (`make setup` installs them).
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from alerts import provider
from alerts.alphabet import alphabet_of, segments, split
from alerts.cms import SmsError, SmsFix, SmsRefused, SmsRetry
from alerts.provider import Provider
from tests.services import Server, free_port, running, until

FAKESMSC = Path("/usr/lib/kannel/test/fakesmsc")
TO = "+996555000001"
PASSWORD = "pass word&<+%"
KYRGYZ = "Суу: ылайлык 62 > 50 NTU. Өң ү"


class BearerBox(Server):
    """Kannel's core, with a fake message centre's port and boxes' port. `port` is the boxes'."""

    program = "bearerbox"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.smsc_port, self.admin_port, self.send_port = free_port(), free_port(), free_port()
        self.config = self.folder / "kannel.conf"
        self.config.write_text(f"""
group = core
admin-interface = 127.0.0.1
admin-port = {self.admin_port}
admin-password = bar
smsbox-interface = 127.0.0.1
smsbox-port = {self.port}
box-allow-ip = "127.0.0.1"

group = smsc
smsc = fake
smsc-id = FAKE
port = {self.smsc_port}
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {self.port}
sendsms-interface = 127.0.0.1
sendsms-port = {self.send_port}
global-sender = 13013

group = sendsms-user
username = station
password = "{PASSWORD}"
max-messages = 10
concatenation = true
black-list-regex = "^.999"
""")

    def command(self, program: str) -> list[str]:
        return [program, "-v", "1", str(self.config)]


class SmsBox(Server):
    """The part of Kannel that takes messages by HTTP."""

    program = "smsbox"

    def __init__(self, core: BearerBox) -> None:
        super().__init__(core.folder / "smsbox")
        self.port, self._config = core.send_port, core.config

    def command(self, program: str) -> list[str]:
        return [program, "-v", "1", str(self._config)]


class MessageCentre:
    """fakesmsc: what it got is in its log. It ends when its standard input does."""

    def __init__(self, core: BearerBox) -> None:
        assert FAKESMSC.exists(), f"{FAKESMSC} is not installed, and the tests need it: run make setup"
        self._log = core.folder / "fakesmsc.log"
        with self._log.open("wb") as out:
            command = [
                str(FAKESMSC),
                "-H",
                "127.0.0.1",
                "-r",
                str(core.smsc_port),
                "-m",
                "0",
                "1 2 text nothing",
            ]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out)

    def text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def got(self, before: int, count: int) -> list[str]:
        """The messages after the first `before`, when there are `count` of them."""

        def there() -> list[str]:
            found = re.findall(r"Got message \d+: <(.*?)>$", self.text(), re.MULTILINE | re.DOTALL)
            return found[before:] if len(found) >= before + count else []

        return list(until("the message centre's messages", there))

    def number(self) -> int:
        return self.text().count("Got message")

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)
        if self.process.stdin:
            self.process.stdin.close()


class Kannel:
    def __init__(self, core: BearerBox, centre: MessageCentre) -> None:
        self.core, self.centre = core, centre

    def path(self, **settings: str) -> Provider:
        given = {
            "url": f"http://127.0.0.1:{self.core.send_port}",
            "username": "station",
            "password": PASSWORD,
        }
        return Provider(provider.find("kannel"), given | settings)

    def send(self, text: str, to: str = TO, **settings: str) -> tuple[str, ...]:
        return asyncio.run(self.path(**settings).send(to, text, reference=1)).references

    def failing(self, text: str = "x", to: str = TO, **settings: str) -> SmsError:
        with pytest.raises(SmsError) as e:
            self.send(text, to, **settings)
        return e.value


@pytest.fixture(scope="module")
def kannel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kannel]:
    with running(BearerBox(tmp_path_factory.mktemp("kannel"))) as core:
        centre = MessageCentre(core)
        try:
            with running(SmsBox(core)):
                kannel = Kannel(core, centre)
                kannel.send("first")  # until the centre is connected, Kannel queues; then it comes through
                centre.got(0, 1)
                yield kannel
        finally:
            centre.end()


def parts(raw: list[str]) -> tuple[str, list[tuple[str, bytes]]]:
    """The recipient, and of each part its header in hex and its octets."""
    found = []
    recipients = set()
    for line in raw:
        _, recipient, kind, rest = line.split(" ", 3)
        recipients.add(recipient)
        header = ""
        if kind == "udh":
            coded, _, rest = rest.split(" ", 2)
            header = unquote_to_bytes(coded).hex(" ")
        found.append((header, unquote_to_bytes(rest.replace("+", " "))))
    [recipient] = recipients
    return recipient, found


TEXTS = [
    "pH 4.1 < 6.5",
    "a@b £5 $ èé ÄÖ ~[pH]{4}|5\\ ^ € 50%",
    "x" * 160,
    "x" * 161,
    "pH [4.1] " * 40,
    KYRGYZ,
    "ң" * 70,
    "ң" * 71,
    "Ысык-Көл: PM2.5 жогору, «62» мкг/м³ – " * 6,
    "emoji 😀 " * 20,
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_text_reaches_the_message_centre_whole_in_as_many_parts_as_we_count(
    kannel: Kannel, text: str
) -> None:
    before = kannel.centre.number()
    kannel.send(text)
    expected = len(split(text))
    recipient, got = parts(kannel.centre.got(before, expected))
    assert recipient == TO
    assert len(got) == expected == segments(text).count
    octets = b"".join(octets for _, octets in got)
    if alphabet_of(text) == "UCS-2":
        assert octets.decode("utf-16-be") == text
    elif expected == 1:
        assert octets.decode() == text  # fakesmsc writes a text in UTF-8
    headers = [header for header, _ in got]
    if expected == 1:
        assert headers == [""]
    else:
        assert [header[:8] for header in headers] == ["05 00 03"] * expected
        assert [header[12:] for header in headers] == [f"{expected:02x} {i + 1:02x}" for i in range(expected)]
        assert len({header[9:11] for header in headers}) == 1
    assert kannel.centre.number() == before + expected


def test_a_long_text_in_the_gsm_alphabet_is_whole(kannel: Kannel) -> None:
    """Without signs of the extension table: fakesmsc does not decode the parts of a long text."""
    before = kannel.centre.number()
    text = "".join(chr(ord("a") + i % 26) for i in range(400))
    kannel.send(text)
    _, got = parts(kannel.centre.got(before, 3))
    assert b"".join(octets for _, octets in got).decode() == text
    assert [len(octets) for _, octets in got] == [153, 153, 94]


def test_the_sender_is_ours_when_it_is_given(kannel: Kannel) -> None:
    before = kannel.centre.number()
    kannel.send("x", sender="SuuAba")
    [message] = kannel.centre.got(before, 1)
    assert message.startswith("SuuAba +996555000001 ")


@pytest.mark.parametrize("settings", [{"password": "wrong"}, {"username": "nobody"}])
def test_a_wrong_name_or_password_is_for_a_person_to_mend(kannel: Kannel, settings: dict[str, str]) -> None:
    error = kannel.failing(**settings)
    assert type(error) is SmsFix
    assert "wrong user name or password (Authorization failed for sendsms)" in str(error)
    assert "Compare username and password with the sendsms-user group in kannel.conf" in error.remedy
    assert "wrong " not in error.remedy


def test_a_denied_number_is_refused(kannel: Kannel) -> None:
    error = kannel.failing(to="+999555000001")
    assert type(error) is SmsRefused
    assert "it does not send to this number (Number(s) has/have been denied" in str(error)


def test_the_wrong_port_of_kannel_is_for_a_person_to_mend(kannel: Kannel) -> None:
    error = kannel.failing(url=f"http://127.0.0.1:{kannel.core.send_port}/admin")
    assert type(error) is SmsFix
    assert "there is no sendsms at this address" in str(error)


def test_without_a_message_centre_kannel_queues_and_without_kannel_it_is_a_retry(tmp_path: Path) -> None:
    with running(BearerBox(tmp_path / "kannel")) as core:
        with running(SmsBox(core)):
            kannel = Kannel(core, centre=None)  # type: ignore[arg-type]  # there is none: that is the point
            assert kannel.send("x")
        error = kannel.failing()
        assert type(error) is SmsRetry
        assert "cannot be reached: Connection refused" in str(error)
