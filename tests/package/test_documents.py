"""What the documents show is what the program does."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.parser import parse
from orchestrator.config import specfile
from orchestrator.model.run import Cause
from tests.package.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^]]*\]\(([^)#:]+)(#[^)]*)?\)")


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text()) if found == language]


def commands(page: Path) -> list[str]:
    """Every `orch` command that a page tells its reader to type."""
    lines = [
        line.removeprefix("$ ").strip()
        for text in blocks(page, "sh") + blocks(page, "console")
        for line in text.splitlines()
    ]
    return [line for line in lines if line.startswith("orch ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_is_one_that_orch_takes(page: Path) -> None:
    for command in commands(page):
        parse(shlex.split(command, comments=True)[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_job_on_a_page_is_valid(page: Path) -> None:
    for text in blocks(page, "yaml"):
        if re.search(r"^name:", text, re.MULTILINE):
            specfile.parse(text.encode(), page.name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_compiles(page: Path) -> None:
    for number, text in enumerate(blocks(page, "python"), 1):
        compile(text, f"{page.name}, block {number}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, _ in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_shows_quickstart_and_test_before_anything_else() -> None:
    first = blocks(ROOT / "README.md", "sh")[0]
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make quickstart", "make test"]


def test_the_page_on_recovery_has_every_cause() -> None:
    page = (ROOT / "docs" / "recovery.md").read_text()
    assert [cause for cause in Cause if cause is not Cause.NONE and f"`{cause}`" not in page] == []


def test_the_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "tools/docs.py", "--check"], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
