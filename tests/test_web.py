"""The page's server: what it answers, whom it lets in, and what it refuses. A real station behind it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.web.page import CONNECTIONS
from tests.pages import PASSWORD, Client, StationWithPage, station_with_page


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationWithPage]:
    with station_with_page(tmp_path_factory.mktemp("page"), host="0.0.0.0") as found:  # noqa: S104  the outside is asked too
        found.start()
        found.until(lambda: all(s["values"] for s in found.client().get("/api/now").json["sensors"]))
        yield found


@pytest.fixture
def here(place: StationWithPage) -> Client:
    """At the machine itself."""
    return place.client()


class Elsewhere(Client):
    """Through a proxy on the machine, which is how the outside comes in: not the loopback."""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return super().ask(method, path, body, X_Forwarded_For="203.0.113.7", **headers)


@pytest.fixture
def elsewhere(place: StationWithPage) -> Client:
    return Elsewhere(place.port)


# ── what it says ──


def test_now(here: Client) -> None:
    now = here.get("/api/now").json
    sensors = {row["id"]: row for row in now["sensors"]}
    assert set(sensors) == {"ph1", "turb1", "dust1", "dust2"}
    [ph] = [v for v in sensors["ph1"]["values"] if v["quantity"] == "ph"]
    assert ph["unit"] == "pH"
    assert ph["flag"] == 1
    assert 0 < ph["value"] < 14
    assert 0 <= now["now_ms"] - sensors["ph1"]["at_ms"] < 10_000
    assert now["limits"][0] | {"rule": "turbidity-high", "high": 50.0} == now["limits"][0]
    assert now["light"]["colour"] in ("green", "red", "yellow")


def test_history_has_what_was_read(place: StationWithPage, here: Client) -> None:
    place.until(lambda: len(here.get("/api/history?sensor=dust1&quantity=pm2_5").json["t"]) > 3)
    found = here.get("/api/history?sensor=dust1&quantity=pm2_5").json
    given = {
        round(said.values["pm2_5"])
        for said in place.outside.record.snapshot()
        if said.name == "dust1" and said.asked and "pm2_5" in said.values
    }
    assert found["unit"] == "ug/m3"
    assert found["t"] == sorted(found["t"])
    assert {round(v) for v in found["mean"] if v is not None} <= given


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("", 400, "sensor"),
        ("?sensor=nobody&quantity=ph", 404, "ph1"),
        ("?sensor=ph1&quantity=gold", 404, "water_temperature"),
        ("?sensor=ph1&quantity=ph&points=1", 400, "points"),
        ("?sensor=ph1&quantity=ph&points=100000000", 400, "points"),
        ("?sensor=ph1&quantity=ph&from=-1", 400, "from"),
        ("?sensor=ph1&quantity=ph&from=99999999999999999999", 400, "from"),
        ("?sensor=ph1&quantity=ph&from=10&to=5", 400, "before"),
        ("?sensor=ph1&quantity=ph&sensor=ph2", 400, "twice"),
        ("?sensor=ph1&quantity=ph&colour=red", 400, "there are"),
        ("?sensor=" + "x" * 65 + "&quantity=ph", 400, "sensor"),
    ],
)
def test_bad_questions_get_one_line_with_a_hint(here: Client, query: str, status: int, words: str) -> None:
    answer = here.get("/api/history" + query)
    assert answer.status == status
    said = answer.json
    assert words in said["error"] + said["hint"]
    assert "\n" not in said["error"] + said["hint"]


def test_a_range_of_years_is_bounded(here: Client) -> None:
    answer = here.get("/api/history?sensor=ph1&quantity=ph&from=0&to=99999999999999&points=2000")
    assert answer.status == 200
    assert len(answer.json["t"]) <= 4000


def test_the_stream_says_what_happens(place: StationWithPage) -> None:
    with listen(place) as lines:
        kinds: dict[str, Any] = {}
        while not {"hello", "reading", "status"} <= set(kinds):
            kind, number, data = next(lines)
            kinds[kind] = data
            if kind == "reading":
                last = number
    with listen(place, last) as lines:
        numbers = []
        while len(numbers) < 3:
            kind, number, _ = next(lines)
            if kind == "reading":
                numbers.append(number)
    assert numbers[0] > last
    assert numbers == sorted(numbers)


def test_a_client_that_was_away_for_too_long_begins_anew(place: StationWithPage) -> None:
    for last in ("999999999", "rubbish", "-5"):
        with listen(place, last) as lines:
            assert next(lines)[0] == "hello"
            assert next(lines)[0] == "reset"


def test_what_a_client_missed_follows(place: StationWithPage) -> None:
    with listen(place, 0) as lines:
        numbers = [number for _, number, _ in (next(lines) for _ in range(6)) if number]
    assert numbers[0] < 10


def test_health_and_metrics(place: StationWithPage, here: Client) -> None:
    assert here.get("/healthz").json == {"alive": True, "silent": []}
    text = here.get("/metrics").body.decode()
    from prometheus_client.parser import text_string_to_metric_families

    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["suuaba_up"].samples[0].value == 1
    values = {(s.labels["sensor"], s.labels["quantity"]): s.value for s in families["suuaba_value"].samples}
    assert 0 < values["ph1", "ph"] < 14
    assert families["suuaba_slots_taken"].type == "counter"
    for family in families.values():  # Prometheus documentation, "Metric and label naming"
        assert family.name.startswith("suuaba_")
        assert all(s.name.endswith("_total") == (family.type == "counter") for s in family.samples)


@pytest.mark.parametrize("path", ["instruments", "sinks", "clock", "gaps?days=7", "sms", "about", "events"])
def test_what_technicians_see(here: Client, elsewhere: Client, path: str) -> None:
    assert here.get(f"/api/{path}").status == 200
    refused = elsewhere.get(f"/api/{path}")
    assert refused.status == 401
    assert refused.json["hint"] == "sign in"


def test_an_instrument_shows_its_last_frame_and_who_it_is(place: StationWithPage, here: Client) -> None:
    def found() -> Any:
        rows = {row["id"]: row for row in here.get("/api/instruments").json["instruments"]}
        return rows if rows["ph1"]["identity"] else None

    rows = place.until(found)
    assert re.fullmatch(r"([0-9a-f]{2} )+[0-9a-f]{2}", rows["dust1"]["frame"])
    assert rows["dust1"]["frame"].startswith("42 4d")  # Plantower: every frame begins with "BM"
    assert rows["ph1"]["identity"]["serial"]
    assert rows["ph1"]["bus"] == "river"


# ── who may ──


def test_everybody_may_see_the_values(elsewhere: Client) -> None:
    now = elsewhere.get("/api/now").json
    assert now["sensors"][0]["values"]
    assert "why" not in now["sensors"][0]
    assert elsewhere.get("/api/session").json["face"] == "public"
    assert elsewhere.get("/metrics").status == 401


def test_acting_needs_a_session_even_here(here: Client) -> None:
    assert here.post("/api/alarms/turbidity-high/ack", {}).status == 401


def test_signing_in_and_acting(place: StationWithPage, elsewhere: Client) -> None:
    answer = elsewhere.post("/api/login", {"password": PASSWORD, "name": "Aibek"})
    assert answer.status == 200
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    elsewhere.cookie, elsewhere.csrf = cookie.partition(";")[0], answer.json["csrf"]
    shelved = elsewhere.post("/api/alarms/turbidity-high/shelve", {"minutes": 5, "why": "cleaning it"})
    assert shelved.json["alarm"]["state"] == "shelved"
    assert shelved.json["alarm"]["by"] == "Aibek (page)"
    public = Elsewhere(place.port).get("/api/alarms").json["alarms"][0]
    assert public["state"] == "shelved"
    assert not {"by", "why"} & set(public)
    back = elsewhere.post("/api/alarms/turbidity-high/unshelve", {})
    assert back.json["alarm"]["state"] != "shelved"
    logged = elsewhere.get("/api/events?what=shelve").json["events"]
    assert logged[0]["detail"]["by"] == "Aibek (page)"
    assert elsewhere.post("/api/logout").status == 200
    assert elsewhere.get("/api/about").status == 401


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"X_CSRF_Token": ""}, "token"),
        ({"X_CSRF_Token": "guessed"}, "token"),
        ({"Origin": "http://evil.example"}, "another site"),
        ({"Origin": "null"}, "another site"),
        ({"Sec_Fetch_Site": "cross-site"}, "another site"),
        ({"Sec_Fetch_Site": "same-site"}, "another site"),
    ],
)
def test_a_forged_request_is_refused(signed_in: Client, headers: dict[str, str], why: str) -> None:
    answer = signed_in.post("/api/alarms/turbidity-high/ack", {}, **headers)
    assert answer.status == 403
    assert why in answer.json["error"]


@pytest.fixture(scope="module")
def signed_in(place: StationWithPage) -> Client:
    client = place.client()
    client.sign_in()
    return client


@pytest.mark.parametrize(
    "content", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_form_of_another_site_is_no_request(signed_in: Client, content: str) -> None:
    assert signed_in.post("/api/alarms/turbidity-high/ack", b"{}", Content_Type=content).status == 415


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b'{"minutes": 0, "why": "abc"}', 400),
        (b'{"minutes": 99999, "why": "abc"}', 400), (b'{"minutes": 5}', 400),
        (b'{"minutes": "5", "why": "abc"}', 400),
        (b'{"minutes": 5, "why": "abc", "x": 1}', 400), (b"\xff\xfe", 400), (b"[" * 5000, 400),
        (b'{"why": "' + b"x" * 20_000 + b'"}', 413),
    ],
)  # fmt: skip
def test_a_bad_body_is_refused(signed_in: Client, body: bytes, status: int) -> None:
    answer = signed_in.post("/api/alarms/turbidity-high/shelve", body)
    assert answer.status == status
    assert set(answer.json) == {"error", "hint"}


def test_the_steps_of_a_calibration_are_those_of_the_command_line(signed_in: Client) -> None:
    answer = signed_in.post(
        "/api/calibrations", {"do": "begin", "body": {"sensor": "nobody", "standards": [{"nominal": 7.0}]}}
    )
    assert answer.status == 409
    assert "nobody" in answer.json["error"] + answer.json["hint"]
    assert signed_in.post("/api/calibrations", {"do": "destroy"}).status == 400
    assert signed_in.post("/api/verbs/status", {}).json["seq"] > 0
    assert signed_in.post("/api/verbs/nothing", {}).status == 404


def test_an_alarm_that_is_normal_cannot_be_taken_back(signed_in: Client) -> None:
    answer = signed_in.post("/api/alarms/turbidity-high/unshelve", {})
    assert answer.status == 409
    assert "shelved" in answer.json["error"]


def test_an_unknown_rule(signed_in: Client) -> None:
    answer = signed_in.post("/api/alarms/nothing/ack", {})
    assert answer.status == 404
    assert "turbidity-high" in answer.json["hint"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "", "127.0.0.1.nip.io"]
)
def test_a_foreign_name_is_refused(here: Client, host: str) -> None:
    answer = here.get("/api/now", Host=host)
    assert answer.status == 421
    assert "names" in answer.json["hint"]


def test_our_own_names_are_taken(here: Client) -> None:
    for host in ("localhost", "127.0.0.1:1", "[::1]:8080", "10.1.2.3", socket.gethostname()):
        assert here.get("/api/now", Host=host).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml", "/static/../page.py", "/static/%2e%2e/page.py", "/static/..%2fpage.py",
        "/static//etc/passwd",
        "/static/%00", "/static/", "/api/", "/api/nothing", "/%2e%2e/%2e%2e/etc/passwd", "/.git/config",
    ],
)  # fmt: skip
def test_no_path_leads_out(here: Client, path: str) -> None:
    answer = here.get(path)
    assert answer.status == 404
    assert set(answer.json) == {"error", "hint"}


def test_every_answer_forbids_what_a_page_does_not_need(here: Client) -> None:
    for path in ("/", "/api/now", "/nothing", "/static/app.js", "/api/history"):
        headers = here.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_unchanged_files_are_not_sent_again(here: Client) -> None:
    first = here.get("/static/app.js", Accept_Encoding="gzip")
    assert first.headers["Content-Encoding"] == "gzip"
    again = here.get("/static/app.js", If_None_Match=first.headers["ETag"])
    assert again.status == 304
    assert again.body == b""


def test_the_description_names_every_endpoint(here: Client) -> None:
    described = here.get("/api/openapi.json").json
    assert {"/api/now", "/api/history", "/api/alarms/{id}/ack", "/healthz"} <= set(described["paths"])
    assert json.dumps(described).count('"x-face"') >= 20


# ── the stream, line by line ──


class listen:  # noqa: N801  used as a word
    """The stream's messages as (kind, seq, data)."""

    def __init__(self, place: StationWithPage, last: Any = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", place.port), 20)
        more = f"Last-Event-ID: {last}\r\n" if last is not None else ""
        self.socket.sendall(f"GET /api/stream HTTP/1.0\r\nHost: 127.0.0.1\r\n{more}\r\n".encode())
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Iterator[tuple[str, int, Any]]:
        while self.file.readline() not in (b"\r\n", b""):
            pass
        return self.messages()

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def messages(self) -> Iterator[tuple[str, int, Any]]:
        kind, number = "", 0
        for line in self.file:
            name, _, text = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind, number = text, 0
            elif name == "id":
                number = int(text)
            elif name == "data":
                yield kind, number, json.loads(text)


def test_too_many_pages_are_refused_and_the_rest_live_on(place: StationWithPage) -> None:
    place.until(lambda: place.client().get("/api/about").json["pages_open"] == 0)
    open_ = [listen(place) for _ in range(16)]
    try:
        for one in open_:
            next(one.__enter__())
        answer = place.client().get("/api/stream")
        assert answer.status == 503
        assert answer.headers["Retry-After"]
        assert place.client().get("/api/now").status == 200
    finally:
        for one in open_:
            one.__exit__()
    place.until(lambda: place.client().get("/api/about").json["pages_open"] == 0)


def test_a_flood_of_connections_takes_no_more_files_than_there_are_for_it(place: StationWithPage) -> None:
    assert place.process is not None
    fds = Path(f"/proc/{place.process.pid}/fd")
    before = len(list(fds.iterdir()))
    flood = []
    try:
        for _ in range(600):
            one = socket.create_connection(("127.0.0.1", place.port), 20)
            one.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")  # and never the rest
            flood.append(one)
    except ConnectionError:
        pass  # cut already
    try:
        taken = place.outside.record.snapshot()
        place.until(lambda: len(place.outside.record.snapshot()) > len(taken) + 5)  # the buses go on
        assert len(list(fds.iterdir())) - before <= CONNECTIONS + 64  # what is accepted in one go
        # who never ends the request is let go, though the other side holds on
        place.until(lambda: len(list(fds.iterdir())) - before < 20)
    finally:
        for one in flood:
            one.close()
    place.until(lambda: place.client().get("/healthz").status == 200)


def test_a_history_that_cannot_be_read_costs_a_chart_and_no_more(tmp_path: Path) -> None:
    with station_with_page(tmp_path) as place:
        (tmp_path / "data" / "history.db").mkdir(parents=True)
        place.start()
        client = place.client()
        answer = client.get("/api/history?sensor=ph1&quantity=ph&from=1&points=100")
        assert answer.status == 503
        assert "history" in answer.json["error"]
        assert client.get("/api/now").status == 200
        assert client.get("/api/history?sensor=ph1&quantity=ph").status == 200
        place.stop()
        assert "Traceback" not in place.tail()


def test_the_demo_takes_another_port_when_its_own_is_taken() -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", 8080))
            holder.listen()
        except OSError:
            pass  # somebody else holds it, which is as good
        command = [sys.executable, "-m", "gateway.cli", "demo", "--seconds", "5"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "port 8080 is taken" in done.stdout
    assert re.search(r"page: http://127\.0\.0\.1:(?!8080)\d+", done.stdout)
    assert re.search(r"code to set one on the page is [0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}", done.stdout)


# ── the first start, and guessing ──


def test_the_first_password_is_set_with_the_printed_code(tmp_path: Path) -> None:
    with station_with_page(tmp_path, password=False) as place:
        place.start()
        client = place.client()
        assert client.get("/api/session").json["needs_setup"]
        assert client.post("/api/login", {"password": "anything"}).status == 409
        code = place.until(lambda: re.search(r"page is ([0-9A-Z-]{14})", place.tail()))[1]
        assert client.post("/api/setup", {"code": "AAAA-BBBB-CCCC", "password": PASSWORD}).status == 401
        assert client.post("/api/setup", {"code": code, "password": "short"}).status == 400
        done = client.post("/api/setup", {"code": code.lower(), "password": PASSWORD})
        assert done.status == 200
        kept = tmp_path / "data" / "web.password"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert kept.read_text().startswith("$argon2id$")
        assert client.post("/api/setup", {"code": code, "password": "another-password"}).status == 409
        place.stop()
        place.start()
        again = place.client()
        assert not again.get("/api/session").json["needs_setup"]
        tries = [again.post("/api/login", {"password": f"guess {n}"}).status for n in range(6)]
        assert tries == [401] * 5 + [429]
        refused = again.post("/api/login", {"password": PASSWORD})
        assert refused.status == 429  # also the right one: else a guesser would see the difference
        assert 0 < int(refused.headers["Retry-After"]) <= 60
        assert PASSWORD not in place.tail()
        place.stop()
