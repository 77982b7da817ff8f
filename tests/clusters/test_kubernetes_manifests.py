"""The objects of an attempt, from a bundle that was rendered for the first: its name, its number, its nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from orchestrator.clusters.kubernetes.manifests import manifests_of, pod_specs, tombstone
from orchestrator.errors import JobError
from orchestrator.model.run import Submission
from tests.rendering.build import PROFILES, SPEC, bundle
from tests.rendering.pods import templates

KINDS = ["pytorchjob", "jobset", "trainjob"]
SUBMISSION = Submission(
    run=SPEC.name, run_id="0123456789ab", attempt=7, cluster="k8s", digest="", dir="/shared/runs/tiny-llama",
    checkpoint_dir="/shared/runs/tiny-llama/ckpt", bundle_file="", nodes=2,
)  # fmt: skip


def rendered(kind: str, **changes: Any):
    profile = replace(PROFILES["kubernetes"], job_kind=kind, **changes)
    return bundle("kubernetes", profile)


def texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (key, *texts(inner))]
    return [text for inner in value for text in texts(inner)] if isinstance(value, list) else []


def arguments(job: dict[str, Any]) -> list[list[str]]:
    found: list[list[str]] = []

    def walk(value: Any) -> None:
        if isinstance(value, list) and "--attempt" in value:
            found.append(value)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(inner)

    walk(job)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_attempt_is_what_was_rendered(kind):
    whole = rendered(kind)
    made = manifests_of(whole, replace(SUBMISSION, attempt=1))
    assert made.job == yaml.safe_load(whole.text(f"{kind}.yaml"))
    assert made.config_map == yaml.safe_load(whole.text("configmap.yaml"))
    assert made.claim == yaml.safe_load(whole.text("claim.yaml"))
    assert made.resource.kind == kind


@pytest.mark.parametrize("kind", KINDS)
def test_another_attempt_has_its_own_name_everywhere(kind):
    made = manifests_of(rendered(kind), SUBMISSION)
    assert made.job["metadata"]["name"] == made.config_map["metadata"]["name"] == "orch-tiny-llama-7"
    assert not [text for text in texts(made.job) if "orch-tiny-llama-1" in text]
    assert made.job["metadata"]["labels"]["orch/attempt"] == "7"
    for words in arguments(made.job):
        told = dict(zip(words[::2], words[1::2], strict=True))
        assert told["--attempt"] == "7"
        assert told["--start"].startswith("orch-tiny-llama-7")
        assert told["--address"].startswith("orch-tiny-llama-7-")
        assert told["--run-dir"] == "/shared/runs/tiny-llama"


@pytest.mark.parametrize("kind", KINDS)
def test_what_users_have_named_like_an_attempt_keeps_its_name(kind):
    named = {
        "claim": "orch-tiny-llama-1", "storage_class": None, "service_account": "orch-tiny-llama-1",
        "annotations": {"example.com/a": "orch-tiny-llama-1"}, "pull_secrets": ("orch-tiny-llama-1",),
    }  # fmt: skip
    job = manifests_of(rendered(kind, **named), SUBMISSION).job
    assert job["metadata"]["annotations"]["example.com/a"] == "orch-tiny-llama-1"
    for pod in pod_specs(job):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["shared"]["persistentVolumeClaim"]["claimName"] == "orch-tiny-llama-1"
        assert volumes["bundle"]["configMap"]["name"] == "orch-tiny-llama-7"
        assert pod["serviceAccountName"] == pod["imagePullSecrets"][0]["name"] == "orch-tiny-llama-1"


@pytest.mark.parametrize("kind", ["jobset", "pytorchjob"])
@pytest.mark.parametrize(
    ("gang", "place", "name"),
    [
        ("volcano", "annotations", "scheduling.k8s.io/group-name"),
        ("coscheduling", "labels", "scheduling.x-k8s.io/pod-group"),
    ],
)
def test_the_pods_of_another_attempt_are_in_its_own_gang(kind, gang, place, name):
    made = manifests_of(rendered(kind, gang=gang), SUBMISSION)
    assert made.others[0]["metadata"]["name"] == "orch-tiny-llama-7"
    for template in templates(made.job):
        assert template["metadata"][place][name] == "orch-tiny-llama-7"


@pytest.mark.parametrize("kind", KINDS)
def test_nodes_that_are_left_out_are_kept_off_on_top_of_what_the_profile_wants(kind):
    made = manifests_of(rendered(kind), replace(SUBMISSION, exclude=("bad-1", "bad-2")))
    pods = list(pod_specs(made.job))
    assert pods
    for pod in pods:
        required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        [term] = required["nodeSelectorTerms"]
        assert [one["values"] for one in term["matchFields"]] == [["bad-1"], ["bad-2"]]
        assert "podAntiAffinity" in pod["affinity"]


def test_every_term_of_an_affinity_keeps_off_what_is_left_out():
    terms = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]} for zone in "ab"]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    role = {"template": {"spec": {"affinity": affinity}}}
    overlay = {"spec": {"pytorchReplicaSpecs": {"Master": role, "Worker": role}}}
    made = manifests_of(rendered("pytorchjob", overlay=overlay), replace(SUBMISSION, exclude=("bad",)))
    for pod in pod_specs(made.job):
        required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert [term["matchFields"][0]["values"] for term in required["nodeSelectorTerms"]] == [["bad"], ["bad"]]
        assert [term["matchExpressions"] for term in required["nodeSelectorTerms"]] == [
            term["matchExpressions"] for term in terms
        ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_users_word_where_to_go_on_reaches_every_agent(kind):
    words = arguments(manifests_of(rendered(kind), replace(SUBMISSION, from_step=40)).job)
    assert words
    assert all(one[-2:] == ["--from-step", "40"] for one in words)
    anew = arguments(manifests_of(rendered(kind), replace(SUBMISSION, from_scratch=True)).job)
    assert all(one[-1] == "--from-scratch" for one in anew)


def test_files_that_speak_of_the_first_attempt_are_left_as_they_are():
    made = manifests_of(rendered("jobset"), SUBMISSION)
    assert made.config_map["data"] == yaml.safe_load(rendered("jobset").text("configmap.yaml"))["data"]


def test_a_podgroup_goes_with_its_attempt():
    made = manifests_of(rendered("jobset", gang="volcano"), SUBMISSION)
    [group] = made.others
    assert (group["kind"], group["metadata"]["name"]) == ("PodGroup", "orch-tiny-llama-7")


def test_a_bundle_for_another_kind_of_cluster_is_refused():
    with pytest.raises(JobError, match="no job for Kubernetes"):
        manifests_of(bundle("slurm"), SUBMISSION)


def test_what_stands_for_an_attempt_that_was_cancelled_before_it_was_one_bears_its_name():
    labels = tombstone(SUBMISSION)["metadata"]["labels"]
    assert tombstone(SUBMISSION)["metadata"]["name"] == "orch-tiny-llama-7"
    assert (labels["orch/run-id"], labels["orch/attempt"], labels["orch/asked"]) == ("0123456789ab", "7", "yes")
