"""Slots, owners and turns: what ends an agent before it starts anything. The agents are real processes."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from orchestrator.job.agent import fence
from orchestrator.job.agent.codes import Ended
from orchestrator.job.agent.options import Options
from orchestrator.job.checkpoints import report
from tests.job.agent.cluster import Cluster
from tests.job.agent.conftest import MakeCluster
from tests.job.checkpoints import history

SLEEP = "time.sleep(600)"


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(SLEEP, nodes=1)


def _ended(cluster: Cluster, node: int = 0, attempt: int = 1) -> dict[str, object]:
    path = cluster.run_dir / "attempts" / f"{attempt:06d}" / f"ended-{node}.json"
    value: dict[str, object] = json.loads(path.read_text())
    return value


def test_a_slot_has_one_agent_and_the_second_does_nothing(cluster: Cluster) -> None:
    lock = cluster.base / "lock-0"
    first = cluster.agent(0, "--slot-lock", str(lock))
    cluster.until(lambda: cluster.root.joinpath("generations/000001.json").exists(), hint="the first claim")
    assert cluster.wait([cluster.agent(0, "--slot-lock", str(lock), start="start-2")]) == [81]
    assert json.loads(lock.read_text())["pid"] == first.pid
    assert not cluster.root.joinpath("generations/000002.json").exists()
    first.kill()
    first.wait()
    assert cluster.wait([cluster.agent(0, "--slot-lock", str(lock))]) == [81], "of the start that had it, only later"
    assert json.loads(lock.read_text())["pid"] == first.pid
    again = cluster.agent(0, "--slot-lock", str(lock), start="start-3")
    cluster.until(lambda: cluster.root.joinpath("generations/000002.json").exists(), hint="a claim after the kill")
    assert again.poll() is None


def test_a_directory_of_another_run_is_refused(cluster: Cluster) -> None:
    history.claim(cluster.root)
    (cluster.root / "owner.json").write_text(json.dumps({"run": "other", "run_id": "ffff", "created": 0}))
    assert cluster.wait([cluster.agent(0)]) == [85]
    ended = _ended(cluster)
    assert ended["cause"] == "owned"
    assert "belongs to the run other" in str(ended["because"])
    assert sorted(path.name for path in cluster.root.iterdir()) == ["generations", "owner.json"], "nothing was touched"


def test_a_directory_that_can_not_be_made_is_a_preflight_that_says_no(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SLEEP, nodes=1, checkpoint_dir="file/ckpt")
    cluster.run_dir.mkdir()
    (cluster.run_dir / "file").touch()
    assert cluster.wait([cluster.agent(0)]) == [86]
    assert f"cannot write in the checkpoint directory {cluster.run_dir / 'file/ckpt'}: Not a directory" in str(
        _ended(cluster)["because"]
    )


def test_a_bundle_without_a_job_is_refused_in_words(cluster: Cluster) -> None:
    (cluster.bundle / "job.json").write_text('{"format": 99}')
    assert cluster.wait([cluster.agent(0)]) == [85]
    assert "format: wanted 1 at most, found 99" in str(_ended(cluster)["because"])


def test_a_missing_secret_ends_the_start_with_its_name_and_no_value(make_cluster: MakeCluster) -> None:
    secrets = {"HF_TOKEN": {"env": "NOT_SET_ANYWHERE"}, "KEY": {"file": "/no/such/file"}, "SEEN": {"env": "SEEN"}}
    cluster = make_cluster(SLEEP, nodes=1, secrets=secrets)
    assert cluster.wait([cluster.agent(0, env={"SEEN": "hunter2"})]) == [85]
    ended = _ended(cluster)
    assert ended["cause"] == "secret_missing"
    assert "HF_TOKEN (environment variable NOT_SET_ANYWHERE is not set), KEY (file /no/such/file" in str(
        ended["because"]
    )
    everything = b"".join(path.read_bytes() for path in cluster.base.rglob("*") if path.is_file())
    assert b"hunter2" not in everything


def test_an_older_attempt_is_fenced(cluster: Cluster) -> None:
    history.claim(cluster.root, attempt=2, start="newer")
    assert cluster.wait([cluster.agent(0, attempt=1)]) == [83]


def test_a_finished_run_is_finished_for_every_node(cluster: Cluster) -> None:
    history.claim(cluster.root)
    (cluster.generation(1) / "success.json").write_text("{}")
    assert cluster.wait([cluster.agent(0), cluster.agent(1)]) == [0, 0]


def test_when_nothing_is_proven_all_nodes_stop_and_the_report_says_why(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SLEEP, nodes=2)
    history.claim(cluster.root, start="before")
    (history.commit(cluster.root, 1, 10) / "latest").unlink()
    assert cluster.wait(cluster.start()) == [85, 85]
    said = report.read_report(cluster.root, after_generation=1)
    assert (said.attempt, said.result, said.cause, said.retry) == (1, "failed", "no_proven_checkpoint", False)
    assert "--from-scratch" in said.because


def test_a_node_that_can_not_run_the_job_ends_the_start_of_all(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SLEEP, nodes=2, timeouts={"join": 600, "heartbeat": 600, "grace": 20})
    broken = cluster.base / "broken"
    broken.mkdir()
    for entry in cluster.bundle.iterdir():
        (broken / entry.name).symlink_to(entry)
    (broken / "job.json").unlink()
    (broken / "job.json").write_text(json.dumps({**cluster.job, "python": "/no/such/python"}))
    assert cluster.wait([cluster.agent(0), cluster.agent(1, bundle=broken)]) == [86, 86], "nobody waits for a join"
    assert "/no/such/python" in report.read_report(cluster.root).because


@pytest.mark.parametrize("node", [0, 1])
def test_nodes_that_see_different_directories_say_so(make_cluster: MakeCluster, node: int) -> None:
    cluster = make_cluster(SLEEP, timeouts={"join": 2, "heartbeat": 5, "grace": 5})
    assert cluster.wait([cluster.agent(node)]) == [84]
    because = str(_ended(cluster, node)["because"])
    assert str(cluster.root) in because
    assert ("Node 1 did not join" if node == 0 else "saw no claim of start start-1") in because
    assert "sees another directory" in because


def test_a_claim_of_the_own_start_that_appears_in_the_middle_of_a_look_is_joined(tmp_path: Path) -> None:
    for number in range(40):
        root = tmp_path / str(number)
        history.claim(root, start="start-1")
        waiting = Options(tmp_path, tmp_path, 1, 1, "start-2", None, None, False, None)
        claimed = threading.Thread(target=history.claim, args=(root,), kwargs={"start": "start-2"})
        claimed.start()
        joined = None
        while joined is None:
            joined = fence.check_turn(root, waiting, seen=1, after=None)
        claimed.join()
        assert (joined.start, joined.generation) == ("start-2", 2)


def test_an_older_start_that_lives_on_for_a_while_fences_no_node_of_the_newer_one(tmp_path: Path) -> None:
    history.claim(tmp_path, start="7.0")
    history.end(tmp_path, 1)
    waiting = Options(tmp_path, tmp_path, 1, 1, "7.1", None, None, False, None)
    history.claim(tmp_path, start="7.0", follows=1)  # on a node that the scheduler has lost
    assert fence.check_turn(tmp_path, waiting, seen=1, after=None) is None, "node 0 of its own start will come"
    history.claim(tmp_path, start="8.0")
    with pytest.raises(Ended) as ended:
        fence.check_turn(tmp_path, waiting, seen=1, after=None)
    assert ended.value.code == 83, "a start that came after it counts from now on"


def test_the_last_word_of_an_older_start_does_not_hide_the_newer_one(tmp_path: Path) -> None:
    history.claim(tmp_path, start="7.0")
    older = Options(tmp_path, tmp_path, 1, 1, "7.0", None, None, False, None)
    history.claim(tmp_path, start="7.1")
    fence.write_refusal(tmp_path, older, Ended(84, "node_lost", "no heartbeat of node 0"), seen=0)
    assert (report.read_report(tmp_path).start, report.read_report(tmp_path).result) == ("7.1", None)
    history.end(tmp_path, 2, retry=False, cause="cuda_oom")
    assert (report.read_report(tmp_path).cause, report.read_report(tmp_path).retry) == ("cuda_oom", False)


def test_an_agent_that_is_stopped_while_it_waits_ends_at_once(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SLEEP, timeouts={"join": 600, "heartbeat": 600, "grace": 20})
    agent = cluster.agent(1)
    cluster.until((cluster.root / "owner.json").exists, hint="the agent has begun")
    time.sleep(0.3)
    agent.terminate()
    assert cluster.wait([agent]) == [82]
