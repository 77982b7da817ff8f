from __future__ import annotations

import pytest

from orchestrator.clusters import KINDS, PROFILES
from orchestrator.config import configfile
from orchestrator.errors import JobError
from orchestrator.model.cluster import Config, Interface

SITE = """\
default: hpc
clusters:
  hpc: {kind: slurm, partition: gpu, account: ml, time_limit: 24:00:00, shared_dir: /scratch/me, gpu_memory: 80GiB}
  k8s: {kind: kubernetes, namespace: train, image: "registry/train:1", claim: checkpoints}
  lab: {kind: ssh, hostfile: /etc/hostfile, shared_dir: /nfs/me, setup: [module load cuda], env: {A: "5"}}
  local: {kind: local, interface: {socket: eth0, hcas: [mlx5_0, mlx5_1]}, host_memory: 512GiB}
"""


def parse(text: str) -> Config:
    return configfile.parse(text.encode(), "config.yaml", PROFILES)


def refusal(text: str) -> JobError:
    with pytest.raises(JobError) as caught:
        parse(text)
    return caught.value


def test_four_bare_clusters_are_there_without_a_configuration(tmp_path):
    for config in (
        configfile.load(None, PROFILES),
        configfile.load(tmp_path / "none.yaml", PROFILES),
        parse(""),
        parse("# nothing"),
    ):
        assert {name: profile.kind for name, profile in config.clusters.items()} == {kind: kind for kind in KINDS}
        assert config.default == "local"


def test_a_configuration_that_was_asked_for_must_exist(tmp_path):
    with pytest.raises(JobError, match="No such file"):
        configfile.load(tmp_path / "none.yaml", PROFILES, must_exist=True)


def test_a_configuration_adds_clusters_and_replaces_bare_ones(tmp_path):
    (tmp_path / "config.yaml").write_text(SITE)
    config = configfile.load(tmp_path / "config.yaml", PROFILES)
    assert list(config.clusters) == [*KINDS, "hpc", "k8s", "lab"]
    assert config.clusters["hpc"].gpu_memory == 80 * 2**30
    assert config.clusters["hpc"].time_limit == "24:00:00"
    assert config.clusters["lab"].setup == ("module load cuda",)
    assert config.clusters["local"].interface == Interface(socket="eth0", hcas=("mlx5_0", "mlx5_1"))


def test_texts_that_are_values_to_other_readers_of_yaml_are_texts_in_a_kubernetes_profile():
    profile = parse(
        "clusters:\n  a: {kind: kubernetes, node_selector: {n: yes, on: n}, labels: {y: no, empty: ''}, "
        "annotations: {x: '{{ 0x10 }}\\n'}, tolerations: [{key: n, operator: Exists}], overlay: {spec: {n: [yes, 5]}}}"
    ).clusters["a"]
    assert profile.node_selector == {"n": "yes", "on": "n"}
    assert profile.labels == {"y": "no", "empty": ""}
    assert profile.annotations == {"x": "{{ 0x10 }}\\n"}
    assert profile.tolerations == ({"key": "n", "operator": "Exists"},)
    assert profile.overlay == {"spec": {"n": ["yes", 5]}}


def test_a_cluster_is_found_by_name_or_as_the_default():
    config = parse(SITE)
    assert configfile.cluster(config)[0] == "hpc"
    assert configfile.cluster(config, "lab")[1].kind == "ssh"
    with pytest.raises(
        JobError, match=r"there is no cluster hcp; there are hpc, k8s, kubernetes, lab, local, slurm and ssh"
    ):
        configfile.cluster(config, "hcp")


@pytest.mark.parametrize(
    ("text", "size"), [("80GiB", 80 * 2**30), ("1.5TiB", 3 * 2**39), ("80GB", 80 * 10**9), ("1024", 1024)]
)
def test_sizes_are_bytes(text, size):
    assert parse(f"clusters: {{a: {{kind: local, gpu_memory: {text}}}}}").clusters["a"].gpu_memory == size


CLUSTER = "clusters:\n  a:\n    kind: {kind}\n    {line}\n"


