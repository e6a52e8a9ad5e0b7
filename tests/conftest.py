"""Fixtures only. What they start is in tests/services.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import journal as journal_module
from gateway import journal_disk, journal_store
from tests.crash.writer import small
from tests.services import InfluxDB, Mosquitto, ScriptedWeb, VictoriaMetrics, running


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A broker shared by all tests: each uses a station name of its own, and nobody kills it."""
    with running(Mosquitto(tmp_path_factory.mktemp("mosquitto"))) as server:
        yield server


@pytest.fixture(scope="session")
def influxdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDB]:
    """InfluxDB 1.6.7, shared by all tests: each uses a database of its own, and nobody kills it."""
    with running(InfluxDB(tmp_path_factory.mktemp("influxdb"))) as server:
        yield server


@pytest.fixture(scope="session")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaMetrics]:
    """VictoriaMetrics, shared by all tests: each uses a station name of its own."""
    with running(VictoriaMetrics(tmp_path_factory.mktemp("victoria"))) as server:
        yield server


@pytest.fixture
def own_mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that the test may kill and start again."""
    with running(Mosquitto(tmp_path / "mosquitto")) as server:
        yield server


@pytest.fixture
def own_influxdb(tmp_path: Path) -> Iterator[InfluxDB]:
    """An InfluxDB that the test may kill and start again."""
    with running(InfluxDB(tmp_path / "influxdb")) as server:
        yield server


@pytest.fixture
def small_journal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As the writer of tests/crash has it; quiet, for each of thousands of starts has something to say."""
    for module in (journal_module, journal_disk, journal_store):
        for name in ("SETTLE_BYTES", "RECENT", "RESERVE", "FORGET_AT_ONCE", "CHECKPOINT_PAGES"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(module, name))  # so that it is put back
    small()
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def web() -> Iterator[ScriptedWeb]:
    """A web server that answers as the test says."""
    server = ScriptedWeb()
    yield server
    server.close()
