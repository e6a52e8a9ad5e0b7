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
from gateway.doctor_finding import Finding, in_thread, one_line, said
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
        text = said("{url} does not answer within {within} s", url=influx.url, within=f"{2 * REQUEST_S:g}")
        return [*found, Finding("database", "", "failure", text, said("is it overloaded? look into its log"))]
    except OSError as e:
        text = said("{url}: {why}", url=influx.url, why=one_line(e))
        return [*found, Finding("database", "", "failure", text, said("look into the database's log"))]


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
        takes = said("{url} takes our points", url=door.where)
        if version:
            takes = said("{url} takes our points ({version})", url=door.where, version=version)
        ok = Finding("database", "login", "ok", takes)
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
    why = f"{door.where}: {answer.status} {one_line(answer.text)}"
    if answer.status == 401:
        keys = "username, password" if influx.version == 1 else "token"
        remedy = said("correct [influxdb] {keys}", keys=keys)
        return Finding("database", "login", "failure", said("refuses us: {why}", why=why), remedy)
    if answer.status == 403:
        remedy = said("give this user or token the right to write there")
        text = said("lets us in, but not write: {why}", why=why)
        return Finding("database", "login", "failure", text, remedy)
    if answer.status == 404:
        keys = "database" if influx.version != 2 else "bucket, org"
        command = door.remedy.partition(": ")[2]
        remedy = said("correct [influxdb] {keys}, or create it: {command}", keys=keys, command=command)
        text = said("there is no such database: {why}", why=why)
        return Finding("database", "test point", "failure", text, remedy)
    if "retention" in answer.text:
        remedy = said("the clock here is wrong, or the retention policy very short")
        text = said("the point is too old for it: {why}", why=why)
        return Finding("database", "test point", "failure", text, remedy)
    return Finding("database", "test point", "failure", why, said("look into the database's log"))


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
    got = one_line(untold(answer.data[:300].decode("utf-8", "replace"), password, token, who), 120)
    if answer.status == 200:
        if value in _numbers(answer.data):
            return Finding("database", "test point", "ok", said("written and read back"))
        if influx.version != 1:
            text = said(
                "written and confirmed; InfluxQL does not find it, and dashboards that use it will not"
            )
            remedy = said("map the bucket: influx v1 dbrp create --db NAME --rp autogen --bucket-id …")
            return Finding("database", "test point", "warning", text, remedy)
        text = said("written and confirmed, but it is not there: {answer}", answer=got)
        remedy = said("does the url lead to the database that keeps the points (a proxy, a relay)?")
        return Finding("database", "test point", "failure", text, remedy)
    status = answer.status
    text = said("written and confirmed; not read back ({status}), which a station need not", status=status)
    return Finding("database", "test point", "ok", text)


def _numbers(body: bytes) -> set[object]:
    """Every value of an InfluxQL answer."""
    try:
        results = json.loads(body).get("results", [])
        return {v for r in results for s in r.get("series", []) for row in s.get("values", []) for v in row}
    except (ValueError, AttributeError, TypeError):
        return set()
