"""Whole generations: real agents, real torchrun, and scripts that are killed, stopped, frozen and wrong."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.job.agent.member import PLAIN_STOP_SECONDS
from orchestrator.job.agent.outcome import MAX_STOPS
from orchestrator.job.checkpoints import choose, report
from tests.job.agent.cluster import Cluster
from tests.job.agent.conftest import MakeCluster

pytestmark = pytest.mark.deepspeed

STEPS = """
for step in range(RESUMED + 1, 31):
    time.sleep(0.1)
    if RANK == 0:
        metric(step)
        if step % 5 == 0:
            commit(step)
    if step >= 8 and GENERATION == 1:
        time.sleep(600)  # until something happens
"""


def _alive(cluster: Cluster) -> list[int]:
    return cluster.processes()


def _finish(cluster: Cluster, agents: list[subprocess.Popen[bytes]]) -> None:
    """All agents end well, every step has one line, and nothing is left."""
    assert set(cluster.wait(agents)) == {0}
    assert [line.step for line in report.read_metrics(cluster.root)] == list(range(1, 31))
    cluster.until(lambda: not _alive(cluster), hint="no process is left")


def test_a_run_of_two_nodes_finishes_and_says_so(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("(HERE / 'model').mkdir(exist_ok=True)\nprint('hello from', RANK, flush=True)")
    assert cluster.wait(cluster.start()) == [0, 0]
    assert cluster.outcome(1)["result"] == "success"
    assert (cluster.root / "model").resolve() == cluster.generation(1) / "model"
    assert "[rank 0] hello from 0\n" in cluster.story()
    assert "[rank 1] hello from 1\n" in cluster.story()
    assert cluster.wait(cluster.start(start="again")) == [0, 0]
    assert not cluster.generation(2).exists(), "a finished run is not started again"
    assert not _alive(cluster)


def _rank(cluster: Cluster) -> int:
    return cluster.rank_pid(1)


def _torchrun(cluster: Cluster) -> int:
    return cluster.processes("torch.distributed.run", "--node-rank 1")[0]


@pytest.mark.parametrize(
    ("victim", "cause", "because"),
    [
        pytest.param(_rank, "rank_killed", "Rank 1 on node 1 was killed by SIGKILL", id="rank", marks=pytest.mark.full),
        pytest.param(_torchrun, "launcher_lost", "The launcher on node 1 was killed by SIGKILL", id="torchrun"),
    ],
)
def test_after_kill_9_all_nodes_start_again_together(
    make_cluster: MakeCluster, victim: Callable[[Cluster], int], cause: str, because: str
) -> None:
    cluster = make_cluster(STEPS)
    agents = cluster.start()
    cluster.until_step(8)
    os.kill(victim(cluster), signal.SIGKILL)
    _finish(cluster, agents)
    outcome = cluster.outcome(1)
    assert (outcome["result"], outcome["cause"], outcome["restart"]) == ("failed", cause, True)
    assert because in outcome["because"]
    assert cluster.claim(2)["resume"]["step"] == 5


@pytest.mark.parametrize("node", [0, pytest.param(1, marks=pytest.mark.full)])
def test_after_kill_9_of_an_agent_the_other_ends_and_names_it(make_cluster: MakeCluster, node: int) -> None:
    cluster = make_cluster(STEPS, timeouts={"join": 20, "heartbeat": 600, "grace": 20})
    agents = cluster.start()
    cluster.until_step(8)
    agents[node].kill()
    assert cluster.wait([agents[1 - node]]) == [84], "on the same machine nobody waits for a heartbeat"
    outcome = cluster.outcome(1)
    assert (outcome["cause"], outcome["retry"], outcome["restart"]) == ("agent_lost", True, False)
    assert f"The agent of node {node}" in outcome["because"]
    cluster.until(lambda: not _alive(cluster), hint="the dead agent's ranks are dead too")
    _finish(cluster, cluster.start(attempt=2, start="start-2"))


def test_after_kill_9_of_everything_the_next_start_goes_on(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(STEPS)
    agents = cluster.start()
    cluster.until_step(8)
    for pid in cluster.processes():
        with contextlib.suppress(ProcessLookupError):  # they die of one another, too
            os.kill(pid, signal.SIGKILL)
    cluster.wait(agents)
    assert not (cluster.generation(1) / "outcome.json").exists()
    _finish(cluster, cluster.start(start="start-2"))
    assert cluster.claim(2)["resume"]["step"] == 5


@pytest.mark.full
def test_the_children_of_ranks_are_not_left_behind(make_cluster: MakeCluster) -> None:
    script = """
    import subprocess
    subprocess.Popen(["sleep", "300"], start_new_session=True)
    if GENERATION == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    """
    cluster = make_cluster(script, nodes=1)
    assert cluster.wait(cluster.start()) == [0]
    assert not _alive(cluster)


def test_the_same_error_twice_without_progress_ends_the_run_with_its_words(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("if RANK == 1:\n    raise ValueError('no such column')\ntime.sleep(600)")
    assert cluster.wait(cluster.start()) == [85, 85]
    outcome = cluster.outcome(2)
    assert (outcome["cause"], outcome["retry"]) == ("user_error", False)
    assert outcome["first_error"]["rank"] == 1
    assert "Rank 1 on node 1: ValueError: no such column" in outcome["because"]
    assert "raise ValueError" in outcome["first_error"]["traceback"]
    assert cluster.wait(cluster.start(start="requeued")) == [85, 85], (
        "a requeue of the attempt ends the same way at once"
    )
    assert not cluster.generation(3).exists()


def test_the_failure_budget_holds_over_starts_with_nobody_to_count_them(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("os._exit(10 + GENERATION)", nodes=1, max_failures=2)
    assert cluster.wait([cluster.agent(0)]) == [85]
    outcome = cluster.outcome(3)
    assert (outcome["failures"], outcome["first_error"]["message"]) == (3, "exit status 13")
    assert "3, allowed: 2" in outcome["because"]
    backoff = cluster.claim(3)["time"] - cluster.claim(2)["time"]
    assert backoff > 2, "the second failure in a row is waited after"


@pytest.mark.parametrize(("act", "code"), [("terminate", 82), ("kill", 84)])
@pytest.mark.full
def test_between_two_generations_nobody_waits_for_a_node_0_that_is_gone(
    make_cluster: MakeCluster, act: str, code: int
) -> None:
    cluster = make_cluster("os._exit(10 + GENERATION)", timeouts={"join": 600, "heartbeat": 600, "grace": 5})
    agents = cluster.start()
    cluster.until((cluster.generation(2) / "outcome.json").exists, hint="the pause after the second failure")
    getattr(agents[0], act)()
    assert cluster.wait([agents[1]]) == [code]
    assert agents[0].wait() == (82 if act == "terminate" else -signal.SIGKILL)
    assert not cluster.root.joinpath("generations/000003.json").exists()


@pytest.mark.full
def test_lost_generations_count_too(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("time.sleep(600)", nodes=1, max_failures=1)
    for number in (1, 2):
        agent = cluster.agent(0, start=f"start-{number}")
        cluster.rank_pid(0, number)
        agent.kill()
        agent.wait()
    assert cluster.wait([cluster.agent(0, start="start-3")]) == [85]
    said = report.read_report(cluster.root)
    assert (said.result, said.cause, said.retry) == ("failed", "agent_lost", False)
    assert "2 failures in a row" in said.because


SESSION = """
asked = []
signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
session()
for step in range(RESUMED + 1, 10_000):
    time.sleep(0.1)
    if RANK == 0:
        metric(step)
        stop = HERE / "agreed"  # stands for the all-reduce
        if asked:
            commit(step)
            (HERE / "stopped.json").write_text(json.dumps({"step": step, "time": time.time()}))
    if asked and RANK == 1:
        (HERE / "rank-1-asked").touch()
    if (HERE / "stopped.json").exists():
        os._exit(0)
