"""What the tests of MQTT share: a sink, and somebody who listens to the broker."""

from __future__ import annotations

import contextlib
from typing import Any

from gateway.mqtt import MqttSink
from tests.memory_journal import stamp
from tests.services import Subscriber


def make(station: str, url: str, **more: Any) -> MqttSink:
    return MqttSink(station, url, stamp=stamp, **{"answer_s": 10.0, **more})


@contextlib.contextmanager
def listening(port: int, topic: str = "#", **more: Any) -> Any:
    subscriber = Subscriber(port, topic, **more)
    try:
        yield subscriber
    finally:
        subscriber.close()
