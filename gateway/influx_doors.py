"""The ways into InfluxDB: version 1 by urllib3 on /write, versions 2 and 3 by influxdb-client's write API.

Both are imported when a door is made, so a station without InfluxDB does not pay for them (influxdb-client:
some 20 MB). Everything here blocks and runs in a thread (gateway.influx). Retrying is the follower's, so
every retry of theirs is off.

    POST /write?db=stations&precision=ms            version 1; basic authentication; body gzip
    POST /api/v2/write?org=…&bucket=…&precision=ms  versions 2 and 3; "Authorization: Token …"
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from alerts.untold import basic, untold
from gateway.influx import Answer, Door
from gateway.tcp import SYN_BYTES, Carried

CONNECT_S = 5.0
READ_S = 20.0
ANSWER_LIMIT = 64 * 1024
"""Bytes read of an answer; an error text is shorter, and a hostile server's answer need not be read to its
end.
"""

QUERY_LIMIT = 64 * 1024 * 1024
"""Bytes read of an answer to a question of our own."""

Secret = str | Callable[[], str] | None
"""A secret, or how to get it: asked for at each request, so that a mended one counts without a restart."""


def version1(
    url: str, database: str, *, username: str | None = None, password: Secret = None, ca: str | None = None
) -> Callable[[], Door]:
    """A way into InfluxDB 1 (and whatever speaks its /write)."""
    return lambda: _Version1(url, database, username, password, ca)


def version2(
    url: str, org: str, bucket: str, *, token: Secret = None, ca: str | None = None
) -> Callable[[], Door]:
    """A way into InfluxDB 2 or 3 (and whatever speaks /api/v2/write)."""
    return lambda: _Version2(url, org, bucket, token, ca)


class _Version1:
    def __init__(
        self, url: str, database: str, username: str | None, password: Secret, ca: str | None
    ) -> None:
        import urllib3

        self.where = f"{url} database {database!r}"
        quoted = database.replace("\\", "\\\\").replace('"', '\\"')
        self._create = f'CREATE DATABASE "{quoted}"'
        self.remedy = f"create it: influx -execute '{self._create}'"
        self._url, self._database = url.rstrip("/"), database
        self._username, self._password = username, password
        self._http = urllib3.PoolManager(
            num_pools=1,
            maxsize=2,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S),
            ca_certs=ca,
        )
        self.address = _address(url)
        self.carried = Carried()
        _count(self._http, self.carried)

    def write(self, lines: bytes, precision: str) -> Answer:
        return self._post("write", {"db": self._database, "precision": precision}, gzip.compress(lines, 1))

    def create(self) -> bool:
        answer = self._post("query", {"q": self._create}, None)
        return answer.status == 200 and '"error"' not in answer.text

    def query(self, question: str) -> dict[str, Any]:
        return _answered(
            self._post("query", {"db": self._database, "epoch": "ns", "q": question}, None, QUERY_LIMIT)
        )

    def close(self) -> None:
        self._http.clear()

    def _post(
        self, path: str, fields: Mapping[str, str], body: bytes | None, limit: int = ANSWER_LIMIT
    ) -> Answer:
        import urllib3

        headers = {"User-Agent": "suuaba"}
        if body is not None:
            headers |= {"Content-Encoding": "gzip", "Content-Type": "text/plain; charset=utf-8"}
        password = _secret(self._password)
        who = basic(self._username, password)
        if self._username is not None:
            headers["Authorization"] = f"Basic {who}"
        url = f"{self._url}/{path}?{_query(fields)}"
        try:
            answer = self._http.request("POST", url, body=body, headers=headers, preload_content=False)
            try:
                text = answer.read(limit)
                answer.drain_conn()
            finally:
                answer.release_conn()
        except urllib3.exceptions.HTTPError as e:
            raise ConnectionError(str(e)) from e
        good = limit == QUERY_LIMIT and answer.status == 200
        said = text.decode("utf-8", "replace") if good else _error(text, password, who)
        return Answer(answer.status, said, _retry_after(answer.headers))


class _Version2:
    def __init__(self, url: str, org: str, bucket: str, token: Secret, ca: str | None) -> None:
        self.where = f"{url} bucket {bucket!r}"
        self.remedy = f"create it: influx bucket create --org {org} --name {bucket}"
        self._url, self._org, self._bucket, self._token, self._ca = url, org, bucket, token, ca
        self.address = _address(url)
        self.carried = Carried()
        self._made: tuple[str, Any, Any] | None = None  # token, client, write API

    def write(self, lines: bytes, precision: str) -> Answer:
        import urllib3
        from influxdb_client.rest import ApiException

        try:
            self._api().write(self._bucket, self._org, lines, precision)
        except ApiException as e:
            if not e.status:
                raise ConnectionError(str(e.reason)) from e
            sent = self._made[0] if self._made is not None else ""
            said = _error(str(e.body or e.reason or "").encode(), sent)
            return Answer(e.status, said, _retry_after(e.headers or {}))
        except (urllib3.exceptions.HTTPError, UnicodeDecodeError) as e:
            raise ConnectionError(str(e)) from e
        return Answer(204, "")

    def create(self) -> bool:
        return False  # a bucket needs rights that a station's token should not have

    def query(self, question: str) -> dict[str, Any]:
        """By the API of version 1 that versions 2 and 3 still answer; it takes the bucket's name as a
        database.
        """
        import urllib3

        self._api()
        pools = self._made[1].api_client.rest_client.pool_manager if self._made is not None else None
        if pools is None:
            raise ConnectionError("no client")
        fields = {"db": self._bucket, "epoch": "ns", "q": question}
        token = _secret(self._token)
        try:
            answer = pools.request(
                "GET",
                f"{self._url.rstrip('/')}/query?{_query(fields)}",
                headers={"Authorization": f"Token {token}"},
                preload_content=False,
            )
            try:
                text = answer.read(QUERY_LIMIT)
            finally:
                answer.release_conn()
        except urllib3.exceptions.HTTPError as e:
            raise ConnectionError(str(e)) from e
        good = answer.status == 200
        said = text.decode("utf-8", "replace") if good else _error(text, token)
        return _answered(Answer(answer.status, said))

    def close(self) -> None:
        if self._made is not None:
            self._made[1].close()

    def _api(self) -> Any:
        """influxdb-client's write API, made anew when the token changed."""
        from influxdb_client.client.influxdb_client import InfluxDBClient
        from influxdb_client.client.write_api import SYNCHRONOUS

        token = _secret(self._token)
        if self._made is None or self._made[0] != token:
            self.close()
            client = InfluxDBClient(
                self._url,
                token,
                org=self._org,
                enable_gzip=True,
                timeout=(int(CONNECT_S * 1000), int(READ_S * 1000)),
                ssl_ca_cert=self._ca,
                retries=False,
            )
            _count(client.api_client.rest_client.pool_manager, self.carried)
            self._made = (token, client, client.write_api(write_options=SYNCHRONOUS))
        return self._made[2]