"""


def test_a_request_to_one_agent_reaches_all_ranks_and_is_no_failure(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SESSION, max_failures=0)
    agents = cluster.start()
    cluster.until_step(3)
    agents[1].terminate()
    assert cluster.wait(agents) == [82, 82]
    outcome = cluster.outcome(1)
    assert (outcome["result"], outcome["cause"]) == ("stopped", "asked_to_stop")
    assert "SIGTERM on node 1" in outcome["because"]
    assert f"saved step {outcome['step']}" in outcome["because"]
    assert outcome["step"] >= 3
    resumed = cluster.start(start="start-2")
    cluster.until((cluster.generation(2) / "metrics.jsonl").exists, hint="generation 2 goes on")
    assert cluster.claim(2)["resume"]["step"] == outcome["step"]
    assert cluster.claim(2)["failures"] == 0
    resumed[0].terminate()
    assert cluster.wait(resumed) == [82, 82]
    assert not _alive(cluster)


@pytest.mark.full
def test_a_sigterm_to_every_process_as_slurm_sends_it_is_a_request_like_any_other(make_cluster: MakeCluster) -> None:
    script = SESSION.replace("commit(step)", "time.sleep(3)\n            commit(step)")
    cluster = make_cluster("signal.signal(signal.SIGTERM, lambda *_: None)\n" + script)
    agents = cluster.start()
    cluster.until((cluster.generation(1) / "ranks/rank-1.session").exists, hint="the session of rank 1")
    cluster.until_step(3)
    for pid in cluster.processes():
        os.kill(pid, signal.SIGTERM)
    assert cluster.wait(agents) == [82, 82]
    assert f"saved step {cluster.outcome(1)['step']}" in cluster.outcome(1)["because"]
    launchers = [(cluster.generation(1) / f"logs/launcher-{node}.log").read_text() for node in (0, 1)]
    assert not any("SIGTERM" in log for log in launchers), "a torchrun that has got it gives its workers 30 s"


def test_a_script_that_knows_nothing_of_orch_is_terminated_at_once(make_cluster: MakeCluster) -> None:
    patient = {"join": 60, "heartbeat": 10, "grace": 600}
    cluster = make_cluster("print('up', flush=True)\ntime.sleep(600)", timeouts=patient)
    agents = cluster.start()
    cluster.rank_pid(0)
    cluster.rank_pid(1)
    began = time.monotonic()
    agents[0].send_signal(signal.SIGINT)
    assert cluster.wait(agents) == [82, 82]
    assert time.monotonic() - began < PLAIN_STOP_SECONDS, "its own handler need not end it"
    assert "nothing was saved for it, there is no checkpoint" in cluster.outcome(1)["because"]
    assert not _alive(cluster)


def test_a_script_that_answers_a_request_by_a_quiet_end_has_not_finished(make_cluster: MakeCluster) -> None:
    """As Lightning's Trainer does, with exit status 0."""
    cluster = make_cluster("""
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('up', flush=True)
time.sleep(600 if GENERATION == 1 else 0)
""")
    agents = cluster.start()
    cluster.until(lambda: cluster.story().count("up\n") == 2, hint="both ranks listen")
    agents[1].terminate()
    assert cluster.wait(agents) == [82, 82]
    assert (cluster.outcome(1)["result"], cluster.outcome(1)["cause"]) == ("stopped", "asked_to_stop")
    assert cluster.wait(cluster.start(start="start-2")) == [0, 0]
    assert cluster.outcome(2)["result"] == "success"