@pytest.mark.parametrize(
    ("kind", "line", "field", "words"),
    [
        ("ssh", "partition: gpu", "partition", "is read on slurm clusters only; this one is of kind ssh"),
        ("local", "shared_dir: /a", "shared_dir", "is read on ssh and slurm clusters only"),
        ("slurm", "storage: 200Gi", "storage", "is read on kubernetes clusters only"),
        ("slurm", "partion: gpu", "partion", "did you mean partition?"),
        ("slurm", "shared_dir: me", "shared_dir", "a path that starts with /"),
        ("slurm", "shared_dir: ~/me", "shared_dir", "a path that starts with /"),
        ("slurm", "time_limit: 60", "time_limit", 'quote it: "60"'),
        ("slurm", "time_limit: 1 day", "time_limit", "a Slurm time"),
        ("slurm", 'partition: "a\\n#SBATCH --x"', "partition", "one word"),
        ("slurm", "partition: --help", "partition", "one word"),
        ("slurm", "gpu_memory: 80G", "gpu_memory", "a size like 80GiB"),
        ("slurm", "gpu_memory: 0", "gpu_memory", "found 0"),
        ("slurm", "gpu_memory: 9999999999TiB", "gpu_memory", "a size like 80GiB"),
        ("slurm", "setup: module load", "setup", "wanted a list of texts"),
        ("slurm", "env: {A: 5}", "env.A", "quote it"),
        ("slurm", "env: {ORCH_X: a}", "env.ORCH_X", "ORCH_"),
        ("slurm", "interface: {sockt: a}", "interface.sockt", "did you mean socket?"),
        ("ssh", "hosts: [a, -b]", "hosts[1]", "one word"),
        ("kubernetes", "namespace: Train", "namespace", "Kubernetes name"),
        ("kubernetes", "storage: 200 GB", "storage", "Kubernetes quantity"),
        ("kubernetes", "hosts: [a]", "hosts", "is read on ssh clusters only"),
        ("slurm", "job_kind: jobset", "job_kind", "is read on kubernetes clusters only"),
        ("kubernetes", "job_kind: job", "job_kind", "wanted auto, trainjob, jobset or pytorchjob"),
        ("kubernetes", "kubeconfig: ~/.kube/config", "kubeconfig", "a path that starts with /"),
        ("kubernetes", "runtime: Runtime/a", "runtime", "TrainingRuntime/NAME"),
        ("kubernetes", f"queue: {'a' * 64}", "queue", "at most 63 characters"),
        ("kubernetes", "priority_class: High", "priority_class", "Kubernetes name"),
        ("kubernetes", "gang: kueue", "gang", "wanted volcano or coscheduling"),
        ("kubernetes", "gang_queue: Research", "gang_queue", "Kubernetes name"),
        ("kubernetes", "gang_queue: research", "gang_queue", "set gang: volcano too"),
        ("kubernetes", "gpu_resource: gpu", "gpu_resource", "as in nvidia.com/gpu"),
        ("kubernetes", "pull_secrets: [a, B]", "pull_secrets[1]", "Kubernetes name"),
        ("kubernetes", "rdma: {count: 1}", "rdma.resource", "is missing"),
        ("kubernetes", "rdma: {resource: rdma/a, count: 0}", "rdma.count", "found 0"),
        ("kubernetes", "node_selector: {zone: a b}", "node_selector.zone", "the value of a Kubernetes label"),
        ("kubernetes", "node_selector: {zone: 5}", "node_selector.zone", 'quote it: "5"'),
        ("kubernetes", 'node_selector: {"a/b/c": d}', "node_selector.a/b/c", "the name of a Kubernetes label"),
        ("kubernetes", "labels: {orch/run: mine}", "labels.orch/run", "not orch's own"),
        (
            "kubernetes",
            "labels: {kueue.x-k8s.io/queue-name: a}",
            "labels.kueue.x-k8s.io/queue-name",
            "is set by orch; use queue",
        ),
        ("kubernetes", "annotations: {a b: c}", "annotations.a b", "the name of a Kubernetes label or annotation"),
        ("kubernetes", "tolerations: [a]", "tolerations[0]", "wanted a mapping"),
        ("kubernetes", "tolerations: {key: a}", "tolerations", "wanted a list of mappings"),
        ("kubernetes", "tolerations: [{key: a, effects: b}]", "tolerations", "has no 'effects'"),
        ("kubernetes", "tolerations: [{key: a}, {key: a b}]", "tolerations", "the toleration 2 is none: key is 'a b'"),
        ("kubernetes", "tolerations: [{key: a, effect: No}]", "tolerations", "wanted one of NoSchedule"),
        ("kubernetes", "tolerations: [{key: a, tolerationSeconds: 5}]", "tolerations", "effect NoExecute alone"),
        (
            "kubernetes",
            'tolerations: [{key: a, effect: NoExecute, tolerationSeconds: "5"}]',
            "tolerations",
            "a whole number",
        ),
        ("kubernetes", "tolerations: [{effect: NoSchedule}]", "tolerations", "operator must be Exists"),
        ("kubernetes", "tolerations: [{key: a, operator: Exists, value: b}]", "tolerations", "takes no value"),
        ("kubernetes", "overlay: [a]", "overlay", "wanted a mapping"),
        ("kubernetes", "overlay: {a: .nan}", "overlay.a", "finite"),
        ("kubernetes", "stuck_after: 0", "stuck_after", "at least 1"),
        ("cloud", "python: a", "kind", "wanted local, ssh, slurm or kubernetes"),
    ],
)
def test_what_is_wrong_in_a_cluster_is_refused(kind, line, field, words):
    error = refusal(CLUSTER.format(kind=kind, line=line))
    assert (error.file, error.line) == ("config.yaml", 3 if field == "kind" else 4)
    assert error.field == f"clusters.a.{field}"
    assert words in error.message


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ("defualt: a", 1, "defualt", "did you mean default?"),
        ("default: hpc", 1, "default", "there is no cluster hpc; there are local, ssh, slurm and kubernetes"),
        ("controller: none", 1, "controller", "wanted auto or external"),
        ("clusters: [a]", 1, "clusters", "wanted a mapping"),
        ("clusters:\n  a: {}", 2, "clusters.a.kind", "is missing"),
        ("clusters:\n  a: slurm", 2, "clusters.a", "wanted a mapping with keys of kind"),
        ("clusters:\n  a b: {kind: local}", 2, "clusters.a b", "1 to 63 letters"),
        ("clusters:\n  slurm: {kind: ssh}", 2, "clusters.slurm.kind", "the name slurm stands for"),
        ("clusters:\n  a: {kind: ssh, hosts: [a], hostfile: /b}", 2, "clusters.a.hostfile", "stands beside"),
        (
            "clusters:\n  a: {kind: kubernetes, gang: coscheduling, gang_queue: b}",
            2,
            "clusters.a.gang_queue",
            "only Volcano has queues for gangs",
        ),
        (
            "clusters:\n  a: {kind: kubernetes, claim: a, storage_class: b}",
            2,
            "clusters.a.storage_class",
            "only one of",
        ),
        ("- a", 1, None, "wanted a mapping with keys of default, controller, nodes, clusters"),
        ("partition: gpu", 1, "partition", "did you mean clusters.*.partition?"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_refused(text, line, field, words):
    error = refusal(text)
    assert (error.file, error.line, error.field) == ("config.yaml", line, field)
    assert words in error.message
