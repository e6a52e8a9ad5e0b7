"""The page's interface under a fuzzer: schemathesis makes requests of its OpenAPI description, right ones
and wrong
ones, signed in. No answer may be a 5xx, and every refusal is one line with a hint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.pages import Client, StationWithPage, station_with_page

LEFT_OUT = ("/api/stream", "/api/logout", "/api/openapi.json")
"""One never ends, one would end the fuzzing, and one is where the fuzzer has all this from."""
SETTINGS = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
    database=None,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationWithPage]:
    with station_with_page(tmp_path_factory.mktemp("fuzz")) as found:
        found.start()
        yield found


@pytest.fixture(scope="module")
def signed_in(place: StationWithPage) -> Client:
    client = place.client()
    client.sign_in()
    return client


@pytest.fixture(scope="module")
def api(place: StationWithPage) -> Any:
    found = schemathesis.openapi.from_url(f"{place.url}/api/openapi.json")
    for path in LEFT_OUT:
        found = found.exclude(path=path)
    return found


def test_no_request_is_too_odd(place: StationWithPage, signed_in: Client, api: Any) -> None:
    asked: set[str] = set()
    statuses: Counter[int] = Counter()

    def check(case: Any) -> None:
        headers = {"X-CSRF-Token": signed_in.csrf, "Cookie": signed_in.cookie}
        answer = case.call(headers=headers, timeout=30)
        asked.add(case.path)
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, (
            case.method,
            case.formatted_path,
            case.query,
            case.body,
            answer.text,
        )
        if answer.status_code >= 400 and "application/json" in answer.headers.get("Content-Type", ""):
            said = answer.json()
            assert set(said) == {"error", "hint"}
            assert "\n" not in said["error"]
            assert "Traceback" not in answer.text

    for operation in api.get_all_operations():
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                strategy = operation.ok().as_strategy(generation_mode=mode)
                _many(strategy, check)
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE  # where there is nothing to get wrong
    described = set(place.client().get("/api/openapi.json").json["paths"])
    assert asked == described - set(LEFT_OUT)
    assert {200, 400, 404} <= set(statuses)
    assert place.client().get("/healthz").status == 200
    assert "Traceback" not in place.tail()


def _many(strategy: Any, check: Callable[[Any], None]) -> None:
    @SETTINGS
    @given(case=strategy)
    def each(case: Any) -> None:
        check(case)

    each()
