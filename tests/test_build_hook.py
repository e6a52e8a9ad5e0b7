"""What puts uPlot into the package: takes only what is pinned, and says it when it cannot be fetched."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parent.parent / "deploy" / "build_hook.py"
CONTENT = {"uPlot.iife.min.js": b"var uPlot", "uPlot.min.css": b".uplot {}"}


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Freshly read, with other files pinned; pip finds what lies in tmp_path/wheels, and nothing else."""
    spec = importlib.util.spec_from_file_location("build_hook", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pinned = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    monkeypatch.setattr(module, "PINNED", pinned)
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return module


def wheel(folder: Path, **other: bytes) -> None:
    with zipfile.ZipFile(folder / "youplot-1.0.0-py3-none-any.whl", "w") as made:
        for name, content in {**CONTENT, **other}.items():
            made.writestr(f"youplot/vendor/{name.lower()}", content)
        about = "youplot-1.0.0.dist-info"
        made.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: youplot\nVersion: 1.0.0\n")
        made.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{about}/RECORD", "")


def npm(folder: Path) -> None:
    """Something that packs as npm does."""
    (folder / "package/dist").mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / "package/dist" / name).write_bytes(content)
    with tarfile.open(folder / "made.tgz", "w:gz") as made:
        made.add(folder / "package", "package")
    (folder / "bin").mkdir()
    program = folder / "bin/npm"
    program.write_text(f'#!/bin/sh\n/bin/echo "$@" > {folder}/asked\n/bin/cp {folder}/made.tgz "$4"\n')
    program.chmod(0o755)


def test_what_is_pinned_is_taken_once(hook: Any, tmp_path: Path) -> None:
    wheel(tmp_path / "wheels")
    assert hook.provide(tmp_path / "vendor") == ""
    names = {p.name for p in (tmp_path / "vendor").iterdir()}
    assert names == {*CONTENT, "uPlot.LICENSE.txt", "uPlot.integrity.txt"}
    assert {name: (tmp_path / "vendor" / name).read_bytes() for name in CONTENT} == CONTENT
    next((tmp_path / "wheels").iterdir()).unlink()
    assert hook.provide(tmp_path / "vendor") == ""


def test_what_is_not_pinned_is_refused(hook: Any, tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", **{"uPlot.min.css": b"evil"})
    with pytest.raises(hook.Refused, match="nothing was taken"):
        hook.provide(tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()


def test_where_pip_has_nothing_npm_is_asked(hook: Any, tmp_path: Path) -> None:
    npm(tmp_path)
    assert hook.provide(tmp_path / "vendor") == ""
    assert (tmp_path / "vendor/uPlot.iife.min.js").read_bytes() == CONTENT["uPlot.iife.min.js"]
    assert (tmp_path / "asked").read_text().split()[-1] == f"uplot@{hook.VERSION}"


def test_without_either_the_build_goes_on_and_says_so(
    hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for python in (sys.executable, str(tmp_path / "none")):
        monkeypatch.setattr(sys, "executable", python)
        said = hook.provide(tmp_path / "vendor")
        assert "simple charts" in said
        assert "there is no npm" in said
        assert "\n" not in said


def test_no_place_on_the_net_is_named() -> None:
    """Where packages come from is for whoever builds to say."""
    assert re.findall(r"\w+://", FILE.read_text()) == []
