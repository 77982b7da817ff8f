"""Every example is a job that is read, planned and rendered as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.job.training.harness import ROOT

JOBS = sorted((ROOT / "examples").glob("*/job.yaml"))


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.parent.name)
def test_an_example_renders_for_a_cluster_as_it_stands(tmp_path: Path, job: Path) -> None:
    command = [sys.executable, "-m", "orchestrator", "render", str(job), "-c", "slurm", "-o", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "job.sbatch").is_file()
    assert job.read_text().startswith("# yaml-language-server: $schema=../../docs/job.schema.json\n")
