"""The account of manifests/rbac.yaml may all that orch does, and nothing that orch does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from orchestrator.clusters.kubernetes.backend import KubernetesBackend
from orchestrator.clusters.kubernetes.check import asking
from orchestrator.clusters.kubernetes.check.answers import GANGS
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.job.protocol.operations.texts import ReadLogs
from orchestrator.model.cluster import Profile
from orchestrator.model.run import Phase, Question
from testbeds.kubernetes.access import Access, Space
from testbeds.kubernetes.cluster import Cluster
from tests.kubernetes.conftest import Make
from tests.kubernetes.handouts import account
from tests.kubernetes.inprocess import Asked, Noting, prepared, quiet, submission, suspended
from tests.kubernetes.lab import KINDS, PLURALS, KubeLab

full = pytest.mark.full
OF_KUEUE = ("kueue.x-k8s.io", "visibility.kueue.x-k8s.io")  # asked of Kueue only where it is, and has the queue
DONE = "import time\nprint('alive', flush=True)\ntime.sleep(600)\n"


@pytest.fixture
def forget(kube_cluster: Access) -> Iterator[list[str]]:
    """Names of what tests made outside of their namespaces."""
    names: list[str] = []
    yield names
    for name in names:
        kube_cluster.kubectl("delete", "clusterrole,clusterrolebinding", name, "--ignore-not-found")


@pytest.fixture
def pod_groups(kube_bed: Cluster) -> Iterator[None]:
    """Discovery, though by no scheduler."""
    made = [definition(group, version) for group, version in GANGS.values()]
    kube_bed.apply(yaml.safe_dump_all(made))
    names = [document["metadata"]["name"] for document in made]
    kube_bed.kubectl("wait", "crd", *names, "--for=condition=Established", "--timeout=30s")
    yield
    kube_bed.kubectl("delete", "crd", *names, "--wait=false")


def definition(group: str, version: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "podgroups", "singular": "podgroup", "kind": "PodGroup", "listKind": "PodGroupList"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [served]}
    metadata = {"name": f"podgroups.{group}"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata, "spec": spec,
    }  # fmt: skip


def restrict(lab: KubeLab, forget: list[str], *, everywhere: bool = True, **profile: Any) -> str:
    """From now on orch asks as the account, which may what rbac.yaml says; the kubeconfig."""
    forget.append(lab.space.name)
    lab.cluster.apply(yaml.safe_dump_all(account(lab.space, everywhere=everywhere)))
    kubeconfig = str(lab.cluster.kubeconfig_for(lab.space.name, "orch"))
    lab.profile(kubeconfig=kubeconfig, **profile)
    return kubeconfig


def profile_of(lab: KubeLab, kubeconfig: str, **changes: Any) -> Profile:
    given = {"image": lab.cluster.image, "namespace": lab.space.name, "claim": lab.space.claim, "job_kind": lab.kind}
    return KubernetesProfile(kind="kubernetes", kubeconfig=kubeconfig, device="cpu", **{**given, **changes})


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["jobset", *(pytest.param(kind, marks=full) for kind in KINDS if kind != "jobset")])
def test_a_run_is_followed_cancelled_and_tried_again_when_its_object_was_deleted(
    make_lab: Make, forget: list[str], kind: str
) -> None:
    lab = make_lab(kind)
    restrict(lab, forget, overlay=quiet(kind))
    run = lab.submit(lab.script("still", DONE))
    lab.until(lambda: "alive" in lab.orch("logs", run).stdout, hint="its log is read")
    lab.kubectl("delete", PLURALS[kind], f"orch-{run}-1", "--wait=false")
    lab.until_recorded(run, lambda one: one.attempt == 2, hint="at attempt 2")
    lab.until(lambda: set(lab.objects(run)) == {f"orch-{run}-2"}, hint="the object of attempt 2")
    assert "forbidden" not in str(lab.events(run))
    lab.until(lambda: len(lab.pods(run, attempt=2)) == 2, hint="attempt 2 has pods")
    lab.orch("cancel", run, "--now")
    lab.until_phase(run, "cancelled")
    lab.until(lambda: not lab.objects(run) and not lab.pods(run), hint="nothing of it is left")
    assert "forbidden" not in (lab.home / "controller.log").read_text()


def test_nodes_are_known_with_the_cluster_role_and_nothing_fails_without(make_lab: Make, forget: list[str]) -> None:
    lab = make_lab("jobset")
    narrow = profile_of(lab, restrict(lab, forget, everywhere=False))
    assert KubernetesBackend("k8s", narrow, lab.home).hosts() == ()
    lab.orch("nodes", "exclude", "no-such-node", "-c", "k8s")
    lab.profile(kubeconfig=narrow.kubeconfig, overlay=suspended("jobset"))
    lab.submit(lab.script("without", DONE))
    lab.until(lambda: lab.objects("without") == ["orch-without-1"], hint="it is handed over")
    wide = profile_of(lab, restrict(lab, forget))
    nodes = lab.cluster.get("nodes")["items"]
    known = lab.until(KubernetesBackend("k8s", wide, lab.home).hosts, hint="nodes are known")
    assert known
    assert set(known) <= {node["metadata"]["name"] for node in nodes}


def test_the_account_may_what_orch_asks_and_no_more(make_lab: Make, forget: list[str], pod_groups: None) -> None:
    """The requests of each part of orch to a real server, as its rules see them, against the rules of rbac.yaml."""
    lab = make_lab("jobset")
    kubeconfig = restrict(lab, forget)
    asked: set[Asked] = set()
    for kind in KINDS:
        asked |= of_a_run(lab, kind, profile_of(lab, kubeconfig, job_kind=kind))
    asked |= of_gangs(lab, profile_of(lab, kubeconfig)) | of_checkups(profile_of(lab, kubeconfig))
    granted = {one for one in rules(lab.space) if one[1] not in OF_KUEUE}
    asked = {one for one in asked if one[1] not in OF_KUEUE}
    assert asked - granted == set(), "orch asks what it may not"
    assert granted - asked == set(), "nobody asks for this"


def of_a_run(lab: KubeLab, kind: str, profile: Profile) -> set[Asked]:
    """From submission to its end: a run of two attempts, and one that waits in a queue."""
    api = Noting("k8s", replace(profile, overlay=quiet(kind)))
    backend = KubernetesBackend("k8s", api._profile, lab.home, api=api)
    backend.ready()
    assert backend.hosts()
    made = prepared(lab.script(f"of-{kind}", DONE), backend)
    first = submission(lab, made)
    given = replace(first, handle=backend.submit(first, made.bundle, {}))
    asked = [Question(submission=given)]
    assert backend.submit(first, made.bundle, {}) == given.handle
    lab.until(lambda: backend.observe(asked)[first.run].phase is Phase.STARTING, hint="its pods run")
    request = ReadLogs(run=first.run, run_id=first.run_id, dir="", checkpoint_dir="", attempt=1)
    lab.until(lambda: backend.read([request])[0].texts, hint="its log is read")
    backend.cancel(given, now=True)
    lab.until(
        lambda: backend.observe(asked)[first.run].phase not in {Phase.STOPPING, Phase.RUNNING},
        hint="it ends",
    )
    return api.asked | of_queued(lab, kind, profile)


def of_queued(lab: KubeLab, kind: str, profile: Profile) -> set[Asked]:
    waiting = replace(profile, queue="gpus", claim=None, storage_class="shared", overlay=suspended(kind))
    api = Noting("k8s", waiting)
    backend = KubernetesBackend("k8s", waiting, lab.home, api=api)
    made = prepared(lab.script(f"queued-{kind}", DONE), backend)
    one = submission(lab, made)
    given = replace(one, handle=backend.submit(one, made.bundle, {}))
    lab.until(lambda: backend.observe([Question(submission=given)])[given.run].phase is Phase.QUEUED, hint="it waits")
    backend.cancel(given, now=False)
    return api.asked


def of_gangs(lab: KubeLab, profile: Profile) -> set[Asked]:
    """A second attempt takes the PodGroup of the first one away."""
    asked: set[Asked] = set()
    for gang, (group, _) in GANGS.items():
        api = Noting("k8s", replace(profile, gang=gang, overlay=suspended("jobset")))
        backend = KubernetesBackend("k8s", api._profile, lab.home, api=api)
        made = prepared(lab.script(gang, DONE), backend)
        for attempt in (1, 2):
            backend.submit(submission(lab, made, attempt), made.bundle, {})
        left = lab.kubectl("get", f"podgroups.{group}", "-o", "name").split()
        assert left == [f"podgroup.{group}/orch-{gang}-2"]
        asked |= api.asked
    return asked


def of_checkups(profile: Profile) -> set[Asked]:
    asked: set[Asked] = set()
    named: dict[str, Any] = {
        "service_account": "orch", "priority_class": "urgent", "queue": "gpus", "workload_priority": "high",
    }  # fmt: skip
    for changes in (
        {"job_kind": "auto", **named},
        {"claim": None, "storage_class": "shared"},
        {"claim": None, "runtime": "TrainingRuntime/orch-torch"},
    ):
        api = Noting("k8s", replace(profile, **changes))
        asking.ask(api, api._profile)
        asking.look_around(api, api._profile)
        asked |= api.asked
    return asked


def rules(space: Space) -> set[Asked]:
    return {
        (verb, group, resource)
        for document in account(space)
        for rule in document.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
