"""How an attempt on ssh hosts stands, by what its hosts and its records said. Values in, an observation out."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.clusters.hosts.reading import LOST_SECONDS, Slot, observation
from orchestrator.job.protocol.operations.records import AttemptRecords
from orchestrator.job.protocol.report import Report
from orchestrator.model.run import Cause, Observation, Phase, Submission

SUBMISSION = Submission(
    run="tiny",
    run_id="0123456789ab",
    attempt=2,
    cluster="lab",
    digest="d",
    dir="/nfs/runs/tiny",
    checkpoint_dir="/nfs/runs/tiny/ckpt",
    bundle_file="",
    nodes=2,
    handle="any",
)


def see(*states: str, still: float = 0.0, ended: dict[int, Any] | None = None, **report: Any) -> Observation:
    made = Report(**{"generation": 3, "attempt": 2, "state": "training", **report})
    look = AttemptRecords(owner=None, report=made, asked=False, ended=ended or {})
    slots = tuple(Slot(node=node, host=f"gpu{node + 1}", state=state) for node, state in enumerate(states))
    return observation(SUBMISSION, look, slots, still=still)


def test_all_live() -> None:
    seen = see("live", "live")
    assert (seen.phase, seen.partial, seen.because, seen.raw) == (Phase.RUNNING, "", "", "0:live 1:live")


def test_a_silent_host_beside_a_live_one_is_named_and_is_no_reason_to_end_anything() -> None:
    seen = see("live", "silent", still=1000)
    assert (seen.phase, seen.partial, seen.because) == (Phase.RUNNING, "", "gpu2 did not answer")


def test_an_agent_that_was_killed_or_never_started_is_a_missing_part() -> None:
    assert see("live", "gone").partial == "the agent of node 1 (gpu2) is gone"
    assert see("live", "unused").partial == "the agent of node 1 was not started on gpu2"
    assert see("live", "gone", ended={1: {"result": "failed"}}).partial == ""


def test_nothing_is_known_while_the_only_ones_left_are_silent() -> None:
    for states in (("silent", "silent"), ("gone", "silent"), ("silent", "gone")):
        seen = see(*states, still=LOST_SECONDS - 1)
        assert seen.phase is Phase.UNKNOWN
        assert "gpu" in seen.because


def test_an_outcome_with_which_an_agent_has_left_counts_whoever_is_silent() -> None:
    ended = {0: {"result": "failed"}}
    because = "Node 1 (gpu2) has given no heartbeat for 30 s."
    seen = see("gone", "silent", ended=ended, result="failed", cause="node_lost", because=because, host="gpu2")
    assert (seen.phase, seen.cause, seen.because) == (Phase.FAILED, Cause.NODE_LOST, because)


def test_an_outcome_that_the_silent_agents_may_be_starting_again_after_is_no_end() -> None:
    assert see("silent", "silent", result="failed", cause="rank_killed").phase is Phase.UNKNOWN


@pytest.mark.parametrize("report", [{"success": True, "result": "success"}, {"attempt": 3}])
def test_success_and_a_newer_attempt_end_it_in_any_case(report: dict[str, Any]) -> None:
    assert see("silent", "silent", **report).phase.ended


def test_hosts_that_stay_silent_while_no_heartbeat_comes_are_lost_and_named() -> None:
    seen = see("gone", "silent", still=LOST_SECONDS)
    assert (seen.phase, seen.cause) == (Phase.FAILED, Cause.NODE_LOST)
    assert "gpu2 did not answer for 90 s" in seen.because
    assert seen.report is not None
    assert seen.report.host == "gpu2"


def test_all_gone_without_a_word() -> None:
    seen = see("gone", "gone")
    assert (seen.phase, seen.cause) == (Phase.FAILED, Cause.AGENT_LOST)
