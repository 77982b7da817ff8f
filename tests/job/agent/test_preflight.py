"""What a node says of itself before it takes part: on the machine as it is, and on small file systems."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.job.agent import gpus, job, preflight
from orchestrator.job.agent.codes import PREFLIGHT, Ended
from orchestrator.job.protocol.jobfile import JobFile

HOST = os.uname().nodename
CUDA = """from typing import Optional
__version__ = '2.13.0+cu130'
debug = False
cuda: Optional[str] = '13.0'
hip: Optional[str] = None
"""
CPU = CUDA.replace("'13.0'", "None").replace("+cu130", "+cpu")
ROCM = CPU.replace("hip: Optional[str] = None", "hip: Optional[str] = '7.1'").replace("+cpu", "+rocm7.1")


def _job(run_dir: Path, **changes: Any) -> JobFile:
    raw = {
        "format": 1,
        "name": "toy",
        "run_id": "id",
        "nodes": 1,
        "ranks_per_node": 2,
        "checkpoint_dir": "ckpt",
        "max_failures": 1,
        "device": "cpu",
        **changes,
    }
    bundle = run_dir / "bundle"
    bundle.mkdir(exist_ok=True)
    (bundle / "job.json").write_text(json.dumps(raw))
    made = job.load(bundle, run_dir)
    made.root.mkdir(exist_ok=True)
    return made


def _interpreter(place: Path, version: str) -> str:
    """A real virtual environment whose torch says `version`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    packages = next((place / "lib").glob("python*")) / "site-packages" / "torch"
    packages.mkdir()
    (packages / "__init__.py").write_text("raise RuntimeError('the preflight imports no torch')")
    (packages / "version.py").write_text(version)
    return str(place / "bin" / "python")


def _refusal(made: JobFile, environ: dict[str, str]) -> Ended:
    with pytest.raises(Ended) as ended:
        preflight.check(made, environ)
    assert ended.value.code == PREFLIGHT
    assert HOST in ended.value.because, "the node is named"
    return ended.value


@pytest.mark.parametrize(
    ("text", "version", "accelerator"),
    [(CUDA, "2.13.0+cu130", "cuda"), (CPU, "2.13.0+cpu", None), (ROCM, "2.13.0+rocm7.1", "rocm"), ("", "", None)],
)
def test_the_build_of_torch_is_read_from_its_version_file(text: str, version: str, accelerator: str | None) -> None:
    assert gpus.parse_version(text) == gpus.TorchBuild(version, accelerator)


def test_a_cpu_build_of_another_interpreter_runs_on_the_cpu_with_a_warning(tmp_path: Path) -> None:
    made = _job(tmp_path, device="auto", python=_interpreter(tmp_path / "venv", CPU))
    device = preflight.check(made, {})
    assert device.is_cpu
    assert device.warning is not None
    assert "2.13.0+cpu is built for the CPU" in device.warning


def test_device_cpu_is_the_cpu_without_a_word(tmp_path: Path) -> None:
    assert preflight.check(_job(tmp_path, device="cpu"), {}) == preflight.Device("cpu")


def test_a_cuda_build_that_sees_too_few_gpus_fails_and_names_node_and_counts(tmp_path: Path) -> None:
    made = _job(tmp_path, device="auto", python=_interpreter(tmp_path / "venv", CUDA), ranks_per_node=99)
    ended = _refusal(made, {"CUDA_VISIBLE_DEVICES": "-1"})
    assert "99 GPUs are wanted on each node, 0 found (CUDA_VISIBLE_DEVICES is '-1')" in ended.because
    assert "device: cpu" in ended.because


def test_a_cpu_build_where_gpus_are_asked_for_fails(tmp_path: Path) -> None:
    made = _job(tmp_path, device="cuda", python=_interpreter(tmp_path / "venv", CPU))
    assert "the job wants GPUs" in _refusal(made, {}).because


def test_an_interpreter_without_torch_or_none_at_all_fails(tmp_path: Path) -> None:
    bare = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    assert "has no torch" in _refusal(_job(tmp_path, device="auto", python=str(bare / "bin/python")), {}).because
    assert "no interpreter" in _refusal(_job(tmp_path, python="/no/such/python"), {}).because


@pytest.mark.parametrize(
    ("visible", "count"),
    [(None, 8), ("", 0), ("0,1", 2), ("-1", 0), ("0,-1,2", 1), ("GPU-aa,GPU-bb,GPU-cc", 3), ("0,0", 0), ("0,x,2", 1)],
)
def test_cuda_visible_devices_limits_what_is_seen(visible: str | None, count: int) -> None:
    assert gpus.allowed(visible, present=8) == count


def test_too_little_room_is_said_in_bytes(tmp_path: Path) -> None:
    ended = _refusal(_job(tmp_path, need={"disk_bytes": 1 << 60}), {})
    assert ended.cause == "disk_full"
    assert f"{1 << 60:,}" in ended.because
    assert _refusal(_job(tmp_path, need={"shm_bytes": 1 << 60}), {}).cause == "shared_memory"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB at `tmp_path`/ckpt."""
    place = tmp_path / "ckpt"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    mounted = subprocess.run(argv, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_named_as_such(tmp_path: Path, small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        (small_disk / "ballast").write_bytes(b"\0" * (2 << 20))
    ended = _refusal(_job(tmp_path), {})
    assert ended.cause == "disk_full"
    assert str(small_disk) in ended.because


def test_what_the_run_has_written_already_is_part_of_what_it_needs(tmp_path: Path, small_disk: Path) -> None:
    made = _job(tmp_path, need={"disk_bytes": 900_000})
    (small_disk / "generations").mkdir()
    (small_disk / "generations" / "shard.pt").write_bytes(b"\0" * 600_000)
    assert preflight.check(made, {}).is_cpu
    (small_disk / "ballast").write_bytes(b"\0" * 300_000)
    assert _refusal(made, {}).cause == "disk_full"
