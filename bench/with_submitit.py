"""submitit in one process; what it prints are seconds. It runs in the interpreter of build/peers.

python bench/with_submitit.py one FOLDER              a script that submits one function
python bench/with_submitit.py array|loop FOLDER N     N functions, as one job array or one after another
python bench/with_submitit.py status FOLDER           ask each of those jobs for its state
python bench/with_submitit.py watch FOLDER SECONDS    ask each of them every second whether it is done
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import submitit


def submit(folder: str, count: int, *, array: bool) -> float:
    started = time.perf_counter()
    executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
    executor.update_parameters(slurm_partition="low", timeout_min=60, slurm_gres="gpu:1")
    jobs = executor.map_array(abs, range(count)) if array else [executor.submit(abs, one) for one in range(count)]
    took = time.perf_counter() - started
    Path(folder, "jobs.json").write_text(json.dumps([job.job_id for job in jobs]))
    return took


def submitted(folder: str) -> list[Any]:
    return [submitit.SlurmJob(folder=folder, job_id=job) for job in json.loads(Path(folder, "jobs.json").read_text())]


def status(jobs: list[Any]) -> float:
    started = time.perf_counter()
    for job in jobs:
        _ = job.state
    return time.perf_counter() - started


def watch(jobs: list[Any], seconds: float) -> float:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for job in jobs:
            job.done()
        time.sleep(1)  # what Job.wait does between two looks
    return seconds


def main(what: str, folder: str, number: int = 1) -> float:
    if what == "status":
        return status(submitted(folder))
    if what == "watch":
        return watch(submitted(folder), number)
    return submit(folder, number, array=what == "array")


if __name__ == "__main__":
    logging.disable()
    print(json.dumps(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))))
