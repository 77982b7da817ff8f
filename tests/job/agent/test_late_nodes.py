"""Nodes that come late, die early or are told to stop before all are there: nobody waits for what will not come."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from orchestrator.job.agent import fence
from orchestrator.job.agent.codes import Ended
from orchestrator.job.checkpoints import report
from tests.job.agent.cluster import Cluster
from tests.job.agent.conftest import MakeCluster
from tests.job.checkpoints import history

SLEEP = "time.sleep(600)"
SOON = {"join": 8, "heartbeat": 10, "grace": 5}
PATIENT = {"join": 600, "heartbeat": 10, "grace": 5}


def ended(agent: subprocess.Popen[bytes]) -> int:
    """The exit status of an agent that must end by itself."""
    return agent.wait(timeout=100)


def joined(cluster: Cluster, node: int) -> None:
    cluster.until((cluster.generation(1) / f"node-{node}.json").exists, hint=f"node {node} has joined")


def test_a_node_0_that_dies_between_its_claim_and_its_joining_is_not_waited_for_for_ever(
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster(SLEEP, timeouts=SOON)
    history.claim(cluster.root, manual=False, start="start-1")  # where node 0 was killed
    assert ended(cluster.agent(1)) == 84
    outcome = cluster.outcome(1)
    assert (outcome["cause"], outcome["retry"], outcome["restart"]) == ("node_lost", True, False)
    assert "Node 0 has claimed generation 1 and did not join it within 8 s" in outcome["because"]


def test_the_word_of_a_node_0_that_failed_to_join_ends_the_others(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SLEEP, timeouts=PATIENT)
    history.claim(cluster.root, manual=False, start="start-1")
    agent = cluster.agent(1)
    joined(cluster, 1)
    full = Ended(84, "disk_full", "No space left on device.")
    fence.write_refusal(cluster.root, cluster.options(0), full, seen=0)
    assert ended(agent) == 84
    outcome = cluster.outcome(1)
    assert (outcome["cause"], outcome["retry"]) == ("disk_full", True)
    assert "Node 0 has ended this start: No space left on device." in outcome["because"]


def test_a_request_to_stop_does_not_wait_for_a_node_that_was_stopped_before_it_joined(
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster(SLEEP, timeouts=PATIENT)
    early = cluster.agent(1)
    cluster.until(lambda: cluster.listens(early), hint="node 1 waits for the claim")
    early.send_signal(signal.SIGUSR1)
    assert ended(early) == 82
    late = cluster.agent(0)
    cluster.until(cluster.root.joinpath("generations/000001.json").exists, hint="the claim")
    late.send_signal(signal.SIGUSR1)
    assert ended(late) == 82


def test_a_request_to_stop_does_not_wait_for_a_node_that_never_came(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SLEEP, timeouts=PATIENT)
    alone = cluster.agent(0)
    cluster.until(cluster.root.joinpath("generations/000001.json").exists, hint="the claim")
    alone.terminate()
    assert ended(alone) == 82
    assert ended(cluster.agent(1)) == 82, "who comes when it is over finds how it ended"
    said = report.read_report(cluster.root)
    assert (said.result, said.cause) == ("stopped", "asked_to_stop")


def test_a_node_that_comes_after_the_end_takes_its_verdict_and_does_not_hide_it(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SLEEP, timeouts=PATIENT)
    history.claim(cluster.root, manual=False, start="start-1")
    verdict = {"code": 85, "cause": "user_error", "because": "a mistake of the user", "retry": False, "restart": False}
    history.end(cluster.root, 1, **verdict, failures=1)
    assert ended(cluster.agent(1)) == 85
    said = report.read_report(cluster.root)
    assert (said.cause, said.retry, said.because) == ("user_error", False, "a mistake of the user")


def test_a_node_that_waited_in_vain_does_not_make_the_attempt_hopeless(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SLEEP, timeouts=SOON)
    assert ended(cluster.agent(1)) == 84
    assert ended(cluster.agent(0)) == 84
    outcome = cluster.outcome(1)
    assert (outcome["retry"], outcome["restart"]) == (True, False)
    again = cluster.start(start="start-2")
    cluster.until((cluster.generation(2) / "node-1.json").exists, hint="both are there now")
    again[0].terminate()
    assert cluster.wait(again) == [82, 82]


def test_who_is_told_to_stop_before_it_claims_makes_no_claim(make_cluster: MakeCluster, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    os.mkfifo(secret)  # it reads it before it claims, and waits until somebody writes
    cluster = make_cluster(SLEEP, timeouts=PATIENT, secrets={"TOKEN": {"file": str(secret)}})
    agent = cluster.agent(0)
    cluster.until(lambda: cluster.listens(agent), hint="node 0 listens to signals")
    agent.terminate()
    secret.write_text("open sesame")
    assert ended(agent) == 82
    assert not cluster.root.joinpath("generations/000001.json").exists()


SAVING = """
for step in range(RESUMED + 1, 10_000):
    time.sleep(0.05)
    if step % 5 == 0:
        commit(step)
"""


def test_a_run_whose_checkpoint_directory_is_gone_does_not_begin_again_by_itself(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SAVING, nodes=1, timeouts=PATIENT)
    agent = cluster.agent(0)
    cluster.until((cluster.generation(1) / "checkpoints/checkpoint-10").exists, hint="a checkpoint")
    agent.terminate()
    assert ended(agent) == 82
    shutil.rmtree(cluster.root)  # a scratch disk was cleaned
    assert ended(cluster.agent(0, start="start-2")) == 85
    said = report.read_report(cluster.root)
    assert (said.cause, said.retry) == ("no_proven_checkpoint", False)
    insisting = cluster.agent(0, "--from-scratch", start="start-3")
    cluster.until((cluster.generation(1) / "checkpoints/checkpoint-5").exists, hint="it begins again, as told")
    insisting.terminate()
    assert ended(insisting) == 82
