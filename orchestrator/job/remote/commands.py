"""Commands of a scheduler."""

from __future__ import annotations

import os
import subprocess
from typing import Any, Mapping

NOT_FOUND = 127  # as a shell says it
SECONDS = 60.0
# Variables by which a user's environment changes what Slurm's commands do and answer. SLURM_CONF is not among them.
_OBEYED = ("SQUEUE_", "SBATCH_", "SCANCEL_", "SACCT_", "SINFO_", "SCONTROL_")
_OBEYED_TOO = frozenset({"SLURM_CLUSTERS", "SLURM_TIME_FORMAT", "SLURM_HINT", "SLURM_EXIT_ERROR"})


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs `argv`; `status` is None when it did not end within `timeout` seconds, which says nothing of what it did.

    `env` is laid over the environment, without what would change the answers of Slurm's commands. Output that is no
    UTF-8 keeps its bytes as escapes.
    """
    try:
        done = subprocess.run(
            request["argv"],
            input=(request.get("input") or "").encode(),
            env={**_environment(), **(request.get("env") or {})},
            cwd=request.get("cwd"),
            capture_output=True,
            timeout=request.get("timeout") or SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return _answer(None, late.stdout or b"", late.stderr or b"")
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        return _answer(NOT_FOUND, b"", f"{request['argv'][0]}: {error.strerror}".encode())
    return _answer(done.returncode, done.stdout, done.stderr)


def _environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(_OBEYED) and name not in _OBEYED_TOO
    }


def _answer(status: int | None, stdout: bytes, stderr: bytes) -> dict[str, Any]:
    text = {"stdout": stdout.decode(errors="backslashreplace"), "stderr": stderr.decode(errors="backslashreplace")}
    return {"status": status, **text}
