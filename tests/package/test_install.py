"""A fresh machine is told, or given, what it lacks; the lock pins what pyproject.toml asks for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.package.conftest import ROOT, UV

SCRIPT = ROOT / "tools" / "system-packages.sh"
MANAGERS = ("apt-get", "dnf", "yum", "zypper", "apk", "pacman")


def pins() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [Requirement(line.removesuffix("\\")) for line in lines if re.match(r"[a-z]", line)]


def test_the_lock_pins_everything_that_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [
        *project["project"]["dependencies"],
        *(
            text
            for name, extra in project["project"]["optional-dependencies"].items()
            if name != "all"
            for text in extra
        ),
        *project["dependency-groups"]["dev"],
    ]
    pinned: dict[str, list[str]] = {}
    for pin in pins():
        pinned.setdefault(pin.name, []).append(next(iter(pin.specifier)).version)
    for requirement in map(Requirement, asked):
        versions = pinned.get(requirement.name.lower(), [])
        assert versions, f"{requirement.name} is not in requirements.txt: make lock"
        assert all(requirement.specifier.contains(version) for version in versions), (
            f"{requirement} is {versions}: make lock"
        )


def test_the_lock_names_no_address_and_hashes_everything() -> None:
    text = (ROOT / "requirements.txt").read_text()
    assert "://" not in text
    assert all(
        re.search(r"\\\n +--hash=sha256:", part) for part in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
    )


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_lock_installs_into_a_fresh_environment(tmp_path: Path) -> None:
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    lock = str(ROOT / "requirements.txt")
    subprocess.run([*UV, "pip", "sync", "--quiet", "--require-hashes", "--python", python, lock], check=True)
    subprocess.run([python, "-c", "import deepspeed, torch, transformers, submitit, kubernetes, jinja2"], check=True)


def test_a_missing_compiler_stops_with_the_command_that_installs_it(tmp_path: Path) -> None:
    manager = next((name for name in MANAGERS if shutil.which(name)), None)
    if manager is None:
        pytest.skip("this machine has no package manager that the script knows")
    tools = tmp_path / "bin"  # a machine without a compiler: this one's tools, but for that
    tools.mkdir()
    for name in (manager, "id", "sh"):
        (tools / name).symlink_to(shutil.which(name) or "")
    done = subprocess.run(
        [str(tools / "sh"), str(SCRIPT), sys.executable, "compiler", "--dry-run"],
        env={"PATH": str(tools)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert "compiler" in done.stderr
    assert f"sudo sh -c '{manager}" in done.stderr


@pytest.mark.parametrize("need", ["compiler", "venv"])
def test_a_machine_that_has_everything_is_left_alone(need: str) -> None:
    done = subprocess.run(["sh", str(SCRIPT), sys.executable, need], text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_old_or_missing_python_is_named() -> None:
    done = subprocess.run(["sh", str(SCRIPT), "no-such-python", "venv"], text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert "Python 3.11 or newer is wanted; 'no-such-python' is missing" in done.stderr
