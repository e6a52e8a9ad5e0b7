"""Somebody who listens to a broker, with paho, for tests."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

READY_WITHIN_S = 30.0


@dataclass
class Got:
    """A message as a subscriber received it."""

    topic: str
    payload: bytes
    retained: bool

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Subscriber:
    """A second, real client (paho, in its own thread) that keeps what arrives. Comes back by itself after an
    outage.
    """

    def __init__(
        self,
        port: int,
        topic: str = "#",
        *,
        username: str | None = None,
        password: str | None = None,
        ca: Path | None = None,
        qos: int = 1,
    ) -> None:
        self.got: list[Got] = []
        self._topic = topic
        self._subscribed = threading.Event()
        self._changed = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self._client.reconnect_delay_set(0.05, 0.2)
        if username:
            self._client.username_pw_set(username, password)
        if ca:
            self._client.tls_set(str(ca))
        self._client.on_connect = lambda client, *_: client.subscribe(self._topic, qos)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("localhost", port)
        self._client.loop_start()
        assert self._subscribed.wait(READY_WITHIN_S)

    def wait(self, what: str, condition: Callable[[list[Got]], Any], within_s: float = READY_WITHIN_S) -> Any:
        """Block until the condition on everything received so far gives something true, and give that."""
        with self._changed:
            deadline_s = time.monotonic() + within_s
            while not (found := condition(self.got)):
                left_s = deadline_s - time.monotonic()
                last = [(g.topic, g.payload[:80]) for g in self.got[-5:]]
                assert left_s > 0, f"{what}: not within {within_s:g} s; got {last}"
                self._changed.wait(left_s)
            return found

    def seqs(self, kind: str = "reading") -> list[int]:
        return [g.json["seq"] for g in list(self.got) if g.topic.split("/")[3] == kind]

    def again(self) -> None:
        """Wait until subscribed anew: after the broker was away."""
        assert self._subscribed.wait(READY_WITHIN_S)

    def expect_outage(self) -> None:
        self._subscribed.clear()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.got.append(Got(message.topic, message.payload, message.retain))
            self._changed.notify_all()
