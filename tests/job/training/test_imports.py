"""How libraries are met when a script imports them, without any of them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.job.training.instrument.imports import Finder
from orchestrator.job.training.instrument.wrapping import UnknownVersion, wrap
from tests.job.training.harness import ROOT
from tests.job.training.instrumented import lay_out


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that nobody has imported yet."""
    name = f"library_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text("def save(path, tag=None):\n    return path\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = list(sys.meta_path)
    yield name
    sys.meta_path[:] = before
    sys.modules.pop(name, None)


def test_a_library_that_was_only_looked_for_is_still_patched_when_it_is_imported(library: str) -> None:
    seen: list[str] = []
    Finder({library: lambda module: seen.append(module.__name__)}).install()
    assert importlib.util.find_spec(library) is not None
    assert seen == []
    module = importlib.import_module(library)
    assert seen == [library]
    assert module.save("here") == "here"
    assert type(module.__spec__.loader).__name__ == "SourceFileLoader"


def test_a_function_that_takes_other_arguments_than_known_is_left_alone(library: str) -> None:
    module = importlib.import_module(library)
    original = module.save
    with pytest.raises(UnknownVersion, match="takes no step"):
        wrap(module, "save", lambda original, *args: None, "path", "step")
    with pytest.raises(UnknownVersion, match="has no load"):
        wrap(module, "load", lambda original, *args: None)
    assert module.save is original


def modules_in_a_rank(tmp_path: Path, *, instrument: bool) -> set[str]:
    """What a script of one line finds imported when the rank's wrapper starts it."""
    env = {**os.environ, **lay_out(tmp_path, command=["python", "train.py"], instrument=instrument)}
    generation = Path(env["ORCH_GENERATION_DIR"])
    (generation / "logs").mkdir()
    (generation / "shown.json").write_text(json.dumps({"checkpoints": [], "resume": None, "code": []}))
    (generation / "work/train.py").write_text("import sys\nopen('modules', 'w').write(' '.join(sys.modules))\n")
    env |= {
        "ORCH_AGENT_PID": str(os.getpid()),
        "ORCH_NODE": "0",
        "ORCH_RUN_DIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "orchestrator.job.agent.rank"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (generation / "logs/rank-0.log").read_text()
    return set((generation / "work/modules").read_text().split())


def test_with_instrument_false_nothing_but_the_wrapper_is_imported_into_a_script(tmp_path: Path) -> None:
    found = modules_in_a_rank(tmp_path, instrument=False)
    assert not [name for name in found if name.startswith("orchestrator.job.training")]
    assert not [finder for finder in found if finder in ("torch", "transformers", "numpy")]


def test_instrumenting_imports_no_library_that_the_script_does_not_import(tmp_path: Path) -> None:
    found = modules_in_a_rank(tmp_path, instrument=True)
    assert "orchestrator.job.training.instrument" in found
    assert not found & {"torch", "transformers", "numpy", "deepspeed", "accelerate", "lightning", "safetensors"}
