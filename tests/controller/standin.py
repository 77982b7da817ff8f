"""A small agent that keeps the on-disk protocol and trains nothing: real processes, locks and records within 0.2 s.

It travels in a bundle as orchestrator/job/agent/__main__.py of its library; the job's `command` says how the run goes.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

from orchestrator.job.checkpoints.claiming import Refused, Request, claim
from orchestrator.job.checkpoints.generations import newest_claim
from orchestrator.job.protocol.files import generation_dir


def main() -> int:
    options = _options()
    lock = os.open(options.slot_lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 81
    if json.loads(os.read(lock, 1000) or b"{}").get("start") == options.start:
        return 81
    os.lseek(lock, 0, os.SEEK_SET)
    os.ftruncate(lock, 0)
    os.write(lock, json.dumps({"pid": os.getpid(), "start": options.start}).encode())
    job = json.loads(Path(options.bundle, "job.json").read_text())
    root = Path(options.run_dir, job["checkpoint_dir"])
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    print("agent", options.node, "of attempt", options.attempt, "token", bool(os.environ.get("MY_TOKEN")), flush=True)
    if options.node == 0:
        return _lead(job, options, root, asked)
    return _follow(options, root, asked)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("bundle", "run-dir", "start", "address", "slot-lock"):
        parser.add_argument(f"--{name}")
    for name in ("node", "attempt", "from-step"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--from-scratch", action="store_true")
    return parser.parse_args()


def _lead(job: dict, options: argparse.Namespace, root: Path, asked: list[int]) -> int:
    root.mkdir(parents=True, exist_ok=True)
    behaviour, *rest = job["command"]
    if behaviour == "stillborn" and options.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    request = Request(
        run=job["name"],
        run_id=job["run_id"],
        attempt=options.attempt,
        start=options.start,
        nodes=job["nodes"],
        address="127.0.0.1",
        port=1,
        max_failures=job["max_failures"],
        from_step=options.from_step,
        from_scratch=options.from_scratch,
    )
    try:
        made = claim(root, request)
    except Refused as refused:
        return 0 if refused.cause == "finished" else 83
    place = generation_dir(root, made.generation)
    if behaviour == "once" and made.generation > 1:
        behaviour = "train"
    steps = job["steps"]
    for step in range(1, steps + 1):
        time.sleep(float(rest[0]) if rest else 0.02)
        _write(place / "beat-0.json", {"count": step})
        _write(place / "progress.json", {"state": "training", "step": step, "steps": steps, "time": time.time()})
        with (place / "metrics.jsonl").open("a") as file:
            row = {"step": step, "loss": 1 / step, "generation": made.generation, "attempt": options.attempt}
            file.write(json.dumps(row) + "\n")
        if asked:
            return _end(place, options, made.generation, "stopped", "asked_to_stop", step)
        if behaviour in {"break", "once"} and step == 3:
            return _end(place, options, made.generation, "failed", "rank_killed", step)
        if behaviour == "mistake" and step == 3:
            return _end(place, options, made.generation, "failed", "user_error", step, retry=False)
        while behaviour == "freeze" and step == 3 and made.generation == 1:
            time.sleep(0.1)
    _write(place / "success.json", {"generation": made.generation, "step": steps, "time": time.time()})
    return _end(place, options, made.generation, "success", "completed", steps)


def _end(
    place: Path, options: argparse.Namespace, generation: int, result: str, cause: str, step: int, *, retry: bool = True
) -> int:
    _write(
        place / "outcome.json",
        {
            "generation": generation,
            "attempt": options.attempt,
            "result": result,
            "cause": cause,
            "because": f"it was told to {result} at step {step}",
            "retry": retry,
            "step": step,
            "first_error": {"rank": 0, "type": "RecordLog", "message": cause} if result == "failed" else None,
            "time": time.time(),
        },
    )
    return {"success": 0, "stopped": 82, "failed": 84}[result]


def _follow(options: argparse.Namespace, root: Path, asked: list[int]) -> int:
    while not asked:
        time.sleep(0.02)
        newest = newest_claim(root)
        mine = newest is not None and newest.start == options.start
        if mine and (generation_dir(root, newest.generation) / "outcome.json").exists():
            return 0
    return 82


def _write(path: Path, value: dict) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
