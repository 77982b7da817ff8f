"""manifests/: what a person applies once is valid, strict, and no more than orch needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from orchestrator.clusters import PROFILES
from orchestrator.clusters.kubernetes.profile import OWN_RUNTIME
from orchestrator.config import configfile
from tests.rendering import crds

ROOT = Path(__file__).parents[2] / "manifests"
FILES = sorted(ROOT.glob("*.yaml"))
NAMESPACED = {"ServiceAccount", "Role", "RoleBinding", "PersistentVolumeClaim", "ConfigMap", "Deployment", "LocalQueue"}


def objects(*names):
    paths = [ROOT / name for name in names] or FILES
    return [document for path in paths for document in yaml.safe_load_all(path.read_text())]


def one(kind, *names):
    (found,) = [each for each in objects(*names) if each["kind"] == kind]
    return found


def rules(kind):
    """API group, resource -> verbs."""
    return {
        (group, resource): set(rule["verbs"])
        for rule in one(kind, "rbac.yaml")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


@pytest.mark.parametrize("made", objects(), ids=lambda made: f"{made['kind']}-{made['metadata']['name']}")
def test_an_object_of_an_operator_fits_its_schema_and_others_the_namespace(made):
    if made["kind"] in crds.FILES:
        crds.check(made)
    if made["kind"] in NAMESPACED:
        assert made["metadata"]["namespace"] == "train"
    else:
        assert "namespace" not in made["metadata"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_readers_of_yaml_1_1_and_1_2_agree(path):
    from orchestrator.config import yamlfile

    for text in path.read_text().split("\n---\n"):
        assert yamlfile.plain(yamlfile.parse(text.encode(), path.name)) == yaml.safe_load(text)


def test_pods_of_the_controller_pass_restricted_and_fit_their_schema():
    template = one("Deployment", "controller.yaml")["spec"]["template"]
    crds.pod_validator().validate(template)
    assert crds.against_restricted(template["spec"]) == []
    (container,) = template["spec"]["containers"]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_pods_of_the_runtime_pass_restricted():
    runtime = one("ClusterTrainingRuntime", "runtime.yaml")
    assert runtime["metadata"]["name"] == OWN_RUNTIME
    (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]
    crds.pod_validator().validate(pod)
    assert crds.against_restricted(pod["spec"]) == []
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_one_controller_has_the_store_and_lets_go_of_it_before_another_one_comes():
    spec = one("Deployment", "controller.yaml")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert not any(name.startswith("orch/") for name in spec["template"]["metadata"]["labels"])
    (container,) = spec["template"]["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}
    claim = one("PersistentVolumeClaim", "controller.yaml")
    assert volumes[mounts[variables["ORCH_HOME"]]]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_the_controllers_configuration_is_read_and_starts_no_other():
    kept = one("ConfigMap", "controller.yaml")["data"]
    config = configfile.parse(kept["config.yaml"].encode(), "config.yaml", PROFILES)
    assert config.controller == "external"
    profile = config.clusters[config.default]
    assert (profile.kind, profile.namespace, profile.kubeconfig) == ("kubernetes", "train", None)
    assert profile.claim == one("PersistentVolumeClaim", "claim.yaml")["metadata"]["name"]


def test_the_controller_runs_under_the_account_that_the_roles_are_bound_to():
    account = one("ServiceAccount", "rbac.yaml")["metadata"]
    assert one("Deployment", "controller.yaml")["spec"]["template"]["spec"]["serviceAccountName"] == account["name"]
    for binding, role in (("RoleBinding", "Role"), ("ClusterRoleBinding", "ClusterRole")):
        bound = one(binding, "rbac.yaml")
        assert bound["subjects"] == [{"kind": "ServiceAccount", "name": "orch", "namespace": "train"}]
        assert (bound["roleRef"]["kind"], bound["roleRef"]["name"]) == (
            role,
            one(role, "rbac.yaml")["metadata"]["name"],
        )


def test_the_role_is_the_least_that_works():
    """The same as tests/kubernetes/test_rights.py sees orch ask a real server, and what only other clusters serve."""
    jobs = {"get", "list", "create", "patch", "delete"}
    assert rules("Role") == {
        ("trainer.kubeflow.org", "trainjobs"): jobs,
        ("jobset.x-k8s.io", "jobsets"): jobs,
        ("kubeflow.org", "pytorchjobs"): jobs,
        ("", "pods"): {"list", "watch", "delete"},
        ("", "pods/log"): {"get"},
        ("", "events"): {"list"},
        ("", "configmaps"): {"get", "list", "create", "patch", "delete"},
        ("", "persistentvolumeclaims"): {"get", "list", "create"},
        ("scheduling.volcano.sh", "podgroups"): {"create", "patch", "delete"},
        ("scheduling.x-k8s.io", "podgroups"): {"create", "patch", "delete"},
        ("kueue.x-k8s.io", "localqueues"): {"get", "list"},
        ("kueue.x-k8s.io", "workloads"): {"list"},
        ("visibility.kueue.x-k8s.io", "localqueues/pendingworkloads"): {"get"},
        ("trainer.kubeflow.org", "trainingruntimes"): {"get"},
        ("", "resourcequotas"): {"list"},
        ("", "limitranges"): {"list"},
        ("", "serviceaccounts"): {"get"},
    }


def test_outside_the_namespace_orch_only_reads():
    assert rules("ClusterRole") == {
        ("", "nodes"): {"list"},
        ("", "namespaces"): {"get"},
        ("trainer.kubeflow.org", "clustertrainingruntimes"): {"get"},
        ("storage.k8s.io", "storageclasses"): {"list"},
        ("kueue.x-k8s.io", "clusterqueues"): {"get"},
        ("kueue.x-k8s.io", "workloadpriorityclasses"): {"get"},
        ("scheduling.k8s.io", "priorityclasses"): {"get"},
    }


def test_every_rule_says_why():
    lines = (ROOT / "rbac.yaml").read_text().splitlines()
    rules = [place for place, line in enumerate(lines) if line.startswith("  - apiGroups")]
    assert rules
    assert all(lines[place - 1].startswith("  # ") for place in rules)


def test_a_queue_leads_to_a_quota_of_what_pods_ask_for():
    queue, quota = one("LocalQueue", "kueue.yaml"), one("ClusterQueue", "kueue.yaml")
    assert queue["spec"]["clusterQueue"] == quota["metadata"]["name"]
    (group,) = quota["spec"]["resourceGroups"]
    (flavor,) = group["flavors"]
    assert flavor["name"] == one("ResourceFlavor", "kueue.yaml")["metadata"]["name"]
    assert [each["name"] for each in flavor["resources"]] == group["coveredResources"]


def test_the_page_names_every_file():
    page = (ROOT / "README.md").read_text()
    assert {path.name for path in FILES} == set(re.findall(r"\]\(([a-z]+\.yaml)\)", page))
