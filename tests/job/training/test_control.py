"""Ranks that cannot agree say so, for each would take itself for all."""

from __future__ import annotations

import pytest

from orchestrator.job.training.control import Control
from orchestrator.job.training.environment import TrainingError


@pytest.fixture
def two_ranks(monkeypatch: pytest.MonkeyPatch) -> Control:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    return Control()


def test_a_rank_alone_agrees_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    control = Control()
    control.barrier()
    assert (control.any(True, False), control.share(3), control.gather("x")) == ((True, False), 3, ["x"])
    assert (control.rank, control.world_size) == (0, 1)
    control.close()


def test_ranks_without_a_process_group_know_who_they_are_and_cannot_agree(two_ranks: Control) -> None:
    assert (two_ranks.rank, two_ranks.world_size) == (1, 2)
    for agree in (two_ranks.barrier, lambda: two_ranks.share(1), lambda: two_ranks.gather(1)):
        with pytest.raises(TrainingError, match=r"Rank 1 of 2 has no process group.*init_distributed"):
            agree()


def test_a_script_that_ended_its_process_group_itself_may_be_done(two_ranks: Control) -> None:
    two_ranks.close()
