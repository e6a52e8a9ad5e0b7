"""The embedded MQTT broker (amqtt, MQTT 3.1.1): for the demo, and for a station that is watched on the spot.

It keeps nothing across a restart; the journal does. A station that others depend on has a real broker.
Imported only when the configuration says `url = "embedded"`.
"""

from __future__ import annotations

import asyncio
import logging

from amqtt.broker import Broker
from amqtt.errors import BrokerError

log = logging.getLogger(__name__)

START_WITHIN_S = 10.0


class EmbeddedBroker:
    """A broker in this process, on the loopback only."""

    def __init__(self, port: int = 1883) -> None:
        self.url = f"mqtt://127.0.0.1:{port}"
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)  # what matters the sink says, once
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        self._broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": 50}},
                "plugins": {
                    "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
                },
            }
        )

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        try:
            async with asyncio.timeout(START_WITHIN_S):
                await self._broker.start()
        except BrokerError as e:
            raise OSError(f"the embedded broker cannot listen at {self.url}: {e}") from e
        log.info("embedded broker at %s", self.url)

    async def stop(self) -> None:
        async with asyncio.timeout(START_WITHIN_S):
            await self._broker.shutdown()
