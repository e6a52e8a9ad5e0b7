"""A fleet of simulated stations for the collector: what they publish is written here by hand (json, not our
encoder), with paho, at least once, as stations do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

BEGAN_S = 60.0


def reading(station: str, seq: int, at_ms: int, quantities: int = 4) -> tuple[str, bytes]:
    """Topic and payload of reading number `seq`; its values follow from the number."""
    second, ms = divmod(at_ms, 1000)
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + f".{ms:03}Z"
    values = {
        f"q{i}": {"raw": seq + i / 8, "value": seq + i / 8 + 0.5, "unit": "mg/L", "flag": 1}
        for i in range(quantities)
    }
    message = {
        "station": station, "seq": seq, "time": when, "sensor": "s1", "model": "m", "medium": "water",
        "values": values, "calibration": 0, "clock": "synced",
    }  # fmt: skip
    return f"suuaba/1/{station}/reading/s1", json.dumps(message).encode()


def average(station: str, seq: int, end_ms: int, quantities: int = 4) -> tuple[str, bytes]:
    """Topic and payload of average number `seq`, over the minute before `end_ms`."""
    start, end = (
        time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(ms // 1000)) for ms in (end_ms - 60_000, end_ms)
    )
    value = {
        "mean": seq + 0.5,
        "min": seq + 0.0,
        "max": seq + 1.0,
        "n": 6,
        "of": 6,
        "unit": "mg/L",
        "flag": 1,
    }
    message = {
        "station": station, "seq": seq, "start": start, "end": end, "length_s": 60, "sensor": "s1",
        "model": "m", "medium": "water", "values": {f"q{i}": value for i in range(quantities)},
        "revision": 0, "clock": "synced",
    }  # fmt: skip
    return f"suuaba/1/{station}/average/s1", json.dumps(message).encode()


def status(station: str, records: int) -> tuple[str, bytes]:
    """A retained status that says: of the numbers up to `records` all were handed over."""
    health = {"sinks": {"mqtt": {"sent": [0, records, records], "backlog": 0}}, "clock": {"synced": True}}
    message = {"state": "online", "station": station, "time": "2026-11-23T10:00:00.000Z", "health": health}
    return f"suuaba/1/{station}/status", json.dumps(message).encode()


class Fleet:
    """Publishes from a client of its own, in its own thread; `wait` until the broker has taken everything."""

    def __init__(
        self,
        port: int,
        name: str = "fleet",
        again: Callable[[str, int], tuple[str, bytes]] | None = None,
        *,
        user: tuple[str, str] | None = None,
    ) -> None:
        """`again` gives a station's record with that number: what is asked for is sent once more.
        `user`: name and password.
        """
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5, reconnect_on_failure=True
        )
        if user:
            self._client.username_pw_set(*user)
        self._client.reconnect_delay_set(0.05, 0.2)
        self._client.max_inflight_messages_set(200)
        self._client.max_queued_messages_set(0)
        self._taken = threading.Condition()
        self._owed = 0
        self._client.on_publish = self._on_publish
        self.asked: list[tuple[str, list[list[int]]]] = []
        self._again = again
        if again is not None:
            self._client.on_connect = lambda client, *_: client.subscribe("suuaba/1/+/again", 1)
            self._client.on_message = self._on_message
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        with self._taken:
            self._owed += 1
        self._client.publish(topic, payload, qos=1, retain=retain)

    def wait(self, within_s: float = 60.0) -> None:
        """Until the broker has acknowledged everything."""
        with self._taken:
            assert self._taken.wait_for(lambda: self._owed == 0, within_s), f"{self._owed} not taken"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        station, numbers = message.topic.split("/")[2], json.loads(message.payload)["numbers"]
        self.asked.append((station, numbers))
        assert self._again is not None
        for first, last in numbers:
            for seq in range(first, last + 1):
                topic, payload = self._again(station, seq)
                self.publish(topic.replace(f"{station}/", f"{station}/backfill/"), payload)

    def _on_publish(self, *_: Any) -> None:
        with self._taken:
            self._owed -= 1
            self._taken.notify_all()