@pytest.mark.full
def test_a_rank_that_does_not_leave_is_killed_when_the_grace_is_over(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\nsession()\ntime.sleep(300)",
        nodes=1,
        timeouts={"join": 20, "heartbeat": 5, "grace": 2},
    )
    agent = cluster.agent(0)
    cluster.until((cluster.generation(1) / "ranks/rank-0.session").exists, hint="the session")
    agent.terminate()
    assert cluster.wait([agent]) == [82]
    assert not _alive(cluster)


@pytest.mark.parametrize(
    "attempt", [pytest.param(2, id="older-attempt"), pytest.param(1, id="older-generation", marks=pytest.mark.full)]
)
def test_a_start_that_wakes_after_another_went_on_is_fenced_and_nothing_of_it_counts(
    make_cluster: MakeCluster, attempt: int
) -> None:
    script = """
    for step in range(RESUMED + 1, 41):
        time.sleep(1 if GENERATION == 1 and step > 7 else 0.1)
        if RANK == 0:
            metric(step)
            if step % 5 == 0:
                commit(step, keep=1)
    """
    cluster = make_cluster(script)
    old = cluster.start()
    cluster.until_step(7)
    frozen = cluster.processes("orchestrator.job.agent")
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    new = cluster.start(attempt=attempt, start="start-2")
    cluster.until_step(9, generation=2)
    sealed = cluster.claim(2)["sealed"]
    assert [entry["step"] for entry in sealed] == [5]
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    assert cluster.wait(old) == [83, 83]
    assert cluster.wait(new) == [0, 0]
    assert cluster.outcome(1)["result"] == "fenced"
    counted = choose.choose(cluster.root)
    assert [entry.path for entry in counted.sealed] == ["generations/000002/checkpoints/checkpoint-40"]
    assert [line.values["generation"] for line in report.read_metrics(cluster.root)] == [1] * 5 + [2] * 35
    assert not _alive(cluster)


