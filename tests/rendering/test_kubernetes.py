"""Manifests against the operator's own schema, and what a cluster would refuse or a person would regret."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml

from orchestrator.errors import JobError
from orchestrator.model.bundle import File
from orchestrator.model.cluster import Profile
from orchestrator.model.spec import Checkpoint, Secret
from orchestrator.rendering.configmap import LIMIT
from tests.rendering.build import PAYLOAD, PROFILES, SPEC, bundle, nodes

CRD = Path(__file__).parents[1] / "data/crds/kubeflow.org_pytorchjobs.v1.9.4.yaml.gz"


@pytest.fixture(scope="module")
def schema():
    """The schema of PyTorchJob v1; like a server asked to validate strictly, it knows no other fields."""
    definition = yaml.load(gzip.decompress(CRD.read_bytes()), yaml.CSafeLoader)
    (version,) = [version for version in definition["spec"]["versions"] if version["name"] == "v1"]
    return strict(version["schema"]["openAPIV3Schema"])


def strict(schema):
    if isinstance(schema, list):
        return [strict(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(inner) for key, inner in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed["additionalProperties"] = False
    return closed


def manifest(name, profile=PROFILES["kubernetes"], /, **changes):
    return yaml.safe_load(bundle("kubernetes", profile, **changes).text(name))


def pods(job):
    return [replica["template"]["spec"] for replica in job["spec"]["pytorchReplicaSpecs"].values()]


@pytest.mark.parametrize("profile", [PROFILES["kubernetes"], Profile(kind="kubernetes")])
@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_job_fits_the_operators_schema(schema, profile, count, device):
    job = manifest("pytorchjob.yaml", profile, plan=nodes(count, device=device))
    jsonschema.Draft202012Validator(schema).validate(job)


def test_the_schema_is_strict_about_fields_it_does_not_know(schema):
    job = manifest("pytorchjob.yaml")
    pods(job)[0]["containers"][0]["comand"] = []
    with pytest.raises(jsonschema.ValidationError, match="comand"):
        jsonschema.Draft202012Validator(schema).validate(job)


@pytest.mark.parametrize(("count", "replicas"), [(1, {"Master": 1}), (2, {"Master": 1, "Worker": 1})])
def test_there_is_one_pod_a_node(count, replicas):
    job = manifest("pytorchjob.yaml", plan=nodes(count))
    assert {role: spec["replicas"] for role, spec in job["spec"]["pytorchReplicaSpecs"].items()} == replicas


def test_the_agent_is_told_its_node_by_the_operator_and_its_address_by_name():
    for pod in pods(manifest("pytorchjob.yaml")):
        arguments = pod["containers"][0]["args"]
        told = dict(zip(arguments[::2], arguments[1::2], strict=True))
        assert told["--node"] == "$(PET_NODE_RANK)"
        assert told["--address"] == "orch-tiny-llama-1-master-0"
        assert told["--run-dir"] == "/shared/runs/tiny-llama"


def test_pods_pass_the_restricted_pod_security_standard():
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, rule by rule."""
    allowed_volumes = {"configMap", "persistentVolumeClaim", "emptyDir"}
    for pod in pods(manifest("pytorchjob.yaml")):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] != 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all(set(volume) - {"name"} <= allowed_volumes for volume in pod["volumes"])
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_requests_are_limits_and_name_the_gpus():
    for pod in pods(manifest("pytorchjob.yaml")):
        resources = pod["containers"][0]["resources"]
        assert resources["requests"] == resources["limits"]
        assert resources["limits"] == {"cpu": "8", "memory": "16897Mi", "nvidia.com/gpu": "4"}


def test_a_job_on_cpus_asks_for_no_gpu():
    for pod in pods(manifest("pytorchjob.yaml", plan=nodes(2, device="cpu"))):
        assert pod["containers"][0]["resources"]["limits"] == {"memory": "16897Mi"}


