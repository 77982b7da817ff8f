"""Runs scripts as rank 0 of 1 in generations of their own: a process for each, forked from one that has the libraries.

Usage: python instrumented.py DIRECTORY SCRIPT...     each below DIRECTORY/SCRIPT, laid out by `lay_out`
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import runpy
import socket
import sys
import time
import traceback
from pathlib import Path

from orchestrator.job.checkpoints.generations import write_claim
from orchestrator.job.protocol.files import generation_dir
from orchestrator.job.protocol.records import Claim
from orchestrator.job.training import instrument

LIBRARIES = {
    "hf_trainer": "transformers.trainer",
    "deepspeed_tags": "deepspeed",
    "accelerate_auto": "accelerate",
    "lightning_last": "lightning",
    "lightning_fabric": "lightning",
    "ddp_torch_save": "torch",
    "fsdp_dcp": "torch.distributed.checkpoint",
}
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def lay_out(directory: Path, **job: object) -> dict[str, str]:
    """The environment of the only rank of generation 1 of a run in `directory`."""
    root, bundle = directory / "root", directory / "bundle"
    bundle.mkdir(parents=True)
    least = {"format": 1, "name": "test", "run_id": "0123456789ab", "nodes": 1, "ranks_per_node": 1, "keep": 3}
    (bundle / "job.json").write_text(json.dumps({**least, "checkpoint_dir": "root", "max_failures": 1, **job}))
    assert write_claim(root, Claim(1, "test", "0123456789ab", 1, "start", 1, "127.0.0.1", 0, time.time()))
    generation = generation_dir(root, 1)
    for name in ("work", "checkpoints", "ranks"):
        (generation / name).mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        "ORCH_RUN": "test",
        "ORCH_RUN_ID": "0123456789ab",
        "ORCH_ATTEMPT": "1",
        "ORCH_GENERATION": "1",
        "ORCH_GENERATION_DIR": str(generation),
        "ORCH_CHECKPOINT_DIR": str(generation / "checkpoints"),
        "ORCH_BUNDLE": str(bundle),
        **dict.fromkeys(("RANK", "LOCAL_RANK"), "0"),
        **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "1"),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def main() -> int:
    # What is imported before is patched by `install`, as it is when a script imports it.
    for name in sys.argv[2:]:
        importlib.import_module(LIBRARIES[name])
    import torch

    torch.set_num_threads(1)
    directory = Path(sys.argv[1])
    for name in sys.argv[2:]:
        environment = lay_out(directory / name, every_steps=None)
        child = os.fork()
        if child == 0:
            os._exit(run(name, environment, directory / name))
        _, status = os.waitpid(child, 0)
        (directory / name / "status").write_text(str(os.waitstatus_to_exitcode(status)))
    return 0


def run(name: str, environment: dict[str, str], directory: Path) -> int:
    os.environ.update(environment)
    os.chdir(Path(environment["ORCH_GENERATION_DIR"]) / "work")
    faulthandler.dump_traceback_later(100, exit=True)
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    opened: list[str] = []
    try:
        instrument.install(lambda: print("FIRST STEP", flush=True), opened.append)
        sys.argv = [name, "--steps", "6"]
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:  # noqa: BLE001 - told in the log
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
