"""What an attempt is doing, from what the cluster lists: states as they were seen, one after the other."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clusters.kubernetes import events, reading
from orchestrator.clusters.kubernetes.answers import Event, JobObject, PodObject, Workload, read
from orchestrator.clusters.kubernetes.kinds import JOB_RESOURCES, JobStatus, Lifecycle, resource_of, status_of
from orchestrator.clusters.kubernetes.pods import Pod, newest_of, pods_of
from orchestrator.clusters.kubernetes.reading import AttemptView
from orchestrator.model.run import Cause, Phase, Progress, Report, Submission

DEAD_NODE = json.loads((Path(__file__).parents[1] / "data/kubernetes/dead-node.json").read_text())
SEEN = 1795724560.0  # seconds, on the server's clock, when these pods were listed
SUBMISSION = Submission(
    run="tiny", run_id="96b6a164842d", attempt=1, cluster="k8s", digest="d", dir="/shared/runs/tiny",
    checkpoint_dir="/shared/runs/tiny/ckpt", bundle_file="", nodes=2, handle="pytorchjob/orch-tiny-1",
)  # fmt: skip
LIVE = JobStatus(lifecycle=Lifecycle.LIVE, raw="Running", because="")


def pods(*documents: dict[str, Any]) -> list[Pod]:
    return pods_of([read(PodObject, document) for document in documents], SEEN)


def head(**status: Any) -> dict[str, Any]:
    """Node 0's pod, as it was on a dead node, with some of its status replaced."""
    document = copy.deepcopy(DEAD_NODE[0])
    document["status"] |= status
    return document


def living(**status: Any) -> dict[str, Any]:
    document = head(**status)
    del document["metadata"]["deletionTimestamp"]
    document["status"]["conditions"] = [
        one for one in document["status"]["conditions"] if one["type"] != "DisruptionTarget"
    ]
    return document


def worker() -> dict[str, Any]:
    return copy.deepcopy(DEAD_NODE[1])


def terminated(code: int, reason: str = "Error", message: str | None = None) -> list[dict[str, Any]]:
    state = {"exitCode": code, "reason": reason, **({"message": message} if message is not None else {})}
    return [{"name": "pytorch", "state": {"terminated": state}}]


def see(**changes: Any) -> reading.Observation:
    last = {pod.number: pod.last_record for pod in changes.get("pods", ()) if pod.last_record is not None}
    report = next((one.report for one in last.values()), None)
    plain = {"status": LIVE, "pods": (), "asked": False, "report": report, "last_records": last, **changes}
    return reading.observe(SUBMISSION, AttemptView(**plain))


def warnings(*documents: dict[str, Any]) -> list[Event]:
    return [read(Event, document) for document in documents]


def test_the_number_of_a_node_is_that_of_the_operator_and_workers_come_after_the_master():
    assert sorted(newest_of(pods(*DEAD_NODE))) == [0, 1]
    indexed = worker()
    indexed["metadata"]["labels"] = {"batch.kubernetes.io/job-completion-index": "1", "orch/attempt": "1"}
    assert pods(indexed)[0].number == 1


def test_a_pod_on_a_node_that_does_not_answer_is_lost_long_before_its_grace_is_over():
    lost = pods(head())[0]
    assert (lost.lost, lost.alive, lost.running, lost.node) == (True, False, True, "node-1")


def test_a_pod_that_was_asked_to_go_where_its_node_lives_is_not_lost():
    document = head()
    for condition in document["status"]["conditions"]:
        if condition["type"] == "Ready":
            condition["status"] = "True"
    assert not pods(document)[0].lost


def test_a_pod_that_hangs_past_its_grace_is_lost_whatever_its_conditions_say():
    document = living()
    document["metadata"]["deletionTimestamp"] = "2026-11-26T20:21:00Z"
    assert pods(document)[0].lost


def test_the_last_word_of_a_pod_says_that_the_run_is_complete_though_node_0_is_lost():
    seen = see(status=None, pods=pods(*DEAD_NODE), asked=True, lost=("node-1",))
    assert (seen.phase, seen.cause) == (Phase.SUCCEEDED, Cause.COMPLETED)


def test_a_lost_node_leaves_a_living_attempt_partial_and_names_the_node_when_it_is_over():
    seen = see(pods=pods(head(), living()), lost=("node-1",))
    assert seen.phase is Phase.STARTING
    assert "node-1" in seen.partial
    over = see(status=None, pods=pods(head()), asked=True, lost=("node-1",))
    assert (over.phase, over.cause) == (Phase.FAILED, Cause.NODE_LOST)
    assert over.report is not None
    assert over.report.host == "node-1"


