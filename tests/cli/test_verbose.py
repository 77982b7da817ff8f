"""`orch -v` and the controller's log: what was called, and no secret."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.program import orch
from tests.cli.test_jobs import JOB

IN_ENVIRONMENT, IN_FILE = "hf_notforlogs0123456789", "wandb_notforlogs0123456789"
SLURM = '#!/bin/sh\ncase $0 in *sbatch) echo 4711;; *) echo "slurm 25.05";; esac\n'


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a job and its secrets, and a cluster whose Slurm takes every job and knows none."""
    for name in ("sbatch", "squeue", "sacct", "scontrol", "sinfo", "scancel"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(SLURM)
        program.chmod(0o755)
    (tmp_path / "shared").mkdir()
    (tmp_path / "key").write_text(IN_FILE)
    (tmp_path / "text.txt").write_text("some text\n")
    secrets = {"HF_TOKEN": {"env": "HF_TOKEN"}, "WANDB_API_KEY": {"file": str(tmp_path / "key")}}
    data = {"files": str(tmp_path / "text.txt"), "sequence_length": 64}
    job = {**JOB, "data": data, "checkpoint": {"dir": str(tmp_path / "ckpt"), "every": 10}, "secrets": secrets}
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    profile = {"kind": "slurm", "shared_dir": str(tmp_path / "shared"), "gpu_memory": "80GiB"}
    (tmp_path / "config.yaml").write_text(json.dumps({"controller": "external", "clusters": {"hpc": profile}}))
    monkeypatch.setenv("ORCH_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HF_TOKEN", IN_ENVIRONMENT)
    return tmp_path


def test_calls_are_logged_with_run_cluster_and_duration_and_without_secrets(slurm: Path, orch_home: Path) -> None:
    submitted = orch("-vv", "submit", "job.yaml", "-c", "hpc", cwd=slurm)
    assert (submitted.returncode, submitted.stdout) == (0, "tiny\n"), submitted.stderr
    [sbatch] = [line for line in submitted.stderr.splitlines() if " sbatch " in line]
    assert "DEBUG run=tiny cluster=hpc sbatch --parsable" in sbatch
    assert sbatch.endswith(" ms")
    looked = orch("controller", "--once", "--log-level", "debug", "--log-format", "json")
    lines = [json.loads(line) for line in looked.stderr.splitlines()]
    [squeue] = [line for line in lines if line.get("call", "").startswith("squeue")]
    assert (squeue["level"], squeue["cluster"], squeue["status"]) == ("DEBUG", "hpc", "exit status 0")
    for secret in (IN_ENVIRONMENT, IN_FILE):
        assert secret not in submitted.stderr + looked.stderr


@pytest.mark.parametrize("line", [("-v", "status"), ("status", "-vv"), ("clusters", "check", "-v", "--help")])
def test_verbosity_stands_before_or_after_a_command(line: tuple[str, ...], orch_home: Path) -> None:
    assert orch(*line).returncode == 0
