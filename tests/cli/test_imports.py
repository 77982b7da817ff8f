"""What is typed most starts fast: what --help and status import is counted here, by module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import environ, record

HEAVY = {"yaml", "pydantic", "jinja2", "pathspec", "shtab", "torch", "transformers", "deepspeed", "numpy", "asyncio"}


def imported(*arguments: str) -> set[str]:
    """Names of all modules that a command line loads."""
    code = (
        "import sys; from orchestrator.cli import main; code = main(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environ(), timeout=60, check=True
    )
    return set(done.stderr.splitlines()[-1].split())


def test_help_imports_argparse_and_no_more() -> None:
    loaded = imported("--help")
    own = {name for name in loaded if name.startswith("orchestrator")}
    assert own == {
        "orchestrator",
        "orchestrator.cli",
        "orchestrator.cli.parser",
        "orchestrator.cli.surface",
        "orchestrator.errors",
    }
    assert "argparse" in loaded
    assert not loaded & (HEAVY | {"dataclasses", "inspect", "json", "sqlite3", "pathlib", "shutil", "subprocess"})


@pytest.mark.parametrize("arguments", [(), ("--json",), ("tiny", "--json"), ("tiny",)])
def test_status_imports_the_standard_library_only(orch_home: Path, arguments: tuple[str, ...]) -> None:
    record(orch_home, "tiny").close()
    loaded = imported("status", *arguments)
    outside = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"orchestrator", "__main__"}
    assert {name for name in outside if not name.startswith(("_", "sitecustomize", "distutils"))} == set()
    assert not loaded & (HEAVY | {"subprocess", "difflib", "logging", "tempfile", "concurrent", "multiprocessing"})
    assert not loaded & {"dataclasses", "inspect"}  # they take as long to import as all the rest of it
    own = {name.split(".")[1] for name in loaded if name.startswith("orchestrator.")}
    assert own <= {"cli", "errors", "job", "store", "system", "views"}
    assert {name for name in loaded if name.startswith("orchestrator.store.")} == {
        "orchestrator.store.database",
        "orchestrator.store.mounts",
        "orchestrator.store.reader",
    }
