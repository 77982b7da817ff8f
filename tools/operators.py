"""Compile the DeepSpeed operators that a CPU needs, before the first run waits for them.

Usage: python tools/operators.py [BUILDER...]     (default: ShareMemCommBuilder, which every CPU run loads)

The result lies in torch's extension cache ($TORCH_EXTENSIONS_DIR, else the user's), where every later run finds it. A
lock file that a killed build left there blocks the next one for ever; it is removed when no process holds it open.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

RECORD = Path(sys.prefix) / ".operators.json"
LOG = Path(sys.prefix) / ".operators.log"
DEFAULT = ["ShareMemCommBuilder"]
# What ranks import. Python keeps it compiled, which takes 12 s; a cluster's jobs may be a user's who cannot write here.
MODULES = ("orchestrator.job.training.trainer", "transformers.models.llama.modeling_llama", "torch.distributed.run")


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--build"]:
        return build(arguments[1])
    if " " in sys.prefix:  # torch.utils.cpp_extension quotes the directories of headers, and not those of libraries
        print(f"PyTorch cannot compile for an environment whose path has a space: {sys.prefix}", file=sys.stderr)
        print("What trains needs a clone at a path without one; make test-fast runs the other tests.", file=sys.stderr)
        return 1
    for builder in arguments or DEFAULT:
        if not known(builder) and not compile_with_progress(builder):
            return 1
    return 0


def known(builder: str) -> bool:
    """Whether an earlier call compiled it and the library is still there."""
    library = read_record().get(key(builder))
    return library is not None and Path(library).exists()


def key(builder: str) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("deepspeed", "torch"))
    return f"{builder} of {versions} in {os.environ.get('TORCH_EXTENSIONS_DIR', 'the default cache')}"


def read_record() -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(RECORD.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return found


def compile_with_progress(builder: str) -> bool:
    """Run the build in a process of its own and say how long it takes; its output goes to the log."""
    print(f"Compiling a DeepSpeed operator ({builder}), once: about half a minute ", end="", flush=True)
    started = time.monotonic()
    with LOG.open("wb") as log:
        process = subprocess.Popen([sys.executable, __file__, "--build", builder], stdout=log, stderr=log)
        while not ended(process, seconds=2):
            print(".", end="", flush=True)
    print(f" {time.monotonic() - started:.0f} s")
    if process.returncode:
        print("".join(LOG.read_text(errors="replace").splitlines(keepends=True)[-15:]), file=sys.stderr)
        print(f"{builder} did not compile; all that was said is in {LOG}", file=sys.stderr)
    return process.returncode == 0


def ended(process: subprocess.Popen[bytes], *, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def build(builder: str) -> int:
    """Compile and load one operator in this process, import the modules, and record where the library is."""
    from deepspeed.accelerator import get_accelerator
    from torch.utils import cpp_extension

    operator = get_accelerator().create_op_builder(builder)
    directory = Path(cpp_extension._get_build_directory(operator.name, verbose=False))  # noqa: SLF001 - no public name
    remove_stale_lock(directory / "lock")
    operator.load()
    for module in MODULES:
        import_module(module)
    RECORD.write_text(json.dumps(read_record() | {key(builder): str(directory / f"{operator.name}.so")}))
    return 0


def remove_stale_lock(lock: Path) -> None:
    """Remove a lock whose holder is gone. A holder keeps it open for as long as it builds."""
    if lock.exists() and not held_open(lock):
        print(f"removed {lock}: left by a build that was killed")
        lock.unlink(missing_ok=True)


def held_open(path: Path) -> bool:
    """Whether a process of this user and machine has the file open."""
    wanted = str(path.resolve())
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(entry.readlink()) == wanted for entry in (process / "fd").iterdir()):
                return True
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
