"""What puts uPlot into the package: takes only what is pinned, and says it when there is no network."""

from __future__ import annotations

import base64
import hashlib
import http.server
import importlib.util
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

Registry = tuple[str, bytes, list[str]]
FILE = Path(__file__).parent.parent / "deploy" / "build_hook.py"


@pytest.fixture(scope="module")
def hook() -> Any:
    spec = importlib.util.spec_from_file_location("build_hook", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def archive(hook: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        for name in [*hook.FILES, "../evil.js", "/evil.js"]:
            info = tarfile.TarInfo(name)
            info.size = 5
            made.addfile(info, io.BytesIO(b"hello"))
    return out.getvalue()


def integrity(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


@pytest.fixture
def registry(hook: Any) -> Iterator[tuple[str, bytes, list[str]]]:
    content, asked = archive(hook), []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", content, asked
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_what_is_pinned_is_taken_once(
    hook: Any, tmp_path: Path, registry: tuple[str, bytes, list[str]]
) -> None:
    address, content, asked = registry
    assert hook.provide(tmp_path / "vendor", address, integrity(content)) == ""
    assert asked == [f"/uplot/-/uplot-{hook.VERSION}.tgz"]
    assert sorted(p.name for p in (tmp_path / "vendor").iterdir()) == sorted(
        [*hook.FILES.values(), "uPlot.integrity.txt"]
    )
    assert hook.provide(tmp_path / "vendor", address, integrity(content)) == ""
    assert len(asked) == 1


def test_what_is_not_pinned_is_refused(
    hook: Any, tmp_path: Path, registry: tuple[str, bytes, list[str]]
) -> None:
    with pytest.raises(hook.Refused, match="nothing was taken"):
        hook.provide(tmp_path / "vendor", registry[0])
    assert not (tmp_path / "vendor").exists()


def test_without_a_network_the_build_goes_on_and_says_so(hook: Any, tmp_path: Path) -> None:
    said = hook.provide(tmp_path / "vendor", "http://127.0.0.1:9")
    assert "simple charts" in said
    assert "build_hook.py" in said
    assert "no registry" in hook.provide(tmp_path / "vendor", "file:///etc")
