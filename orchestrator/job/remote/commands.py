"""Commands of a scheduler."""

from __future__ import annotations

import os
import subprocess
import time

from orchestrator.job.protocol.operations.commands import CommandResult, RunCommand

NOT_FOUND = 127  # the status that a shell gives
# Variables by which a user's environment changes what Slurm's commands do and answer. SLURM_CONF is not among them.
_OBEYED = ("SQUEUE_", "SBATCH_", "SCANCEL_", "SACCT_", "SINFO_", "SCONTROL_")
_OBEYED_TOO = frozenset({"SLURM_CLUSTERS", "SLURM_TIME_FORMAT", "SLURM_HINT", "SLURM_EXIT_ERROR"})


def run(request: RunCommand) -> CommandResult:
    began = time.monotonic()
    try:
        done = subprocess.run(
            request.argv,
            stdin=subprocess.DEVNULL,
            env=_environment(),
            capture_output=True,
            timeout=request.timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return _result(began, None, late.stdout or b"", late.stderr or b"")
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        return _result(began, NOT_FOUND, b"", f"{request.argv[0]}: {error.strerror}".encode())
    return _result(began, done.returncode, done.stdout, done.stderr)


def _environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(_OBEYED) and name not in _OBEYED_TOO
    }


def _result(began: float, status: int | None, stdout: bytes, stderr: bytes) -> CommandResult:
    out, err = stdout.decode(errors="backslashreplace"), stderr.decode(errors="backslashreplace")
    return CommandResult(status, out, err, time.monotonic() - began)