def test_pods_of_one_job_do_not_share_a_machine():
    job = manifest("pytorchjob.yaml")
    for pod in pods(job):
        (term,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        assert term["labelSelector"]["matchLabels"] == {"training.kubeflow.org/job-name": job["metadata"]["name"]}


def test_the_kubelet_waits_for_a_save():
    plan = replace(nodes(2), checkpoint_bytes=100 * 10**9)
    for pod in pods(manifest("pytorchjob.yaml", plan=plan)):
        assert pod["terminationGracePeriodSeconds"] == 120 + 1000 + 60


def test_the_operators_own_variables_are_left_alone():
    for pod in pods(manifest("pytorchjob.yaml")):
        names = {entry["name"] for entry in pod["containers"][0]["env"]}
        assert not {name for name in names if name.startswith(("PET_", "MASTER_", "RANK", "WORLD_"))}


def test_a_secret_is_a_reference_and_its_name_is_no_path():
    job = manifest("pytorchjob.yaml", spec=replace(SPEC, secrets={"HF_TOKEN": Secret(kubernetes="hub/token")}))
    for pod in pods(job):
        (entry,) = [entry for entry in pod["containers"][0]["env"] if entry["name"] == "HF_TOKEN"]
        assert entry["valueFrom"] == {"secretKeyRef": {"name": "hub", "key": "token"}}


@pytest.mark.parametrize("secret", [Secret(env="HF_TOKEN"), Secret(file="/home/me/token")])
def test_a_secret_that_a_pod_cannot_read_is_refused(secret):
    with pytest.raises(JobError, match="a pod does not have") as refused:
        bundle("kubernetes", spec=replace(SPEC, secrets={"HF_TOKEN": secret}))
    assert refused.value.field == "secrets.HF_TOKEN"
    assert "kubernetes: name/key" in refused.value.hint


def test_checkpoints_off_the_claim_are_refused():
    with pytest.raises(JobError, match="not on the claim") as refused:
        bundle("kubernetes", spec=replace(SPEC, checkpoint=Checkpoint(dir="/scratch/ckpt")))
    assert refused.value.field == "checkpoint.dir"
    bundle("kubernetes", spec=replace(SPEC, checkpoint=Checkpoint(dir="/shared/ckpt")))


def test_an_existing_claim_is_used_and_not_made():
    rendered = bundle("kubernetes", replace(PROFILES["kubernetes"], claim="checkpoints", storage_class=None))
    assert "claim.yaml" not in {file.path for file in rendered.files}
    for pod in pods(yaml.safe_load(rendered.text("pytorchjob.yaml"))):
        assert {"name": "shared", "persistentVolumeClaim": {"claimName": "checkpoints"}} in pod["volumes"]


def test_a_claim_outlives_attempts():
    claim = manifest("claim.yaml", attempt=7)
    assert claim["metadata"]["name"] == "orch-tiny-llama"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_an_attempt_has_names_of_its_own():
    names = {manifest(name, attempt=7)["metadata"]["name"] for name in ("pytorchjob.yaml", "configmap.yaml")}
    assert names == {"orch-tiny-llama-7"}


def test_names_of_the_longest_run_are_names_to_kubernetes():
    job = manifest("pytorchjob.yaml", spec=replace(SPEC, name="a" * 40), attempt=10**5, plan=nodes(1000))
    assert len(f"{job['metadata']['name']}-worker-998") <= 63


def test_executable_and_binary_files_travel():
    payload = (*PAYLOAD, File(path="code/tool", content=b"\xff\xfe", executable=True))
    rendered = bundle("kubernetes", payload=payload)
    config_map = yaml.safe_load(rendered.text("configmap.yaml"))
    assert config_map["binaryData"]["code.tool"] == "//4="
    (items,) = {str(volumes(pod)) for pod in pods(yaml.safe_load(rendered.text("pytorchjob.yaml")))}
    assert "{'key': 'code.tool', 'mode': 365, 'path': 'code/tool'}" in items


def volumes(pod):
    (bundle_volume,) = [volume for volume in pod["volumes"] if volume["name"] == "bundle"]
    return bundle_volume["configMap"]["items"]


def test_what_no_config_map_holds_is_refused_with_the_way_out():
    payload = (*PAYLOAD, File(path="code/weights.bin", content=b"x" * LIMIT))
    with pytest.raises(JobError, match=r"code/weights\.bin") as refused:
        bundle("kubernetes", payload=payload)
    assert refused.value.field == "code"
    assert "image" in refused.value.hint


def test_the_library_of_this_version_fits_a_config_map():
    from orchestrator import assets

    assert len(assets.load_library().content) < LIMIT / 2, "half of a ConfigMap is for the user's code"
