"""The first answer of the page, with its values inside; and many who listen, or go away: what the station
says of them, and that its buses do not notice.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.web.page import CONNECTIONS
from gateway.web.stream import CLIENTS, OF_ONE_ADDRESS
from tests.pages import Client, StationWithPage, station_with_page
from tests.services import until

AT_ONCE, ALL = 400, 2000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationWithPage]:
    with station_with_page(tmp_path_factory.mktemp("first"), language="ky") as found:
        found.start()
        yield found


def first(client: Client, **headers: str) -> tuple[str, dict[str, Any]]:
    """The page, and what stands in its block of first values."""
    answer = client.get("/", **headers)
    assert answer.headers["Cache-Control"] == "no-store"  # who asks next is somebody else
    text = answer.body.decode()
    found = re.search(r'<script type="application/json" id="first">(.*?)</script>', text, re.S)
    assert found
    return text, json.loads(found[1])


def test_the_page_comes_with_its_first_values(place: StationWithPage) -> None:
    client = place.client()
    place.until(lambda: all(row["values"] for row in client.get("/api/now").json["sensors"]))
    text, said = first(client)
    now, asked = said["now"], client.get("/api/now").json
    assert [row["id"] for row in now["sensors"]] == [row["id"] for row in asked["sensors"]]
    assert all(row["values"] for row in now["sensors"])
    assert set(now) == set(asked)
    assert said["session"]["face"] == "technician"
    assert said["language"] == "ky"
    assert said["texts"]["view.now"] == "Азыр"
    assert '<html lang="ky" data-station="ky">' in text
    assert text.count("<script") == 2  # the block, and the one that is run


def test_the_language_chosen_before_comes_with_it(place: StationWithPage) -> None:
    text, said = first(place.client(), Cookie="language=en")
    assert said["texts"]["view.now"] == "Now"
    assert '<html lang="en" data-station="ky">' in text
    _, said = first(place.client(), Cookie="language=../../etc/passwd")
    assert said["language"] == "ky"


def test_what_is_for_technicians_is_not_in_the_page_of_others(place: StationWithPage) -> None:
    text, said = first(place.client(), X_Forwarded_For="203.0.113.7")
    assert said["session"] == {
        **said["session"],
        "face": "public",
        "signed_in": False,
        "csrf": "",
        "name": "",
    }
    assert all("why" not in row for row in said["now"]["sensors"])
    assert all("by" not in row for row in said["now"]["alarms"])
    assert "views/public.js" in text
    assert "views/now.js" not in text
    signed_in = place.client()
    signed_in.sign_in("Nurgul")
    _, said = first(signed_in, X_Forwarded_For="203.0.113.7")
    assert (said["session"]["name"], said["session"]["csrf"]) == ("Nurgul", signed_in.csrf)


def test_a_page_that_is_closed_is_not_said_to_be_slow(place: StationWithPage) -> None:
    async def look() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(b"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        async with asyncio.timeout(30):
            await reader.readuntil(b"event: reading")
        writer.transport.abort()

    client = place.client()
    for _ in range(2):  # the second wakes the one who would tell of the first
        asyncio.run(look())
        until("the page is let go", lambda: client.get("/api/about").json["pages_open"] == 0)
    assert client.get("/api/events?what=page").json["events"] == []


def test_a_crowd_finds_a_bounded_house_and_no_bus_waits(place: StationWithPage) -> None:
    """Two thousand who want to listen, from forty addresses: so many get in, the others are told or cut."""
    client = place.client()
    before = slots(client)

    async def crowd() -> Counter[str]:
        found: Counter[str] = Counter()
        held = []
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(n: int) -> None:
            async with turn:
                try:
                    async with asyncio.timeout(30):
                        reader, writer = await asyncio.open_connection(
                            "127.0.0.1", place.port, local_addr=(f"127.0.0.{2 + n % 40}", 0)
                        )
                        writer.write(b"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                        line = await reader.readline()
                except (OSError, TimeoutError):
                    found["cut"] += 1
                    return
                found[line.split()[1].decode() if line else "cut"] += 1
                held.append(writer)  # and nobody reads on

        await asyncio.gather(*(one(n) for n in range(ALL)))
        for writer in held:
            writer.transport.abort()
        return found

    found = asyncio.run(crowd())
    assert sum(found.values()) == ALL
    assert OF_ONE_ADDRESS <= found["200"] <= CLIENTS
    assert found["503"] + found["cut"] == ALL - found["200"]
    assert found["200"] + found["503"] < ALL  # more than CONNECTIONS at once are cut
    assert CONNECTIONS < AT_ONCE
    until("the crowd is gone", lambda: client.get("/api/about").json["pages_open"] == 0)
    until("the next readings", lambda: slots(client)["taken"] > before["taken"] + 8)
    after = slots(client)
    missed = (after["expected"] - before["expected"]) - (after["taken"] - before["taken"])
    assert missed <= 0.1 * (after["expected"] - before["expected"]) + 4  # four are being read just now
    assert client.get("/healthz").status == 200


def slots(client: Client) -> dict[str, int]:
    rows = [row["counters"] for row in client.get("/api/instruments").json["instruments"]]
    return {key: sum(row[key] for row in rows) for key in ("expected", "taken")}


def test_the_first_load_is_small(place: StationWithPage) -> None:
    """Over the wire: the page and all that it links, and then the charts' library."""
    client = place.client()
    small = {"Accept_Encoding": "gzip"}
    page = client.get("/", **small)
    assert page.headers["Content-Encoding"] == "gzip"
    links = re.findall(r'(?:href|src)="(/static/[^"]+)"', client.get("/").body.decode())
    assert any("views/now.js" in link for link in links)
    first_load = len(page.body) + sum(len(client.get(link, **small).body) for link in links)
    assert first_load < 75_000
    charts = sum(
        len(client.get(f"/static/vendor/{n}", **small).body) for n in ("uPlot.iife.min.js", "uPlot.min.css")
    )
    assert first_load + charts < 150_000