def test_agents_that_saved_on_the_way_out_do_not_hide_the_node_that_was_lost():
    saved = worker()
    word = json.loads(saved["status"]["containerStatuses"][0]["state"]["terminated"]["message"])
    word["report"] |= {
        "success": False,
        "result": "stopped",
        "cause": "asked_to_stop",
        "because": "saved",
        "retry": True,
    }
    saved["status"]["containerStatuses"] = terminated(182, message=json.dumps(word))
    seen = see(status=None, pods=pods(head(), saved), asked=True, lost=("node-1",))
    assert (seen.phase, seen.cause) == (Phase.STOPPED, Cause.NODE_LOST)
    assert seen.report is not None
    assert (seen.report.cause, seen.report.host) == (Cause.NODE_LOST, "node-1")
    assert "saved" in seen.because


def test_while_a_pod_of_a_gone_object_runs_the_attempt_is_not_over():
    assert see(status=None, pods=pods(living()), asked=True).phase is Phase.STOPPING
    assert see(status=None, pods=pods(living())).phase is Phase.STOPPING


def test_an_object_that_somebody_deleted_was_asked_to_stop_and_one_that_orch_ended_has_failed():
    assert see(status=None).cause is Cause.ASKED_TO_STOP
    ended = see(status=None, asked=True, lost=("node-1",))
    assert (ended.phase, ended.cause) == (Phase.FAILED, Cause.NODE_LOST)


def test_an_attempt_that_was_cancelled_before_it_had_a_pod_is_cancelled():
    assert see(status=None, asked=True).phase is Phase.CANCELLED


def test_an_operator_that_says_succeeded_is_not_believed_without_the_jobs_own_word():
    done = JobStatus(lifecycle=Lifecycle.SUCCEEDED, raw="Succeeded", because="")
    seen = see(status=done, pods=pods(living(phase="Succeeded", containerStatuses=terminated(0, "Completed"))))
    assert (seen.phase, seen.cause) == (Phase.FAILED, Cause.AGENT_LOST)
    assert see(status=done, pods=pods(worker())).phase is Phase.SUCCEEDED


def test_a_container_that_was_killed_for_its_memory_names_that():
    failed = JobStatus(lifecycle=Lifecycle.FAILED, raw="Failed", because="")
    killed = living(phase="Failed", containerStatuses=terminated(137, "OOMKilled"))
    assert see(status=failed, pods=pods(killed)).cause is Cause.HOST_OOM


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("The node was low on resource: memory. Threshold quantity: 100Mi", Cause.HOST_OOM),
        (
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ephemeral-storage",
            Cause.DISK_FULL,
        ),
        ("The node had condition: [DiskPressure].", Cause.DISK_FULL),
        ("The node had condition: [PIDPressure].", Cause.PREEMPTED),
    ],
)
def test_an_eviction_by_the_node_is_told_by_its_recorded_status(message, cause):
    failed = JobStatus(lifecycle=Lifecycle.FAILED, raw="Failed", because="")
    evicted = living(phase="Failed", reason="Evicted", message=message, containerStatuses=[])
    seen = see(status=failed, pods=pods(evicted))
    assert seen.cause is cause
    assert message[:20] in seen.because


def test_what_ended_a_pod_that_another_has_followed_is_over():
    old, new = living(phase="Failed", containerStatuses=terminated(137, "OOMKilled")), copy.deepcopy(living())
    new["metadata"] |= {"name": "newer", "uid": "newer", "creationTimestamp": "2027-01-01T00:00:00Z"}
    new["status"] |= {"phase": "Failed", "containerStatuses": terminated(1, message="Traceback")}
    failed = JobStatus(lifecycle=Lifecycle.FAILED, raw="Failed", because="")
    assert see(status=failed, pods=pods(old)).cause is Cause.HOST_OOM
    seen = see(status=failed, pods=pods(old, new))
    assert seen.cause is Cause.AGENT_LOST
    assert "pod newer" in seen.because


def test_a_last_word_of_another_form_is_none():
    strange = json.dumps({"node": 0, "attempt": 1, "report": ["x"]})
    [pod] = pods(living(phase="Failed", containerStatuses=terminated(1, message=strange)))
    assert pod.last_record is None


def test_pods_that_have_all_ended_wait_for_their_operator_and_not_in_a_queue():
    assert see(pods=pods(worker())).phase is not Phase.QUEUED


@pytest.mark.parametrize(
    ("message", "stuck"),
    [
        ("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 ...", True),
        ("0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 didn't match affinity/selector.", True),
        ("0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) didn't match affinity/selector.", False),
        ("0/3 nodes are available: 3 Insufficient memory. preemption: 0/3 nodes are available", False),
        ('persistentvolumeclaim "gone" not found', True),
        ("", False),
    ],
)  # fmt: skip
def test_what_waiting_can_change_is_waited_for(message, stuck):
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    waiting = living(phase="Pending", conditions=[condition], containerStatuses=[])
    seen = see(pods=pods(waiting))
    assert seen.phase is Phase.QUEUED
    assert "cannot be scheduled" in seen.because
    assert bool(seen.stuck) is stuck


