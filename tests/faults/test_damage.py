"""A damaged newest checkpoint: the run goes on from the newest proven one, and its events say why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.lab import Lab

pytestmark = pytest.mark.deepspeed


def _shard(checkpoint: Path) -> Path:
    return next(checkpoint.glob("global_step*/*zero_pp_rank_1_*optim_states.pt"))


def _truncate(checkpoint: Path) -> Path:
    shard = _shard(checkpoint)
    shard.write_bytes(shard.read_bytes()[:1000])
    return shard


def _empty(checkpoint: Path) -> Path:
    shard = _shard(checkpoint)
    shard.write_bytes(b"")
    return shard


def _remove(checkpoint: Path) -> Path:
    shard = _shard(checkpoint)
    shard.unlink()
    return shard


def _flip(checkpoint: Path) -> Path:
    shard = _shard(checkpoint)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    return shard


def _no_random_state(checkpoint: Path) -> Path:
    (checkpoint / "rng_state_1.pth").unlink()
    return checkpoint / "rng_state_1.pth"


def _broken_state(checkpoint: Path) -> Path:
    (checkpoint / "trainer_state.json").write_text('{"global_step": 2')
    return checkpoint / "trainer_state.json"


def _latest_names_nothing(checkpoint: Path) -> Path:
    (checkpoint / "latest").write_text("global_step999")
    return checkpoint / "latest"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_truncate, id="truncated-shard"),
        pytest.param(_flip, id="flipped-bit", marks=pytest.mark.full),
        pytest.param(_empty, id="empty-shard", marks=pytest.mark.full),
        pytest.param(_remove, id="missing-shard", marks=pytest.mark.full),
        pytest.param(_no_random_state, id="missing-rng-state", marks=pytest.mark.full),
        pytest.param(_broken_state, id="broken-trainer-state", marks=pytest.mark.full),
        pytest.param(_latest_names_nothing, id="latest-names-nothing", marks=pytest.mark.full),
    ],
)
def test_the_run_goes_on_from_the_newest_proven_checkpoint(
    lab: Lab, undisturbed: Callable[..., dict[int, float]], damage: Callable[[Path], Path]
) -> None:
    job = lab.job()
    run = lab.submit(job)
    lab.until_step(run, 21)
    lab.kill_everything()
    damaged = damage(lab.generations(run)[0] / "checkpoints" / "checkpoint-20")
    listed = lab.orch("checkpoints", run, "--verify").stdout
    assert damaged.name in listed
    assert lab.submit(job) == run
    lab.finish(run)
    claim = json.loads((lab.checkpoints(run) / "generations" / "000002.json").read_text())
    assert claim["resume"]["step"] == 10
    story = json.dumps(lab.events(run))
    assert "checkpoint-20" in story
    assert damaged.name in story
    assert lab.losses(run) == undisturbed()


@pytest.mark.full
def test_with_nothing_proven_left_the_run_stops_and_asks(lab: Lab) -> None:
    job = lab.job()
    run = lab.submit(job)
    lab.until_step(run, 11)
    lab.kill_everything()
    _truncate(lab.generations(run)[0] / "checkpoints" / "checkpoint-10")
    assert lab.submit(job) == run
    assert lab.orch("wait", run, check=False).returncode == 10
    status = lab.status(run)
    assert (status["phase"], status["cause"]) == ("stopped", "no_proven_checkpoint")
    assert "--from-scratch" in lab.orch("status", run).stdout
    lab.orch("resume", run, "--from-scratch")
    lab.finish(run)
    assert min(lab.losses(run)) == 1