def test_a_node_that_stands_still_is_lost_after_its_heartbeat(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(STEPS, timeouts={"join": 20, "heartbeat": 10, "grace": 20})
    agents = cluster.start()
    cluster.until_step(8)
    os.kill(agents[1].pid, signal.SIGSTOP)
    assert cluster.wait([agents[0]]) == [84]
    outcome = cluster.outcome(1)
    assert outcome["cause"] == "node_lost"
    assert "Node 1" in outcome["because"]
    assert "no heartbeat for 10 s" in outcome["because"]
    os.kill(agents[1].pid, signal.SIGCONT)
    assert cluster.wait([agents[1]]) == [84]
    assert not _alive(cluster)


@pytest.mark.full
def test_a_node_is_found_lost_also_where_the_ranks_of_node_0_have_felt_it_first(make_cluster: MakeCluster) -> None:
    """As on two machines: a connection is reset at once, and nobody can see that the other's agent is gone."""
    script = """
    if RANK == 0:
        metric(1)
        while not (HERE / "lost").exists():
            time.sleep(0.05)
        raise RuntimeError("Read error: Connection reset by peer")
    time.sleep(60)
    """
    reset = {"cause": "network", "pattern": "Connection reset by peer", "retry": True, "echo": True}
    cluster = make_cluster(script, timeouts={"join": 20, "heartbeat": 10, "grace": 20}, signatures=[reset])
    agents = cluster.start()
    cluster.until_step(1)
    os.kill(agents[1].pid, signal.SIGSTOP)
    (cluster.generation(1) / "lost").touch()
    cluster.until((cluster.generation(1) / "exit-0.json").exists, hint="node 0 has ended")
    assert not (cluster.generation(1) / "outcome.json").exists()
    assert cluster.wait([agents[0]]) == [84]
    assert cluster.outcome(1)["cause"] == "node_lost"
    os.kill(agents[1].pid, signal.SIGCONT)
    assert cluster.wait([agents[1]]) == [84]
    assert not _alive(cluster)


def test_ranks_that_stand_still_are_ended_and_say_where_they_hang(make_cluster: MakeCluster) -> None:
    script = """
    def waits_for_ever():
        time.sleep(300)
    if RANK == 0:
        metric(1)
    if GENERATION == 1:
        waits_for_ever()
    """
    cluster = make_cluster(script, timeouts={"join": 20, "heartbeat": 20, "grace": 20, "hang": 2})
    assert cluster.wait(cluster.start()) == [0, 0]
    assert cluster.outcome(1)["cause"] == "hung"
    assert "waits_for_ever" in (cluster.generation(1) / "logs/rank-0.log").read_text()


def test_deepspeeds_own_launcher_starts_the_ranks_and_leaves_none(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(STEPS, launcher="deepspeed")
    agents = cluster.start()
    cluster.until_step(8)
    os.kill(cluster.rank_pid(1), signal.SIGKILL)
    _finish(cluster, agents)
    assert "Rank 1 on node 1 was killed by SIGKILL" in cluster.outcome(1)["because"]


@pytest.mark.full
def test_deepspeeds_ranks_die_with_their_agent(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("time.sleep(300)", nodes=1, launcher="deepspeed")
    agent = cluster.agent(0)
    cluster.rank_pid(0)
    agent.kill()
    agent.wait()
    cluster.until(lambda: not _alive(cluster), hint="no process is left")


def test_secrets_reach_the_ranks_and_no_file(make_cluster: MakeCluster) -> None:
    script = "assert os.environ['TOKEN'] == 'hunter' + '2'\nassert os.environ['FROM_JOB'] == 'a b'"
    cluster = make_cluster(script, nodes=1, secrets={"TOKEN": {"env": "MY_TOKEN"}}, env={"FROM_JOB": "a b"})
    assert cluster.wait([cluster.agent(0, env={"MY_TOKEN": "hunter2"})]) == [0]
    files = [path for path in cluster.base.rglob("*") if path.is_file() and "lib" not in path.parts]
    assert all(b"hunter2" not in path.read_bytes() for path in files)


@pytest.mark.full
def test_a_stop_that_reaches_one_node_before_another_has_claimed_may_be_followed_by_a_requeue(
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster(SESSION)
    early = cluster.agent(1, env={"ORCH_HOST": "gn02"})
    cluster.until(cluster.root.exists, hint="node 1 waits for node 0's claim")
    time.sleep(1)
    early.terminate()
    assert cluster.wait([early]) == [82]
    assert cluster.wait([cluster.agent(0)]) == [82]
    outcome = cluster.outcome(1)
    assert (outcome["result"], outcome["retry"]) == ("stopped", True)
    assert "node 1" in outcome["because"]
    requeued = cluster.start(start="start-2")
    cluster.until_step(1, generation=2)
    requeued[0].terminate()
    assert cluster.wait(requeued) == [82, 82]


@pytest.mark.full
def test_the_outcome_names_the_machine_of_the_first_error_as_the_cluster_does(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("if RANK == 1:\n    raise ValueError('no')\ntime.sleep(600)", max_failures=0)
    agents = [cluster.agent(0, env={"SLURMD_NODENAME": "gn01"}), cluster.agent(1, env={"SLURMD_NODENAME": "gn02"})]
    assert cluster.wait(agents) == [85, 85]
    assert cluster.outcome(1)["host"] == "gn02"
    assert report.read_report(cluster.root).host == "gn02"


@pytest.mark.full
def test_a_job_that_is_stopped_before_it_can_save_is_queued_again_so_often_and_no_more(
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster("time.sleep(300)", nodes=1)

    def start(restart: int, attempt: int = 1) -> int:
        agent = cluster.agent(0, start=f"4711.{restart}", attempt=attempt)
        joined = cluster.generation(restart + 1) / "node-0.json"
        cluster.until(lambda: joined.exists() or agent.poll() is not None, hint="the generation begins")
        agent.terminate()
        return agent.wait()

    assert [start(restart) for restart in range(MAX_STOPS + 1)] == [82] * (MAX_STOPS - 1) + [85, 85]
    assert "longer time limit" in cluster.outcome(MAX_STOPS)["because"]
    assert start(MAX_STOPS, attempt=2) == 82, "somebody has decided to try it again"


@pytest.mark.full
def test_a_node_that_never_comes_is_named_by_the_hostfile(make_cluster: MakeCluster, tmp_path: Path) -> None:
    hostfile = tmp_path / "hostfile"
    hostfile.write_text("gn01 slots=1\ngn02 slots=1\n")
    cluster = make_cluster("time.sleep(600)", timeouts={"join": 2, "heartbeat": 10, "grace": 20})
    assert cluster.wait([cluster.agent(0, env={"ORCH_HOSTFILE": str(hostfile)})]) == [84]
    assert (cluster.outcome(1)["cause"], cluster.outcome(1)["host"]) == ("node_lost", "gn02")


def test_a_script_that_commits_nothing_is_resumed_by_structure_and_pruned(make_cluster: MakeCluster) -> None:
    script = """
    import pickle, zipfile
    for step in range(RESUMED + 1, 11):
        directory = Path(os.environ["ORCH_CHECKPOINT_DIR"], f"checkpoint-{step}")
        if RANK == 0:
            (directory / "tag").mkdir(parents=True)
            with zipfile.ZipFile(directory / "tag/mp_rank_00_model_states.pt", "w") as archive:
                archive.writestr("a/data.pkl", pickle.dumps({"step": step}, protocol=2))
            (directory / "latest").write_text("tag")
            metric(step)
        if step == 5 and GENERATION == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    """
    cluster = make_cluster(script, nodes=1)
    assert cluster.wait([cluster.agent(0)]) == [0]
    assert cluster.claim(2)["resume"]["step"] == 5
    assert [len(list((cluster.generation(g) / "checkpoints").iterdir())) for g in (1, 2)] == [0, 3]
    assert json.loads((cluster.generation(2) / "success.json").read_text())["generation"] == 2