@pytest.mark.parametrize(
    ("reason", "stuck"),
    [("ImagePullBackOff", True), ("CreateContainerConfigError", True), ("PodInitializing", False), ("Odd", False)],
)
def test_a_container_that_waits_says_why(reason, stuck):
    statuses = [{"name": "pytorch", "state": {"waiting": {"reason": reason, "message": "m"}}}]
    condition = {"type": "PodScheduled", "status": "True"}
    seen = see(pods=pods(living(phase="Pending", conditions=[condition], containerStatuses=statuses)))
    assert bool(seen.stuck) is stuck
    assert (reason in seen.because) is (reason != "PodInitializing")


def test_a_container_that_could_not_start_at_all_is_stuck():
    document = living(phase="Failed", containerStatuses=terminated(128, "StartError", "exec: no such file"))
    assert "no such file" in pods(document)[0].stuck


@pytest.mark.parametrize(
    ("message", "words", "stuck"),
    [
        ('pods "p" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true', "PodSecurity", True),
        (
            'pods "p" is forbidden: exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0',
            "quota",
            False,
        ),
        ('admission webhook "w.example" denied the request: no', "webhook", True),
        ("something else", "cannot be made", True),
    ],
)
def test_an_operator_that_could_make_no_pod_says_why_in_an_event(message, words, stuck):
    event = {"reason": "FailedCreatePod", "message": message, "involvedObject": {"name": "orch-tiny-1"}}
    other = {"reason": "FailedCreatePod", "message": "x", "involvedObject": {"name": "orch-tiny-12"}}
    found = events.trouble_of(events.by_name(warnings(other, event))["orch-tiny-1"], missing=True)
    assert found is not None
    assert words in found.message
    assert found.stuck is stuck
    assert "orch-tiny-1" not in events.by_name(warnings(other))


def test_the_newest_event_is_believed():
    old = {"reason": "FailedCreate", "message": "violates PodSecurity", "involvedObject": {"name": "a"}}
    new = {
        "reason": "FailedCreate",
        "message": "exceeded quota: q, requested: a, used: b, limited: c",
        "involvedObject": {"name": "a"},
    }
    found = events.trouble_of(
        warnings({**old, "lastTimestamp": "2026-01-01T00:00:00Z"}, {**new, "lastTimestamp": "2026-01-02T00:00:00Z"}),
        missing=True,
    )
    assert found is not None
    assert "quota" in found.message


def test_conditions_are_believed_in_the_operators_order():
    def status(*true: str) -> JobObject:
        conditions = [{"type": name, "status": "True", "message": name} for name in true]
        return read(JobObject, {"status": {"conditions": conditions}})

    job = JOB_RESOURCES["pytorchjob"]
    assert status_of(job, status("Created", "Running", "Failed", "Succeeded")).lifecycle is Lifecycle.FAILED
    assert status_of(job, status("Created", "Suspended", "Running")).lifecycle is Lifecycle.WAITING
    assert status_of(job, status("Created", "Restarting")).raw == "Restarting"
    assert status_of(job, JobObject()).lifecycle is Lifecycle.LIVE
    assert status_of(JOB_RESOURCES["jobset"], status("Completed")).lifecycle is Lifecycle.SUCCEEDED
    assert status_of(JOB_RESOURCES["trainjob"], status("Complete")).lifecycle is Lifecycle.SUCCEEDED


def test_a_handle_names_the_kind():
    assert resource_of("jobset/orch-tiny-1") is JOB_RESOURCES["jobset"]
    assert resource_of("cancelled") is None
    assert resource_of(None) is None


def test_a_report_of_a_later_generation_or_with_an_end_is_the_newer_one():
    first = Report(attempt=1, generation=1, progress=Progress(step=30))
    later = Report(attempt=1, generation=2, progress=Progress(step=3))
    assert reading.newer(first, later) is later
    ended = replace(first, result="failed", progress=Progress(step=10))
    assert reading.newer(ended, first) is ended
    assert reading.newer(None, first) is first


def test_kueue_tells_the_place_and_why_it_was_lost():
    workload = {
        "metadata": {"name": "w", "ownerReferences": [{"uid": "u"}]},
        "spec": {"queueName": "gpus"},
        "status": {
            "conditions": [
                {"type": "Evicted", "status": "True", "reason": "Preempted", "message": "by another"},
                {"type": "QuotaReserved", "status": "False", "message": "insufficient quota"},
            ]
        },
    }
    words = events.kueue_of(events.by_owner([read(Workload, workload)])["u"], {"w": 2})
    assert "Preempted" in words
    assert "place 3" in words
    assert "insufficient quota" in words
    assert "not taken it" in events.kueue_of(None, {})
