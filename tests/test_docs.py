"""Documents that cannot lie: what the README must name is there, and what is named exists."""

from __future__ import annotations

import argparse
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from gateway import cli

ROOT = Path(__file__).parent.parent
LONGEST = 420
"""Lines of a source file: it is read in one sitting."""


def tracked() -> list[Path]:
    """The files of the repository, or of an unpacked archive of it."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    names = done.stdout.split("\0") if done.returncode == 0 else []
    if not names:
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file() and ".venv" not in p.parts]
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def verbs() -> dict[str, argparse.ArgumentParser]:
    [sub] = [a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(sub.choices)


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_is_in_the_readme(verb: str) -> None:
    assert re.search(rf"\bsuuaba {verb}\b", read("README.md")), f"README.md does not show: suuaba {verb}"


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    out = capsys.readouterr().out
    assert f"suuaba {verb}" in out


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    shown = set(re.findall(r"\bmake ([a-z]+)", read("README.md")))
    assert {"demo", "test"} <= shown <= targets


def documents() -> list[Path]:
    return [file for file in tracked() if file.suffix == ".md"]


def links() -> list[tuple[Path, str]]:
    """Every link to a file, with the document it stands in."""
    return [
        (file, target)
        for file in documents()
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", file.read_text(encoding="utf-8"))
        if "://" not in target and not target.startswith("mailto:")
    ]


def test_every_link_between_documents_leads_somewhere() -> None:
    assert [f"{f.relative_to(ROOT)}: {to}" for f, to in links() if not (f.parent / to).exists()] == []


def test_every_document_is_found_from_another() -> None:
    """Each file in docs/ that is read by people, and each README but the first, is linked from somewhere."""
    linked = {(file.parent / target).resolve() for file, target in links()}
    wanted = [
        f for f in documents() if f.parent == ROOT / "docs" or (f.name == "README.md" and f.parent != ROOT)
    ]
    missing = [str(f.relative_to(ROOT)) for f in wanted if f not in linked and f.parent not in linked]
    assert missing == []


def test_nothing_names_the_workshop() -> None:
    """The repository stands by itself: no path of the place where it was written."""
    words = ("/wo" + "rk/", "../sha" + "red", "/opt/wh" + "eels")
    found = []
    for file in tracked():
        content = file.read_bytes()
        if b"\0" not in content[:4096]:
            text = content.decode("utf-8", "replace")
            found += [f"{file.relative_to(ROOT)}: {word}" for word in words if word in text]
    assert found == []


def test_whoever_silences_a_tool_says_why() -> None:
    """Behind each noqa and type: ignore stand some words."""
    silenced = re.compile(r"# (?:ruff: )?no" + r"qa(?:: [A-Z0-9, ]+)?|# type: ig" + r"nore(?:\[[\w, -]+\])?")
    bare = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in tracked()
        if file.suffix == ".py"
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if (found := list(silenced.finditer(line))) and not re.search(r"[a-z]{2}", line[found[-1].end() :])
    ]
    assert bare == []


def test_no_file_is_too_long_to_read() -> None:
    long = [
        f"{file.relative_to(ROOT)}: {lines} lines"
        for file in tracked()
        if file.suffix == ".py" and file.relative_to(ROOT).parts[0] in ("gateway", "drivers", "alerts")
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > LONGEST
    ]
    assert long == []


def test_the_changelog_has_this_version() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    entry = re.search(rf"^## \[?{re.escape(version)}\b.*\n(?:\s*\n)*(.+)", read("CHANGELOG.md"), re.MULTILINE)
    assert entry, f"CHANGELOG.md has no entry that begins with: ## {version}"


def test_what_is_installed_is_pinned() -> None:
    """Every dependency that pyproject.toml bounds has its exact version in constraints.txt."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    pinned = {
        line.partition("==")[0].lower() for line in read("constraints.txt").splitlines() if "==" in line
    }
    names = [re.split(r"[<>=\[; ]", requirement)[0].lower() for requirement in wanted]
    assert [name for name in names if name not in pinned] == []
    assert not [line for line in read("constraints.txt").splitlines() if "@" in line or "://" in line]


def test_shell_scripts_are_clean() -> None:
    folder = ROOT / "deploy"
    scripts = [*folder.glob("*.sh"), *folder.glob("systemd/*.sh"), ROOT / ".ci/setup", ROOT / ".ci/run"]
    done = subprocess.run(["shellcheck", *map(str, scripts)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
