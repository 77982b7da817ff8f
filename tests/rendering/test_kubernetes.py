"""Manifests against the operators' own schemas, and what a cluster would refuse or a person would regret."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import jsonschema
import pytest
import yaml

from orchestrator.clusters.kubernetes.configmap import LIMIT
from orchestrator.clusters.kubernetes.profile import KubernetesProfile, Rdma
from orchestrator.clusters.kubernetes.render import PERMANENT, lost, manifests, warnings
from orchestrator.errors import JobError
from orchestrator.model.bundle import File
from orchestrator.model.cluster import Cluster
from orchestrator.model.spec import Checkpoint, Restart, Secret
from tests.rendering import crds
from tests.rendering.build import PAYLOAD, PROFILES, RICH, SPEC, bundle, nodes, request
from tests.rendering.pods import KINDS, containers, inner_job, job_of, of_kind, pods, templates

PLAIN = PROFILES["kubernetes"]
SAVED_BY_A_JOB = ("trainjob", "jobset")  # kinds whose pods a Job makes


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def job(kind, profile=PLAIN, /, **changes):
    return job_of(of_kind(kind, profile, **changes))


@pytest.mark.parametrize("profile", [PLAIN, RICH, KubernetesProfile(kind="kubernetes")], ids=["plain", "rich", "bare"])
@pytest.mark.parametrize(("count", "device"), [(1, "cpu"), (2, "cuda"), (8, "cuda")])
def test_a_job_fits_its_operators_schema(kind, profile, count, device):
    made = job(kind, profile, plan=nodes(count, device=device))
    crds.check(made)
    for template in templates(made):
        crds.pod_validator().validate(template)


def test_the_schema_is_strict_about_fields_it_does_not_know(kind):
    made = job(kind)
    made["spec"]["comand"] = []
    with pytest.raises(jsonschema.ValidationError, match="comand"):
        crds.check(made)


def test_only_the_chosen_kind_is_rendered(kind):
    named = {file.path for file in of_kind(kind).files}
    assert {f"{each}.yaml" for each in KINDS} & named == {f"{kind}.yaml"}


def test_what_the_cluster_was_found_to_serve_is_rendered(kind):
    found = Cluster(name="kubernetes", profile=replace(PLAIN, job_kind=kind))
    assert f"{kind}.yaml" in {file.path for file in bundle("kubernetes", cluster=found).files}


def test_where_nobody_knows_what_is_served_a_pytorchjob_is_rendered():
    assert "pytorchjob.yaml" in {file.path for file in bundle("kubernetes").files}


@pytest.mark.parametrize(("count", "replicas"), [(1, {"Master": 1}), (2, {"Master": 1, "Worker": 1})])
def test_a_pytorchjob_has_one_pod_a_node(count, replicas):
    made = job("pytorchjob", plan=nodes(count))
    assert {role: spec["replicas"] for role, spec in made["spec"]["pytorchReplicaSpecs"].items()} == replicas


@pytest.mark.parametrize("kind", SAVED_BY_A_JOB)
@pytest.mark.parametrize("count", [1, 8])
def test_a_job_has_one_pod_a_node(kind, count):
    inner = inner_job(job(kind, plan=nodes(count)))
    assert (inner["completionMode"], inner["completions"], inner["parallelism"]) == ("Indexed", count, count)


@pytest.mark.parametrize(
    ("kind", "node", "start", "address"),
    [
        ("pytorchjob", "$(PET_NODE_RANK)", "orch-tiny-llama-3", "orch-tiny-llama-3-master-0"),
        *(
            (
                kind,
                "$(JOB_COMPLETION_INDEX)",
                "orch-tiny-llama-3.$(ORCH_JOB_UID)",
                "orch-tiny-llama-3-node-0-0.orch-tiny-llama-3",
            )
            for kind in SAVED_BY_A_JOB
        ),
    ],
)
def test_the_agent_is_told_its_node_its_start_and_its_address_by_the_operator(kind, node, start, address):
    for container in containers(job(kind, attempt=3)):
        assert container["command"][:2] == ["/bin/sh", "-c"]
        assert container["command"][3:] == ["python3", "-m", "orchestrator.job.agent"]
        told = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
        assert told == {
            "--bundle": "/orch/bundle",
            "--run-dir": "/shared/runs/tiny-llama",
            "--node": node,
            "--attempt": "3",
            "--start": start,
            "--address": address,
            "--pod": "/dev/termination-log",
        }
        assert container["workingDir"] == "/orch/bundle"
        assert container["terminationMessagePath"] == "/dev/termination-log"
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_what_an_argument_names_is_in_the_environment_before_it(kind):
    for container in containers(job(kind)):
        known = {entry["name"] for entry in container["env"]}
        assert {"HOME", "USER", "ORCH_HOST", "ORCH_POD_UID"} <= known
        assert ("ORCH_JOB_UID" in known) == any("$(ORCH_JOB_UID)" in word for word in container["args"])


@pytest.mark.parametrize("of_image", [None, "", "/opt/a:/opt/with a $(b) 'c'"])
def test_what_an_image_has_on_its_pythonpath_stays_there_behind_orch(kind, of_image):
    environment = {"PATH": os.environ["PATH"], **({} if of_image is None else {"PYTHONPATH": of_image})}
    for container in containers(job(kind)):
        assert "PYTHONPATH" not in {entry["name"] for entry in container["env"]}
        shell = [word.replace("$$", "$") for word in container["command"][:3]]
        told = subprocess.check_output([*shell, "printenv", "PYTHONPATH"], env=environment, text=True)
        assert told.strip().split(":") == ["/orch/bundle/lib.zip", *(of_image.split(":") if of_image else [])]


def test_the_operators_own_variables_are_left_alone(kind):
    for container in containers(job(kind)):
        names = {entry["name"] for entry in container["env"]}
        assert not {name for name in names if name.startswith(("PET_", "MASTER_", "RANK", "WORLD_"))}


def test_hosts_are_those_that_the_operator_makes_known(kind):
    hosts = [line.partition(" ")[0] for line in of_kind(kind).text("hostfile").splitlines()]
    pods = ["master-0", "worker-0"] if kind == "pytorchjob" else ["node-0-0", "node-0-1"]
    name = "orch-tiny-llama-1"
    assert hosts == [f"{name}-{pod}" if kind == "pytorchjob" else f"{name}-{pod}.{name}" for pod in pods]


@pytest.mark.parametrize("profile", [PLAIN, replace(RICH, rdma=None)], ids=["plain", "rich"])
def test_pods_pass_the_restricted_pod_security_standard(kind, profile):
    for template in templates(job(kind, profile)):
        assert crds.against_restricted(template["spec"]) == []


def test_pods_with_rdma_pass_no_standard_and_a_warning_says_so(kind):
    made = job(kind, RICH)
    assert any("IPC_LOCK" in problem for pod in pods(made) for problem in crds.against_restricted(pod))
    said = warnings(request("kubernetes", replace(RICH, job_kind=kind)))
    assert any("PodSecurity level `privileged`" in sentence for sentence in said)


def test_pods_have_no_token_and_a_place_to_write(kind):
    for pod in pods(job(kind)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        (container,) = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        at = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        assert at["/tmp"]["emptyDir"] == {}
        assert at["/home/orch"]["emptyDir"] == {}
        assert {entry["name"]: entry.get("value") for entry in container["env"]}["HOME"] == "/home/orch"
        assert at["/dev/shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "4096Mi"}


def test_requests_are_limits_and_name_the_gpus(kind):
    for container in containers(job(kind)):
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        assert resources["limits"] == {"cpu": "8", "memory": "16897Mi", "nvidia.com/gpu": "4"}


@pytest.mark.parametrize("resource", ["amd.com/gpu", "nvidia.com/mig-1g.10gb"])
def test_a_gpu_may_have_another_name(kind, resource):
    for container in containers(job(kind, replace(PLAIN, gpu_resource=resource))):
        assert container["resources"]["requests"] == {"cpu": "8", "memory": "16897Mi", resource: "4"}


def test_a_job_on_cpus_asks_for_no_gpu(kind):
    for container in containers(job(kind, plan=nodes(2, device="cpu"))):
        assert container["resources"]["limits"] == {"memory": "16897Mi"}


def test_pods_of_one_attempt_do_not_share_a_machine(kind):
    for template in templates(job(kind, attempt=2)):
        (term,) = template["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        chosen = term["labelSelector"]["matchLabels"]
        assert chosen == {"orch/run-id": "0123456789ab", "orch/attempt": "2"}
        assert chosen.items() <= template["metadata"]["labels"].items()


def test_a_dead_machines_pods_go_after_a_minute(kind):
    for pod in pods(job(kind)):
        assert {one["key"]: one["tolerationSeconds"] for one in pod["tolerations"]} == {
            "node.kubernetes.io/not-ready": 60,
            "node.kubernetes.io/unreachable": 60,
        }


def test_a_toleration_of_ones_own_takes_the_place_of_orchs(kind):
    own = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}
    for pod in pods(job(kind, replace(PLAIN, tolerations=(own,)))):
        assert own in pod["tolerations"]
        assert sorted(one["key"] for one in pod["tolerations"]) == [
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
        ]


def test_the_kubelet_waits_for_a_save(kind):
    plan = replace(nodes(2), checkpoint_bytes=100 * 10**9)
    for pod in pods(job(kind, plan=plan)):
        assert pod["terminationGracePeriodSeconds"] == 120 + 1000 + 60


def test_a_pytorchjob_starts_pods_again_by_their_exit_code_and_sums_nothing_up():
    made = job("pytorchjob")
    assert made["spec"]["runPolicy"] == {"cleanPodPolicy": "Running"}
    assert {replica["restartPolicy"] for replica in made["spec"]["pytorchReplicaSpecs"].values()} == {"ExitCode"}


@pytest.mark.parametrize("kind", SAVED_BY_A_JOB)
def test_a_job_ends_where_another_start_cannot_help_and_counts_no_eviction(kind):
    made = job(kind)
    inner = inner_job(made)
    assert inner["podFailurePolicy"]["rules"] == [
        {"action": "FailJob", "onExitCodes": {"containerName": "node", "operator": "In", "values": PERMANENT}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"containerName": "node", "operator": "In", "values": [182]}},
    ]
    assert inner["template"]["spec"]["restartPolicy"] == "Never"
    assert inner["backoffLimit"] > 2 * SPEC.restart.max_failures
    assert {1, 2, 126, 127} < set(PERMANENT), "what a shell and Python say where no agent could begin"


def test_the_limit_of_failed_pods_grows_with_nodes_and_failures():
    limits = [
        inner_job(job("jobset", plan=nodes(count), spec=replace(SPEC, restart=Restart(max_failures=failures))))
        for count, failures in ((2, 0), (4, 0), (4, 9))
    ]
    assert [inner["backoffLimit"] for inner in limits] == [20, 40, 400]
    endless = job("jobset", spec=replace(SPEC, restart=Restart(max_failures=10**9)))
    assert inner_job(endless)["backoffLimit"] == 2**31 - 1


def test_a_jobset_itself_starts_nothing_again():
    assert job("jobset")["spec"]["failurePolicy"] == {"maxRestarts": 0}


def test_the_runtime_says_for_a_trainjob_what_a_jobset_says_itself():
    trained, made = inner_job(job("trainjob")), inner_job(job("jobset"))
    (trained_container,), (made_container,) = (inner["template"]["spec"]["containers"] for inner in (trained, made))
    assert trained_container == made_container
    assert {**trained["template"]["spec"], "containers": []} == {**made["template"]["spec"], "containers": []}
    assert trained["podFailurePolicy"] == made["podFailurePolicy"]


def test_labels_are_on_every_object_and_on_the_pods(kind):
    rendered = of_kind(kind, RICH, attempt=4)
    own = {
        "app.kubernetes.io/managed-by": "orch",
        "orch/run": "tiny-llama",
        "orch/run-id": "0123456789ab",
        "orch/attempt": "4",
    }
    for path in manifests(rendered):
        labels = yaml.safe_load(rendered.text(path))["metadata"]["labels"]
        expected = {name: value for name, value in own.items() if path != "claim.yaml" or name != "orch/attempt"}
        assert expected.items() <= labels.items(), path
    made = job_of(rendered)
    for labels in (made["metadata"]["labels"], *(template["metadata"]["labels"] for template in templates(made))):
        assert {**own, **RICH.labels}.items() <= labels.items()
    for metadata in (made["metadata"], *(template["metadata"] for template in templates(made))):
        assert RICH.annotations.items() <= metadata["annotations"].items()


def test_the_profile_says_where_pods_run_and_what_they_pull_with(kind):
    for pod in pods(job(kind, RICH)):
        assert pod["nodeSelector"] == {"gpu.example/pool": "a100", "zone": "n"}
        assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        assert pod["serviceAccountName"] == "trainer"


@pytest.mark.parametrize(
    ("kind", "suspended"),
    [
        ("trainjob", lambda spec: spec["suspend"]),
        ("jobset", lambda spec: spec["suspend"]),
        ("pytorchjob", lambda spec: spec["runPolicy"]["suspend"]),
    ],
)
def test_a_queued_job_is_made_suspended_and_its_pods_are_not_queued_themselves(kind, suspended):
    made = job(kind, replace(PLAIN, queue="gpus", workload_priority="high"))
    assert suspended(made["spec"]) is True
    queue = {"kueue.x-k8s.io/queue-name": "gpus", "kueue.x-k8s.io/priority-class": "high"}
    assert queue.items() <= made["metadata"]["labels"].items()
    assert "kueue" not in str(made["spec"])


@pytest.mark.parametrize("kind", ["jobset", "pytorchjob"])
def test_rdma_brings_the_adapters_the_nodes_network_and_the_right_to_lock_memory(kind):
    for pod in pods(job(kind, replace(PLAIN, rdma=Rdma(resource="rdma/hca", count=2)))):
        (container,) = pod["containers"]
        assert container["resources"]["limits"]["rdma/hca"] == "2"
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}
        assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")


def test_rdma_in_a_network_of_the_pods_own_leaves_the_nodes_alone(kind):
    for pod in pods(job(kind, replace(PLAIN, rdma=Rdma(resource="rdma/hca", host_network=False)))):
        assert "hostNetwork" not in pod
        assert pod["containers"][0]["securityContext"]["capabilities"]["add"] == ["IPC_LOCK"]


def ports(kind, run_id, **rdma):
    made = job(kind, replace(PLAIN, rdma=Rdma(resource="rdma/hca", **rdma)), run_id=run_id)
    return [container.get("ports") for container in containers(made)]


def test_two_pytorchjobs_in_the_network_of_their_nodes_do_not_want_the_same_port():
    first, second = ports("pytorchjob", "0123456789ab"), ports("pytorchjob", "0123456789ac")
    assert first != second
    [port] = first[0]
    assert port["name"] == "pytorchjob-port", "the operator adds 23456 unless it finds one of this name"
    assert 20000 <= port["containerPort"] < 30000
    assert first == [[port]] * 2
    assert ports("pytorchjob", "0123456789ab", host_network=False) == [None, None]
    assert ports("jobset", "0123456789ab") == [None]


@pytest.mark.parametrize("kind", ["jobset", "pytorchjob"])
def test_the_priority_class_is_the_pods(kind):
    assert {pod["priorityClassName"] for pod in pods(job(kind, replace(PLAIN, priority_class="high")))} == {"high"}


@pytest.mark.parametrize("kind", ["jobset", "pytorchjob"])
@pytest.mark.parametrize(
    ("gang", "version", "scheduler", "where", "name"),
    [
        ("volcano", "scheduling.volcano.sh/v1beta1", "volcano", "annotations", "scheduling.k8s.io/group-name"),
        (
            "coscheduling",
            "scheduling.x-k8s.io/v1alpha1",
            "scheduler-plugins-scheduler",
            "labels",
            "scheduling.x-k8s.io/pod-group",
        ),
    ],
)
def test_a_gang_starts_whole_or_not_at_all(kind, gang, version, scheduler, where, name):
    rendered = of_kind(kind, replace(PLAIN, gang=gang), plan=nodes(8), attempt=2)
    group = yaml.safe_load(rendered.text("podgroup.yaml"))
    assert (group["apiVersion"], group["kind"]) == (version, "PodGroup")
    assert group["spec"] == {"minMember": 8}
    for template in templates(job_of(rendered)):
        assert template["spec"]["schedulerName"] == scheduler
        assert template["metadata"][where][name] == group["metadata"]["name"] == "orch-tiny-llama-2"


@pytest.mark.parametrize("kind", ["jobset", "pytorchjob"])
def test_the_gang_is_in_the_queue_of_volcanos_that_is_named(kind):
    rendered = of_kind(kind, replace(PLAIN, gang="volcano", gang_queue="research", priority_class="high"))
    group = yaml.safe_load(rendered.text("podgroup.yaml"))
    assert group["spec"] == {"minMember": 2, "queue": "research", "priorityClassName": "high"}


def test_without_a_gang_there_is_no_pod_group(kind):
    assert "podgroup.yaml" not in {file.path for file in of_kind(kind).files}


def test_the_stream_ends_with_the_job(kind):
    paths = manifests(of_kind(kind, RICH, payload=(*PAYLOAD, File(path="code/own.yaml", content=b"a: 1\n"))))
    assert paths[-1] == f"{kind}.yaml"
    assert set(paths[:-1]) == {"claim.yaml", "configmap.yaml", *([] if kind == "trainjob" else ["podgroup.yaml"])}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"priority_class": "high"}, "priorityClassName: high"),
        ({"gang": "volcano"}, "podGroupPolicy: {volcano: {}}"),
        ({"gang_queue": "research"}, "scheduling.volcano.sh/queue-name: research"),
        ({"rdma": Rdma(resource="rdma/hca")}, "hostNetwork: true"),
        ({"runtime": "torch-distributed"}, "torch-distributed is not orch's own"),
        ({"runtime": "TrainingRuntime/mine"}, "TrainingRuntime/mine is not orch's own"),
    ],
)
def test_what_a_trainjob_cannot_say_is_told(change, says):
    (sentence,) = lost(replace(PLAIN, **change), "trainjob")
    assert says in sentence
    assert sentence in warnings(request("kubernetes", replace(PLAIN, job_kind="trainjob", **change)))
    assert lost(replace(PLAIN, **change), "jobset") == ()


@pytest.mark.parametrize("runtime", ["orch-torch", "ClusterTrainingRuntime/orch-torch", "TrainingRuntime/orch-torch"])
def test_nothing_is_lost_where_the_runtime_is_orchs_own(runtime):
    assert lost(replace(PLAIN, runtime=runtime), "trainjob") == ()
    kind, _, name = runtime.rpartition("/")
    reference = job("trainjob", replace(PLAIN, runtime=runtime))["spec"]["runtimeRef"]
    assert (reference["kind"], reference["name"]) == (kind or "ClusterTrainingRuntime", name)


def test_a_secret_is_a_reference_and_its_name_is_no_path(kind):
    made = job(kind, spec=replace(SPEC, secrets={"HF_TOKEN": Secret(kubernetes="hub/token")}))
    for container in containers(made):
        (entry,) = [entry for entry in container["env"] if entry["name"] == "HF_TOKEN"]
        assert entry["valueFrom"] == {"secretKeyRef": {"name": "hub", "key": "token"}}


@pytest.mark.parametrize("secret", [Secret(env="HF_TOKEN"), Secret(file="/home/me/token")])
def test_a_secret_that_a_pod_cannot_read_is_refused(secret):
    with pytest.raises(JobError, match="a pod does not have") as refused:
        bundle("kubernetes", spec=replace(SPEC, secrets={"HF_TOKEN": secret}))
    assert refused.value.field == "secrets.HF_TOKEN"
    assert "kubernetes: name/key" in refused.value.hint


@pytest.mark.parametrize("name", ["PYTHONPATH", "HOME", "PET_NNODES", "JOB_COMPLETION_INDEX"])
def test_a_secret_under_a_name_that_is_set_in_the_pod_is_refused(name):
    with pytest.raises(JobError, match="is set in the pod") as refused:
        bundle("kubernetes", spec=replace(SPEC, secrets={name: Secret(kubernetes="hub/token")}))
    assert refused.value.field == f"secrets.{name}"


def test_checkpoints_off_the_claim_are_refused():
    with pytest.raises(JobError, match="not on the claim") as refused:
        bundle("kubernetes", spec=replace(SPEC, checkpoint=Checkpoint(dir="/scratch/ckpt")))
    assert refused.value.field == "checkpoint.dir"
    bundle("kubernetes", spec=replace(SPEC, checkpoint=Checkpoint(dir="/shared/ckpt")))


def test_a_toleration_that_is_none_is_refused_with_its_field():
    with pytest.raises(JobError, match="takes no value") as refused:
        bundle("kubernetes", replace(PLAIN, tolerations=({"key": "a", "operator": "Exists", "value": "b"},)))
    assert refused.value.field == "clusters.kubernetes.tolerations[0]"


def test_an_image_that_no_trainjob_can_name_is_refused():
    long = replace(PLAIN, image="x" * 501)
    with pytest.raises(JobError, match="at most 500") as refused:
        of_kind("trainjob", long)
    assert refused.value.field == "clusters.kubernetes.image"
    of_kind("jobset", long)


def test_an_existing_claim_is_used_and_not_made(kind):
    rendered = of_kind(kind, replace(PLAIN, claim="checkpoints", storage_class=None))
    assert "claim.yaml" not in {file.path for file in rendered.files}
    for pod in pods(job_of(rendered)):
        assert {"name": "shared", "persistentVolumeClaim": {"claimName": "checkpoints"}} in pod["volumes"]


def test_a_claim_outlives_attempts():
    claim = yaml.safe_load(bundle("kubernetes", attempt=7).text("claim.yaml"))
    assert claim["metadata"]["name"] == "orch-tiny-llama"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_an_attempt_has_names_of_its_own(kind):
    rendered = of_kind(kind, RICH, attempt=7)
    named = [path for path in manifests(rendered) if path != "claim.yaml"]
    assert {yaml.safe_load(rendered.text(path))["metadata"]["name"] for path in named} == {"orch-tiny-llama-7"}


def test_names_of_the_longest_run_are_names_to_kubernetes():
    made = job("pytorchjob", spec=replace(SPEC, name="a" * 40), attempt=10**5, plan=nodes(1000))
    assert len(f"{made['metadata']['name']}-worker-998") <= 63


@pytest.mark.parametrize("kind", SAVED_BY_A_JOB)
@pytest.mark.parametrize(("count", "longest"), [(1, 39), (10, 39), (11, 38), (1001, 36)])
def test_a_name_that_makes_no_host_names_of_pods_is_refused(kind, count, longest):
    made = job(kind, spec=replace(SPEC, name="a" * longest), attempt=999, plan=nodes(count))
    assert len(f"{made['metadata']['name']}-node-0-{count - 1}-abcde") == 63
    with pytest.raises(JobError, match=f"may have {longest}") as refused:
        job(kind, spec=replace(SPEC, name="a" * (longest + 1)), plan=nodes(count))
    assert refused.value.field == "name"


def test_executable_and_binary_files_travel(kind):
    payload = (*PAYLOAD, File(path="code/tool", content=b"\xff\xfe", executable=True))
    rendered = of_kind(kind, payload=payload)
    config_map = yaml.safe_load(rendered.text("configmap.yaml"))
    assert config_map["binaryData"]["code.tool"] == "//4="
    for pod in pods(job_of(rendered)):
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "bundle"]
        assert volume["configMap"]["name"] == config_map["metadata"]["name"]
        assert {"key": "code.tool", "mode": 0o555, "path": "code/tool"} in volume["configMap"]["items"]


def test_what_no_config_map_holds_is_refused_with_the_way_out():
    payload = (*PAYLOAD, File(path="code/weights.bin", content=b"x" * LIMIT))
    with pytest.raises(JobError, match=r"code/weights\.bin") as refused:
        bundle("kubernetes", payload=payload)
    assert refused.value.field == "code"
    assert "image" in refused.value.hint


def test_more_files_than_a_job_object_can_name_are_refused():
    many = tuple(File(path=f"code/part-of-the-vocabulary-{number:06}", content=b"") for number in range(8000))
    with pytest.raises(JobError, match=r"8[0-9]{3} files, whose names alone") as refused:
        of_kind("jobset", PLAIN, payload=(*PAYLOAD, *many))
    assert refused.value.field == "code"
    assert "image" in refused.value.hint


def test_files_are_told_apart_by_their_digest_in_every_attempt():
    def digest(**changes):
        return yaml.safe_load(of_kind("jobset", **changes).text("configmap.yaml"))["metadata"]["annotations"]

    other = (*PAYLOAD, File(path="code/own.py", content=b"x = 2\n"))
    assert digest() == digest() != digest(payload=other)


def test_the_library_of_this_version_fits_a_config_map():
    from orchestrator.bundle import assets

    assert len(assets.load_library().content) < LIMIT / 2, "half of a ConfigMap is for the user's code"


def test_a_job_has_time_for_a_save_and_a_trainjob_in_a_queue_that_of_its_runtime(kind):
    """Kueue writes a TrainJob back without its own, and JobSet's webhook takes no other one then."""
    (plain,) = {pod["terminationGracePeriodSeconds"] for pod in pods(job(kind))}
    (queued,) = {pod["terminationGracePeriodSeconds"] for pod in pods(job(kind, replace(PLAIN, queue="gpus")))}
    said = warnings(request("kubernetes", replace(PLAIN, job_kind=kind, queue="gpus")))
    if kind == "trainjob":
        assert "terminationGracePeriodSeconds" not in str(job(kind, replace(PLAIN, queue="gpus")))
        assert (queued, plain != queued) == (600, True)
        assert f"may take {plain} s" in said[-1]
        assert "600 s in orch's own" in said[-1]
    else:
        assert (queued, said) == (plain, ())
