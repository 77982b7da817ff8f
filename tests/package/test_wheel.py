"""The wheel, installed elsewhere, renders and runs without the checkout."""

from __future__ import annotations

import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.package.conftest import ROOT, Orch

JOB = {
    "name": "elsewhere",
    "model": {
        "config": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": 320,
            "max_position_embeddings": 64,
        }
    },
    "data": {"files": "text.txt", "sequence_length": 32},
    "training": {"steps": 4, "global_batch": 2, "precision": "fp32", "seed": 1},
    "deepspeed": {"zero": 1},
    "resources": {"nodes": 2, "gpus_per_node": 1},
    "checkpoint": {"dir": "ckpt", "every": 2},
}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("one two three four five six seven eight nine ten\n" * 200)
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(JOB))
    return path


def test_the_wheel_holds_the_package_its_templates_its_manifests_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    inside = {name.split("/")[0] for name in names}
    assert inside == {"orchestrator", next(name for name in inside if name.endswith(".dist-info"))}
    manifests = {path.name for path in (ROOT / "manifests").iterdir()}
    assert {f"orchestrator/_manifests/{name}" for name in manifests} <= set(names)
    templates = {path.relative_to(ROOT / "templates").as_posix() for path in (ROOT / "templates").rglob("*.j2")}
    assert {f"orchestrator/_templates/{name}" for name in templates} <= set(names)
    assert "orchestrator/py.typed" in names


def test_the_source_distribution_is_enough_to_build_and_test(distributions: Path) -> None:
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "requirements.txt", "Makefile", "LICENSE", "README.md", "tests/conftest.py"}
    assert wanted <= names
    assert any(name.startswith("templates/") for name in names)


def test_help_and_schema_answer(orch: Orch) -> None:
    assert "submit" in orch("--help").stdout
    assert json.loads(orch("schema").stdout)["properties"]["name"]


@pytest.mark.parametrize("kind", ["local", "ssh", "slurm", "kubernetes"])
def test_every_kind_of_cluster_is_rendered(orch: Orch, job: Path, tmp_path: Path, kind: str) -> None:
    orch("render", str(job), "-c", kind, "-o", "out")
    written = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert {"job.json", "ds_config.json", "lib.zip"} <= written


def test_the_training_interpreter_knows_no_orch(training_python: Path, tmp_path: Path) -> None:
    probe = "import importlib.util as u; print(bool(u.find_spec('torch')), bool(u.find_spec('orchestrator')))"
    done = subprocess.run([training_python, "-c", probe], cwd=tmp_path, check=True, text=True, stdout=subprocess.PIPE)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.deepspeed
def test_a_job_runs_where_neither_machine_has_the_checkout(
    orch: Orch, job: Path, tmp_path: Path, training_python: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"clusters": {"local": {"kind": "local", "python": str(training_python)}}}))
    name = orch("submit", str(job), ORCH_CONFIG=str(config)).stdout.strip()
    orch("wait", name, ORCH_CONFIG=str(config))
    status = json.loads(orch("status", name, "--json").stdout)
    assert (status["phase"], status["step"]) == ("succeeded", 4)
    assert list(Path(status["dir"]).glob("ckpt/model/*.safetensors"))
