"""TorchX in one process; what it prints are seconds. It runs in the interpreter of build/peers.

python bench/with_torchx.py submit FOLDER N          N jobs, one after another
python bench/with_torchx.py status FOLDER            ask once for the status of each of those jobs
python bench/with_torchx.py watch FOLDER SECONDS     wait for each of them as Runner.wait does
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

from torchx import specs
from torchx.runner import get_runner

INTERVAL = 10.0  # seconds between two looks, what Runner.wait takes when it is told nothing else
TINY = specs.Role(name="tiny", image="/tmp", entrypoint="/bin/true", resource=specs.Resource(cpu=1, gpu=1, memMB=100))  # noqa: S108 - nothing is written there


def submit(runner: Any, folder: str, count: int) -> float:
    config = {"partition": "low"}
    started = time.perf_counter()
    handles = [runner.run(specs.AppDef(name="tiny", roles=[TINY]), scheduler="slurm", cfg=config) for _ in range(count)]
    took = time.perf_counter() - started
    Path(folder).mkdir(exist_ok=True)
    Path(folder, "jobs.json").write_text(json.dumps(handles))
    return took


def status(runner: Any, handles: list[str]) -> float:
    started = time.perf_counter()
    for handle in handles:
        runner.status(handle)
    return time.perf_counter() - started


def watch(runner: Any, handles: list[str], seconds: float) -> float:
    end = time.monotonic() + seconds

    def wait(handle: str) -> None:
        while time.monotonic() < end:
            runner.status(handle)
            time.sleep(INTERVAL)

    threads = [threading.Thread(target=wait, args=(handle,)) for handle in handles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds


def main(what: str, folder: str, number: int = 0) -> float:
    with get_runner() as runner:
        if what == "submit":
            return submit(runner, folder, number)
        handles = json.loads(Path(folder, "jobs.json").read_text())
        return watch(runner, handles, number) if what == "watch" else status(runner, handles)


if __name__ == "__main__":
    logging.disable()
    print(json.dumps(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))))
