"""What ended a generation, decided from evidence alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.job.agent import codes, evidence
from orchestrator.job.agent.outcome import MAX_STOPS, Evidence, decide, refused, same_error
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.jobfile import Signature
from orchestrator.job.protocol.records import Ending, Fault
from orchestrator.job.protocol.report import FirstError

SIGNATURES = [
    Signature(Cause.CUDA_OOM, r"CUDA out of memory", retry=False),
    Signature(Cause.NETWORK, r"Connection (reset|closed) by peer", echo=True),
    Signature(Cause.GPU_FAULT, r"uncorrectable ECC error"),
    Signature(Cause.DISK_FULL, r"No space left on device"),
]
ECHO = Fault(0, 1.0, "RuntimeError", "[gloo] Connection closed by peer", rank=0)
BUG = Fault(1, 2.0, "ValueError", "no such column", rank=1)
KILLED = Fault(1, 3.0, "Signal", "SIGKILL", rank=1)
LOST = Fault(1, 9.0, "Lost", "The agent of node 1 is gone.", cause=Cause.AGENT_LOST)


def _decide(*faults: Fault, **known: Any) -> Any:
    return decide(Evidence(**{"faults": faults, "max_failures": 5, "built_in": False, **known}), SIGNATURES)


def _first(fault: Fault) -> FirstError:
    return evidence.first_error(fault, None)


@pytest.mark.parametrize(
    ("faults", "cause", "rank"),
    [
        pytest.param([ECHO, BUG], "user_error", 1, id="an-echo-that-was-seen-earlier-is-not-the-cause"),
        pytest.param([ECHO, KILLED], "rank_killed", 1, id="a-killed-rank-beats-echoes"),
        pytest.param([BUG, KILLED], "user_error", 1, id="the-earlier-of-two-that-are-no-echoes"),
        pytest.param([ECHO], "network", 0, id="an-echo-alone-is-the-cause"),
        pytest.param([ECHO, LOST], "agent_lost", None, id="a-lost-agent-beats-echoes"),
        pytest.param([BUG, LOST], "user_error", 1, id="an-error-before-the-loss-is-the-cause"),
    ],
)
def test_the_earliest_error_of_all_ranks_is_the_cause(faults: list[Fault], cause: str, rank: int | None) -> None:
    outcome = _decide(*faults)
    assert (outcome.result, outcome.cause, outcome.fault.rank) == ("failed", cause, rank)


def test_the_ranks_of_a_killed_launcher_are_not_to_blame() -> None:
    launcher = Fault(1, 4.0, "Launcher", "The launcher on node 1 was killed by SIGKILL.", cause=Cause.LAUNCHER_LOST)
    outcome = _decide(KILLED, launcher)
    assert (outcome.cause, outcome.because, outcome.restart) == ("launcher_lost", launcher.message, True)


def test_an_error_that_cannot_get_better_is_not_tried_again() -> None:
    outcome = _decide(Fault(0, 1.0, "OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB", rank=0))
    assert (outcome.cause, outcome.retry, outcome.restart, outcome.code) == ("cuda_oom", False, False, codes.HOPELESS)


def test_the_words_of_an_error_come_before_its_traceback() -> None:
    fault = Fault(0, 1.0, "OSError", "No space left on device", "handler of: Connection reset by peer", rank=0)
    assert _decide(fault).cause == "disk_full"


def test_a_gpu_that_breaks_twice_ends_the_attempt_and_another_may_get_another_machine() -> None:
    broken = Fault(0, 50.0, "RuntimeError", "CUDA error: uncorrectable ECC error encountered", rank=0)
    once = _decide(broken)
    assert (once.cause, once.retry, once.restart, once.code) == ("gpu_fault", True, True, codes.FAILED)
    twice = _decide(broken, failures=1, previous=_first(broken), previous_cause=Cause.GPU_FAULT)
    assert (twice.cause, twice.retry, twice.restart, twice.code) == ("gpu_fault", True, False, codes.HOPELESS)


def test_the_same_error_twice_without_a_checkpoint_in_between_ends_the_run() -> None:
    again = Fault(0, 50.0, "ValueError", "no such column", rank=0)
    outcome = _decide(again, failures=1, previous=_first(BUG))
    assert (outcome.retry, outcome.code) == (False, codes.HOPELESS)
    assert "the same error" in outcome.because
    assert _decide(again, failures=1, previous=_first(BUG), progressed=True).retry


@pytest.mark.parametrize("fault", [ECHO, KILLED, LOST], ids=["echo", "killed", "lost"])
def test_what_comes_from_outside_may_happen_twice(fault: Fault) -> None:
    assert _decide(fault, failures=1, previous=_first(fault)).retry


def test_addresses_in_a_message_do_not_make_another_error() -> None:
    one, other = (Fault(0, 1.0, "TypeError", f"<object at {at}> is not callable") for at in ("0x7f01", "0x7eff"))
    assert same_error(one, _first(other))
    assert not same_error(one, _first(BUG))
    assert not same_error(one, None)


def test_the_budget_counts_failures_in_a_row_and_a_checkpoint_resets_it() -> None:
    assert _decide(KILLED, failures=4).restart
    spent = _decide(KILLED, failures=5)
    assert (spent.retry, spent.code, spent.failures) == (False, codes.HOPELESS, 6)
    assert "6, allowed: 5" in spent.because
    fresh = _decide(KILLED, failures=5, progressed=True)
    assert (fresh.restart, fresh.failures) == (True, 0)
    assert not _decide(KILLED, max_failures=0).retry


def test_without_one_of_its_nodes_a_start_ends_and_another_may_help() -> None:
    outcome = _decide(LOST, ECHO)
    assert (outcome.retry, outcome.restart, outcome.code) == (True, False, codes.FAILED)


def test_asked_to_stop_is_no_failure_even_when_a_rank_died_of_it() -> None:
    outcome = _decide(KILLED, asked="SIGTERM on node 1", stopped_step=12, failures=2)
    assert (outcome.result, outcome.code, outcome.step, outcome.failures) == ("stopped", codes.STOPPED, 12, 2)
    unsaved = _decide(KILLED, asked="SIGTERM on node 1", step=10)
    assert unsaved.result == "stopped"
    assert "nothing was saved for it, the newest checkpoint is of step 10" in unsaved.because


def test_a_job_that_is_stopped_again_and_again_before_it_can_save_is_not_queued_for_ever() -> None:
    assert _decide(asked="SIGUSR1 on node 0", stops=MAX_STOPS - 2).code == codes.STOPPED
    last = _decide(asked="SIGUSR1 on node 0", stops=MAX_STOPS - 1)
    assert (last.result, last.cause, last.retry, last.code) == ("failed", "asked_to_stop", False, codes.HOPELESS)
    assert f"{MAX_STOPS} times in a row without a new proven checkpoint" in last.because
    assert "longer time limit" in last.because
    saved = _decide(asked="SIGUSR1 on node 0", stops=MAX_STOPS - 1, stopped_step=12, progressed=True)
    assert saved.code == codes.STOPPED


def test_a_run_that_finished_is_a_success_although_a_launcher_failed_at_exit() -> None:
    launcher = Fault(0, 1.0, "Launcher", "exit status 1")
    assert _decide(launcher, finished=True).code == codes.SUCCESS
    assert _decide(finished=True, stopped_step=12).result == "stopped", "it left early, as agreed"


def test_the_kernel_running_out_of_memory_is_told_from_a_kill() -> None:
    launcher = Fault(1, 4.0, "Launcher", "The launcher on node 1 was killed by SIGKILL.", cause=Cause.LAUNCHER_LOST)
    for fault in (KILLED, launcher):
        assert _decide(fault, out_of_memory=True).cause == "host_oom"
    assert _decide(LOST, out_of_memory=True).cause == "agent_lost"


def test_running_out_of_memory_twice_without_a_checkpoint_in_between_ends_the_run() -> None:
    assert _decide(KILLED, out_of_memory=True, failures=1, previous_cause=Cause.RANK_KILLED).restart
    again = {"out_of_memory": True, "failures": 1, "previous_cause": Cause.HOST_OOM}
    outcome = _decide(KILLED, **again)
    assert (outcome.retry, outcome.code) == (False, codes.HOPELESS)
    assert _decide(KILLED, **again, progressed=True).restart


def test_without_any_word_the_cause_is_unknown_and_tried_again() -> None:
    outcome = _decide()
    assert (outcome.cause, outcome.restart) == ("unknown", True)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (3, ("Exit", "exit status 3")),
        (-9, ("Signal", "SIGKILL")),
        (-64, ("Signal", "SIGRTMAX")),
        (-99, ("Signal", "signal 99")),
    ],
)
def test_exit_statuses_have_names(status: int, said: tuple[str, str]) -> None:
    assert evidence.status_name(status) == said


def test_a_launchers_log_tells_which_rank_died_of_what() -> None:
    torchrun = "E1 api.py:1002] failed (exitcode: -9) local_rank: 1 (pid: 17786) of binary: /usr/bin/python\n"
    assert evidence.statuses(torchrun, first_rank=4) == {5: -9}
    deepspeed = "[ERROR] [launch.py:325:sigkill_handler] ['python', '-u', 'x.py'] exits with return code = -9\n"
    assert evidence.statuses(deepspeed, first_rank=4) == {None: -9}
    assert evidence.statuses("", first_rank=0) == {}


def _refusal(**changes: Any) -> Ending:
    return replace(
        Ending(node=1, cause=Cause.NODE_LOST, because="It saw no claim.", code=codes.FAILED, retry=True), **changes
    )


def test_a_node_that_ended_before_is_answered_with_what_it_said() -> None:
    again = refused(_decide(LOST), _refusal())
    assert (again.cause, again.retry, again.restart, again.code) == ("node_lost", True, False, codes.FAILED)
    assert again.because == "Node 1 has ended this start: It saw no claim."
    never = refused(_decide(LOST), _refusal(cause=Cause.PREFLIGHT, code=codes.PREFLIGHT, retry=False))
    assert (never.cause, never.retry, never.restart, never.code) == ("preflight", False, False, codes.PREFLIGHT)


def test_a_node_that_ended_before_does_not_go_beyond_the_failures_that_are_allowed() -> None:
    spent = refused(_decide(LOST, failures=5), _refusal())
    assert (spent.retry, spent.restart, spent.code) == (False, False, codes.HOPELESS)
    assert "Failures in a row without a new proven checkpoint: 6, allowed: 5." in spent.because
