"""The session alone, in a process without torch: signals, intervals, commits and the fence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from orchestrator.job.checkpoints.generations import write_claim
from orchestrator.job.checkpoints.verify import verify
from orchestrator.job.protocol.files import generation_dir
from orchestrator.job.protocol.records import Claim
from orchestrator.job.training.shares import deal
from tests.job.training.harness import ROOT

BEGIN = """
import os, signal, sys, time
from pathlib import Path
from orchestrator.training import Session
session = Session.start()
def save(step):
    directory = Path(session.checkpoint_dir) / f"checkpoint-{step}"
    (directory / "inner").mkdir(parents=True)
    (directory / "inner" / "weights").write_bytes(b"w" * step)
    session.commit(str(directory), step)
"""


def claim(root: Path, generation: int) -> None:
    assert write_claim(root, Claim(generation, "test", "0123456789ab", 1, "start", 1, "127.0.0.1", 0, time.time()))


def environment(tmp_path: Path, **job: object) -> dict[str, str]:
    """One rank of generation 1."""
    root, bundle = tmp_path / "root", tmp_path / "bundle"
    bundle.mkdir()
    least = {"format": 1, "name": "test", "run_id": "0123456789ab", "nodes": 1, "ranks_per_node": 1}
    least |= {"checkpoint_dir": "root", "max_failures": 1}
    (bundle / "job.json").write_text(json.dumps({**least, **job}))
    claim(root, 1)
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "ORCH_RUN": "test",
        "ORCH_RUN_ID": "0123456789ab",
        "ORCH_ATTEMPT": "1",
        "ORCH_GENERATION": "1",
        "ORCH_GENERATION_DIR": str(generation_dir(root, 1)),
        "ORCH_CHECKPOINT_DIR": str(generation_dir(root, 1) / "checkpoints"),
        "ORCH_BUNDLE": str(bundle),
    }


def run(env: dict[str, str], script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BEGIN + script]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_signal_is_answered_at_the_next_step_and_leaving_ends_the_process(tmp_path: Path) -> None:
    done = run(
        environment(tmp_path),
        """
assert session.step(1, 9) is False
os.kill(os.getpid(), signal.SIGTERM)
assert session.step(2, 9) is True
save(2)
session.stopped(2)
sys.exit("a stopped session went on")
""",
    )
    assert done.returncode == 0, done.stderr
    generation = generation_dir(tmp_path / "root", 1)
    assert json.loads((generation / "stopped.json").read_text())["step"] == 2
    assert json.loads((generation / "ranks" / "rank-0.session").read_text())["rank"] == 0
    assert not (generation / "ranks" / "rank-0.done.json").exists()
    verdict = verify(generation / "checkpoints" / "checkpoint-2")
    assert (verdict.proven, verdict.basis, verdict.step) == (True, "manifest", 2)


def test_torch_is_not_imported_for_a_session(tmp_path: Path) -> None:
    done = run(environment(tmp_path), 'session.step(1)\nsave(1)\nassert "torch" not in sys.modules')
    assert done.returncode == 0, done.stderr


def test_a_save_is_due_every_so_many_steps(tmp_path: Path) -> None:
    done = run(
        environment(tmp_path, every_steps=3), "for n in range(1, 8): session.step(n); print(n, session.save_due)"
    )
    assert [line for line in done.stdout.splitlines() if line.endswith("True")] == ["3 True", "6 True"]


def test_a_save_is_due_when_its_time_has_come_and_then_not_at_once_again(tmp_path: Path) -> None:
    done = run(
        environment(tmp_path, every_seconds=0.3),
        """
session.step(1)
assert not session.save_due
time.sleep(0.4)
session.step(2)
assert session.save_due
save(2)
session.step(3)
assert not session.save_due
""",
    )
    assert done.returncode == 0, done.stderr


def test_commits_beyond_keep_are_pruned(tmp_path: Path) -> None:
    done = run(environment(tmp_path), "save(1)\nsave(2)\nsave(3)")
    assert done.returncode == 0, done.stderr
    left = (generation_dir(tmp_path / "root", 1) / "checkpoints").iterdir()
    assert [path.name for path in left] == ["checkpoint-3"]


def test_a_session_of_an_older_generation_commits_nothing(tmp_path: Path) -> None:
    env = environment(tmp_path)
    claim(tmp_path / "root", 2)
    done = run(env, "save(1)")
    assert done.returncode == 1
    assert "Generation 2 of run test has taken over from generation 1" in done.stderr
    assert not list((tmp_path / "root").rglob("orch-commit.json"))


def test_done_attests_and_ends_the_process(tmp_path: Path) -> None:
    done = run(environment(tmp_path), "session.done(7)\nsys.exit('a finished session went on')")
    assert done.returncode == 0, done.stderr
    attested = generation_dir(tmp_path / "root", 1) / "ranks" / "rank-0.done.json"
    assert json.loads(attested.read_text()) == {"rank": 0, "step": 7}


def test_metrics_keep_every_digit_of_the_loss(tmp_path: Path) -> None:
    loss = 0.1 + 0.2
    done = run(
        environment(tmp_path), f"session.step(1, 2, loss={loss!r}, tokens=10)\nsession.step(2, 2, loss=float('nan'))"
    )
    assert done.returncode == 0, done.stderr
    lines = (generation_dir(tmp_path / "root", 1) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == [loss, None]


def test_outside_orch_a_session_does_nothing(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("ORCH_")}
    script = """
assert not session.active and session.resume_from is None and session.resume_step == 0
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
assert session.step(1, 2, loss=1.0) is False and not session.save_due
session.commit(".", 1)
session.stopped(1)
session.done(1)
print("went on")
"""
    done = run({**env, "PYTHONPATH": str(ROOT), "PWD": str(tmp_path)}, f"os.chdir({str(tmp_path)!r})\n{script}")
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr
    assert not list(tmp_path.iterdir())


def test_each_rank_reads_back_its_own_files_and_an_even_share_of_the_rest() -> None:
    files = [
        ("a.bin", 70),
        ("b.bin", 40),
        ("c.bin", 30),
        ("global_step5/zero_pp_rank_1_mp_rank_00_optim_states.pt", 9),
        ("rng_state_0.pth", 1),
        ("rng_state_7.pth", 1),
    ]
    assert deal(files, 2) == [
        ["rng_state_0.pth", "a.bin", "rng_state_7.pth"],
        ["global_step5/zero_pp_rank_1_mp_rank_00_optim_states.pt", "b.bin", "c.bin"],
    ]
