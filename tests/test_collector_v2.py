"""The collector's way into versions 2 and 3: /api/v2/write, and its account read back in InfluxQL on /query.

No InfluxDB 2 or 3 was at hand. A translator stands before the real 1.6.7: it takes the requests of version 2,
with a token, and hands them on as version 1's; what InfluxQL answers is the real thing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import urllib3

from gateway.collector import Collector
from gateway.collector_account import Account
from gateway.collector_inbox import Broker, Inbox
from gateway.influx_doors import version2
from tests.services import InfluxDB

TOKEN = "a-long-token"


@pytest.fixture
def like_version_2(own_influxdb: InfluxDB) -> Iterator[str]:
    own_influxdb.post('CREATE DATABASE "stations"')
    pool = urllib3.PoolManager()

    class Translator(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._pass("POST", "/write", {"db": "bucket", "precision": "precision"}, 204)

        def do_GET(self) -> None:
            self._pass("GET", "/query", {"db": "db", "q": "q", "epoch": "epoch"}, 200)

        def _pass(self, method: str, path: str, names: dict[str, str], good: int) -> None:
            parts = urlsplit(self.path)
            given = {name: values[0] for name, values in parse_qs(parts.query).items()}
            wanted = "/api/v2/write" if method == "POST" else "/query"
            if parts.path != wanted or self.headers["Authorization"] != f"Token {TOKEN}":
                self.send_error(401)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fields = urlencode({ours: given[theirs] for ours, theirs in names.items()})
            headers = {"Content-Encoding": self.headers.get("Content-Encoding") or "identity"}
            answer = pool.request(method, f"{own_influxdb.url}{path}?{fields}", body=body, headers=headers)
            assert answer.status == good, answer.data
            self.send_response(answer.status)
            if good == 200:
                self.send_header("Content-Length", str(len(answer.data)))
            self.end_headers()
            self.wfile.write(answer.data)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Translator)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()
    pool.clear()


def collector(url: str, folder: Path, token: str, node: str = "n") -> Collector:
    door = version2(url, "monitoring", "stations", token=token)
    return Collector(Inbox(Broker("mqtt://x", node)), door, node=node, data=folder, now_ms=lambda: 0)


def test_the_account_is_written_and_read_back_by_the_ways_of_version_2(
    like_version_2: str, tmp_path: Path
) -> None:
    now_ms = int(time.time() * 1000)
    door = version2(like_version_2, "monitoring", "stations", token=TOKEN)()
    for node, seqs in (("one", range(1, 1500, 2)), ("other 'x'", range(2, 1500, 2))):
        account = Account(node)
        for seq in seqs:
            account.add("kyia-1", seq, now_ms)
        assert door.write("\n".join(account.lines()).encode(), "ns").status == 204
    whole = collector(like_version_2, tmp_path, TOKEN)
    assert whole.everybody().stations["kyia-1"].count(0, 10_000) == 1499
    assert len(whole.bits("other 'x'")) == 2
    with pytest.raises(OSError, match="401"):
        collector(like_version_2, tmp_path, "another").everybody()
    door.close()
