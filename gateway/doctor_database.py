"""The doctor's look at InfluxDB: reachable, login, a test point written and read back.

    station,station=kanysh-kyia-1,sensor=doctor test=123456i 1795428000000      one series, few points

Read back with InfluxQL at /query, which versions 1, 2 and 3 answer (InfluxDB 1.8, "API reference"; 2.7,
"1.x compatibility API"; 3, "HTTP API, /query"). A token that may only write is as it should be: then the
confirmed write is the proof.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from urllib.parse import urlencode, urlsplit

from alerts.untold import basic, untold
from gateway import config
from gateway.clock import Clock
from gateway.doctor_finding import Finding, in_thread, one_line
from gateway.doctor_network import check_address
from gateway.influx import Answer, Door
from gateway.influx_lines import escaped
from gateway.sinks import opened

REQUEST_S = 10.0


async def check_database(wanted: config.Station) -> Sequence[Finding]:
    """The database of [influxdb]."""
    influx = wanted.influxdb
    if influx is None:
        return []
    parts = urlsplit(influx.url)
    tls = parts.scheme == "https"
    found = await check_address(
        "database", parts.hostname or "", parts.port or (443 if tls else 80), tls=tls, ca=influx.ca
    )
    if any(finding.level == "failure" for finding in found):
        return found
    at_ms, value = Clock("trust").stamp().utc_ms, random.randrange(1, 1 << 31)
    try:
        return [
            *found,
            *await in_thread(lambda: _write_and_read(wanted.id, influx, at_ms, value), 2 * REQUEST_S),
        ]
    except TimeoutError:
        text = f"{influx.url} does not answer within {2 * REQUEST_S:g} s"
        return [*found, Finding("database", "", "failure", text, "is it overloaded? look into its log")]
    except OSError as e:
        text = f"{influx.url}: {one_line(e)}"
        return [*found, Finding("database", "", "failure", text, "look into the database's log")]


# ── inside, in a thread ─────────────────────────────────────────────────────────────────────────


def _write_and_read(station: str, influx: config.Influxdb, at_ms: int, value: int) -> Sequence[Finding]:
    import urllib3

    http = urllib3.PoolManager(retries=False, timeout=REQUEST_S, ca_certs=influx.ca)
    door = _door(influx)
    try:
        ping = http.request("GET", f"{influx.url.rstrip('/')}/ping")
        version = one_line(ping.headers.get("X-Influxdb-Version", ""), 40)
        line = f"station,station={escaped(station)},sensor=doctor test={value}i {at_ms}"
        answer = door.write(line.encode(), "ms")
        if answer.status not in (200, 204):
            return [_not_written(influx, door, answer)]
        ok = Finding(
            "database",
            "login",
            "ok",
            f"{door.where} takes our points{' (' + version + ')' if version else ''}",
        )
        return [ok, _read_back(http, station, influx, at_ms, value)]
    except urllib3.exceptions.HTTPError as e:
        raise ConnectionError(one_line(e)) from e
    finally:
        door.close()
        http.clear()


def _door(influx: config.Influxdb) -> Door:
    from gateway.sinks import influx_door

    return influx_door(influx)()


def _not_written(influx: config.Influxdb, door: Door, answer: Answer) -> Finding:
    text = f"{door.where}: {answer.status} {one_line(answer.text)}"
    if answer.status == 401:
        what = "username and password" if influx.version == 1 else "token"
        return Finding("database", "login", "failure", f"refuses us: {text}", f"correct [influxdb] {what}")
    if answer.status == 403:
        remedy = "give this user or token the right to write there"
        return Finding("database", "login", "failure", f"lets us in, but not write: {text}", remedy)
    if answer.status == 404:
        name = "database" if influx.version != 2 else "bucket and org"
        remedy = f"correct [influxdb] {name}, or {door.remedy}"
        return Finding("database", "test point", "failure", f"there is no such database: {text}", remedy)
    if "retention" in answer.text:
        remedy = "the clock here is wrong, or the retention policy very short"
        return Finding("database", "test point", "failure", f"the point is too old for it: {text}", remedy)
    return Finding("database", "test point", "failure", text, "look into the database's log")


def _read_back(http: object, station: str, influx: config.Influxdb, at_ms: int, value: int) -> Finding:
    import urllib3

    assert isinstance(http, urllib3.PoolManager)  # nosec B101  # noqa: S101  for the type checker: it is imported late
    name = station.replace("'", "\\'")
    query = f"SELECT test FROM station WHERE station = '{name}' AND sensor = 'doctor' AND time = {at_ms}ms"  # noqa: S608  InfluxQL of our own; the station's id is letters, digits and -
    fields = {"db": influx.database or influx.bucket or "", "q": query, "epoch": "ms"}
    headers = {}
    password, token = opened(influx.password), opened(influx.token)
    who = basic(influx.username, password)
    if influx.version == 1 and influx.username is not None:
        headers["Authorization"] = f"Basic {who}"
    elif token is not None:
        headers["Authorization"] = f"Token {token}"
    url = f"{influx.url.rstrip('/')}/query?{urlencode(fields)}"
    answer = http.request("GET", url, headers=headers, redirect=False)
    said = one_line(untold(answer.data[:300].decode("utf-8", "replace"), password, token, who), 120)
    if answer.status == 200:
        if value in _numbers(answer.data):
            return Finding("database", "test point", "ok", "written and read back")
        if influx.version != 1:
            text = "written and confirmed; InfluxQL does not find it, and dashboards that use it will not"
            remedy = "map the bucket: influx v1 dbrp create --db NAME --rp autogen --bucket-id …"
            return Finding("database", "test point", "warning", text, remedy)
        text = f"written and confirmed, but it is not there: {said}"
        remedy = "does the url lead to the database that keeps the points (a proxy, a relay)?"
        return Finding("database", "test point", "failure", text, remedy)
    text = f"written and confirmed; not read back ({answer.status}), which a station need not"
    return Finding("database", "test point", "ok", text)


def _numbers(body: bytes) -> set[object]:
    """Every value of an InfluxQL answer."""
    try:
        results = json.loads(body).get("results", [])
        return {v for r in results for s in r.get("series", []) for row in s.get("values", []) for v in row}
    except (ValueError, AttributeError, TypeError):
        return set()