def _answered(answer: Answer) -> dict[str, Any]:
    """What a query found. Raises ConnectionError."""
    try:
        found = msgspec.json.decode(answer.text)
    except msgspec.DecodeError:
        found = None
    if answer.status != 200 or not isinstance(found, dict) or "error" in found:
        raise ConnectionError(f"{answer.status} {answer.text.strip()[:200]}")
    return found


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _count(pools: Any, carried: Carried) -> None:
    """Have what the connections of urllib3's PoolManager carry counted."""
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Plain(HTTPConnection):
        def connect(self) -> None:
            carried.add(SYN_BYTES)  # for the tries that lead to nothing; the others tell of themselves
            super().connect()
            carried.opened(self.sock)

        def close(self) -> None:
            if self.sock is not None:
                carried.closing(self.sock)
            super().close()

    class Secured(HTTPSConnection):
        def connect(self) -> None:
            carried.add(SYN_BYTES)
            super().connect()
            carried.opened(self.sock)

        def close(self) -> None:
            if self.sock is not None:
                carried.closing(self.sock)
            super().close()

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecuredPool(HTTPSConnectionPool):
        ConnectionCls = Secured

    pools.pool_classes_by_scheme = {"http": PlainPool, "https": SecuredPool}


def _secret(secret: Secret) -> str:
    return (secret() if callable(secret) else secret) or ""


def _query(fields: Mapping[str, str]) -> str:
    from urllib.parse import urlencode

    return urlencode(fields)


def _error(body: bytes, *secrets: str) -> str:
    """The reason in an answer: {"error":"…"} of versions 1 and 3, {"code":"…","message":"…"} of version 2, or
    the text. It goes into logs, events and messages, so none of what we sent may be in it.
    """
    text = body.decode("utf-8", "replace")
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = None
    if isinstance(said, dict):
        text = next((said[key] for key in ("error", "message") if isinstance(said.get(key), str)), text)
    return untold(text, *secrets)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After, which is a number or a date (RFC 9110, 10.2.3); a date counts from the
    answer's own.
    """
    said = headers.get("Retry-After")
    if said is None:
        return None
    try:
        return max(float(int(said)), 0.0)
    except ValueError:
        pass
    try:
        until, now = parsedate_to_datetime(said), parsedate_to_datetime(headers.get("Date", ""))
        return max((until - now).total_seconds(), 0.0)
    except (ValueError, TypeError, IndexError):
        return None
