"""orch clusters add and check, orch nodes: what they write, print and end with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.clusteradd import LOCK
from tests.cli.program import external, orch, record, start


def test_a_cluster_is_written_down_and_then_listed(tmp_path: Path) -> None:
    config = tmp_path / "new" / "config.yaml"
    sets = [
        "--set",
        "partition=gpu",
        "--set",
        "shared_dir=/x",
        "--set",
        'env.A="5"',
        "--set",
        "options=[--mail-type=END]",
    ]
    done = orch("clusters", "add", "hpc", "--kind", "slurm", "--offline", *sets, ORCH_CONFIG=str(config))
    assert (done.returncode, done.stdout) == (0, "hpc\n"), done.stderr
    assert "orch clusters check hpc" in done.stderr
    rows = json.loads(orch("clusters", "list", "--json", ORCH_CONFIG=str(config)).stdout)
    (mine,) = (row for row in rows if row["name"] == "hpc")
    assert mine["known"] == {
        "env": {"A": "5"}, "shared_dir": "/x", "partition": "gpu", "options": ["--mail-type=END"],
    }  # fmt: skip
    assert config.stat().st_mode & 0o777 == 0o600
    left = {path.name for path in config.parent.iterdir()}
    assert left == {"config.yaml", LOCK.format(name="config.yaml")}


@pytest.mark.parametrize(("text", "code"), [("---\n", 0), ("%YAML 1.1\n---\n", 0), ("null\n", 2)])
def test_a_file_of_nothing_gets_its_first_cluster_or_is_left_alone(tmp_path: Path, text: str, code: int) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    done = orch("clusters", "add", "lab", "--kind", "ssh", "--set", "hosts=[one]", ORCH_CONFIG=str(config))
    added = "clusters:\n  lab:\n    kind: ssh\n    hosts: [one]\n"
    assert (done.returncode, config.read_text()) == (code, text + (added if code == 0 else "")), done.stderr
    assert code == 0 or "write it there yourself, below clusters: lab: {kind: ssh, hosts: [one]}" in done.stderr


def test_a_file_keeps_its_comments_its_rights_and_its_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "config.yaml"
    real.write_text("# mine\ndefault: a\nclusters:\n  a: {kind: slurm}  # old\n")
    real.chmod(0o644)
    link.symlink_to(real)
    done = orch("clusters", "add", "lab", "--kind", "ssh", "--set", "hosts=[one, two]", ORCH_CONFIG=str(link))
    assert done.returncode == 0, done.stderr
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o644
    assert real.read_text() == (
        "# mine\ndefault: a\nclusters:\n  a: {kind: slurm}  # old\n  lab:\n    kind: ssh\n    hosts: [one, two]\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "--kind", "slurm"], "there is a cluster a in"),
        (["b", "--kind", "slurm", "--set", "partitoin=x"], "did you mean partition?"),
        (["b", "--kind", "ssh", "--set", "partition=x"], "is read on slurm clusters only"),
        (["b", "--kind", "slurm", "--set", "poll=fast"], "wanted a number"),
        (["b", "--kind", "slurm", "--set", "partition"], "wanted KEY=VALUE"),
        (["b c", "--kind", "slurm"], "is not a name here"),
        (["ssh", "--kind", "slurm"], "the name ssh stands for"),
    ],
)
def test_what_is_refused_leaves_the_file_alone(tmp_path: Path, arguments: list[str], words: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("clusters: {a: {kind: slurm}}\n")
    done = orch("clusters", "add", *arguments, "--offline", ORCH_CONFIG=str(config))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert config.read_text() == "clusters: {a: {kind: slurm}}\n"


def test_a_file_that_would_come_to_say_something_else_is_left_alone(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    text = "clusters:\n  a: &a {kind: slurm}\n  b: *a\n"
    config.write_text(text)
    done = orch("clusters", "add", "a", "--replace", "--kind", "ssh", "--set", "hosts=[x]", ORCH_CONFIG=str(config))
    assert done.returncode == 2
    assert "write it there yourself, below clusters: a: {kind: ssh, hosts: [x]}" in done.stderr
    assert config.read_text() == text


def test_of_many_that_add_at_once_all_are_there_in_the_end(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    many = [
        start("clusters", "add", f"c{number}", "--kind", "slurm", "--offline", ORCH_CONFIG=str(config))
        for number in range(6)
    ]
    assert [process.communicate(timeout=60)[1] and process.returncode for process in many] == [0] * 6
    rows = json.loads(orch("clusters", "--json", ORCH_CONFIG=str(config)).stdout)
    assert {f"c{number}" for number in range(6)} <= {row["name"] for row in rows}


def test_a_slurm_cluster_that_cannot_be_looked_at_is_written_down_with_a_warning(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    done = orch("clusters", "add", "hpc", "--kind", "slurm", ORCH_CONFIG=str(config), PATH="/nowhere")
    assert (done.returncode, done.stdout) == (0, "hpc\n")
    assert "the cluster could not be looked at" in done.stderr


def kubeconfig(directory: Path, server: str) -> Path:
    """A way to a server, in a namespace of its context."""
    path = directory / "kubeconfig"
    parts = {"clusters": ("cluster", {"server": server}), "users": ("user", {"token": "none"})}
    document = {kind: [{"name": "far", word: value}] for kind, (word, value) in parts.items()}
    document["contexts"] = [{"name": "far", "context": {"cluster": "far", "user": "far", "namespace": "train"}}]
    path.write_text(json.dumps({**document, "current-context": "far"}))
    return path


def test_a_kubernetes_cluster_that_cannot_be_looked_at_is_written_down_with_a_warning(tmp_path: Path) -> None:
    config, way = tmp_path / "config.yaml", kubeconfig(tmp_path, "https://127.0.0.1:1")
    done = orch("clusters", "add", "k8s", "--kind", "kubernetes", ORCH_CONFIG=str(config), KUBECONFIG=str(way))
    assert (done.returncode, done.stdout) == (0, "k8s\n"), done.stderr
    assert "the profile names no image" in done.stderr
    assert (
        "the cluster could not be looked at: the API server of k8s (https://127.0.0.1:1) does not answer" in done.stderr
    )
    assert config.read_text() == "clusters:\n  k8s:\n    kind: kubernetes\n"


@pytest.mark.parametrize(
    ("content", "words", "todo"),
    [
        (None, "there is no way to the cluster k8s", "see that {way} is there"),
        ("contexts: [", "the kubeconfig of k8s cannot be read", "see what kubectl config view says of {way}"),
        ("", "is empty", "see that {way} is there"),
        ("words", "the kubeconfig of k8s cannot be read", "see what kubectl config view says of {way}"),
        ("{contexts: [{name: a, context: null}], current-context: a}", "k8s", "see that {way} is there"),
        ("127.0.0.1", "does not answer", "kubectl --kubeconfig {way} version"),
    ],
)
def test_a_kubernetes_cluster_that_is_out_of_reach_ends_4_and_says_what_to_do(
    tmp_path: Path, orch_home: Path, content: str | None, words: str, todo: str
) -> None:
    way = kubeconfig(tmp_path, "https://127.0.0.1:1")
    if content is None:
        way.unlink()
    elif content != "127.0.0.1":
        way.write_text(content)
    config = tmp_path / "config.yaml"
    config.write_text(f"clusters: {{k8s: {{kind: kubernetes, kubeconfig: {way}}}}}\n")
    done = orch("clusters", "check", "k8s", "--json", ORCH_CONFIG=str(config))
    assert (done.returncode, done.stderr) == (4, "")
    found = json.loads(done.stdout)
    (one,) = found["findings"]
    assert (one["what"], one["level"], found["can"], found["cannot"]) == ("reached", "problem", [], [])
    assert words in one["found"]
    assert todo.format(way=way) in one["todo"]


def test_this_machine_is_fit_and_a_place_without_slurm_ends_4(tmp_path: Path, orch_home: Path) -> None:
    config = external(tmp_path)
    done = orch("clusters", "check", "local", "--json", ORCH_CONFIG=config)
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert (found["cluster"], found["kind"]) == ("local", "local")
    assert {one["level"] for one in found["findings"]} <= {"ok", "warning"}
    assert found["can"]
    assert found["cannot"]
    shown = orch("clusters", "check", ORCH_CONFIG=config).stdout
    assert "orch can promise here:" in shown
    assert "orch can't promise here:" in shown
    none = orch("clusters", "check", "slurm", ORCH_CONFIG=config, PATH="/nowhere")
    assert none.returncode == 4
    assert "sinfo: No such file or directory" in none.stdout
    assert "-> set `login` to a machine that has Slurm's commands" in none.stdout


def test_nodes_are_listed_excluded_and_forgiven(tmp_path: Path, orch_home: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("controller: external\nclusters: {hpc: {kind: slurm}}\nnodes: {failures: 1, hours: 1000000}\n")
    lost = {"cause": "gpu_fault", "because": "Xid 79", "host": "gn03"}
    record(orch_home, "tiny", ("lost", lost), cluster="hpc").close()
    shown = orch("nodes", ORCH_CONFIG=str(config)).stdout.splitlines()
    assert shown[0].split() == ["CLUSTER", "NODE", "EXCLUDED", "FAILURES", "LAST", "RUN", "WHEN"]
    assert shown[1].startswith("hpc      gn03  until 2137")
    (row,) = json.loads(orch("nodes", "list", "--json", ORCH_CONFIG=str(config)).stdout)
    assert (row["node"], row["out"], row["failures"], row["because"]) == ("gn03", True, 1, "Xid 79")
    record(orch_home, "here", ("lost", lost), cluster="local").close()
    rows = json.loads(orch("nodes", "--json", ORCH_CONFIG=str(config)).stdout)
    assert [(row["cluster"], row["out"]) for row in rows] == [("hpc", True), ("local", False)]
    assert orch("nodes", "exclude", "gn04", "-c", "hpc", ORCH_CONFIG=str(config)).returncode == 0
    assert "gn04  until forgiven" in orch("nodes", ORCH_CONFIG=str(config)).stdout
    for node in ("gn03", "gn04"):
        assert orch("nodes", "forgive", node, ORCH_CONFIG=str(config)).returncode == 0
    assert json.loads(orch("nodes", "--json", ORCH_CONFIG=str(config)).stdout) == []
    nobody = orch("nodes", "forgive", "gn03", "-c", "hpc", ORCH_CONFIG=str(config))
    assert nobody.returncode == 2
    assert "no evidence against a node gn03 of the cluster hpc" in nobody.stderr
    assert orch("nodes", "exclude", "x", "-c", "local", ORCH_CONFIG=str(config)).returncode == 2


def test_a_host_is_excluded_and_forgiven_with_or_without_its_user(tmp_path: Path, orch_home: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "controller: external\nclusters:\n  lab: {kind: ssh, shared_dir: /nfs, hosts: [gpu1, me@gpu3]}\n"
        "  far: {kind: ssh, shared_dir: /nfs, hostfile: /nowhere/hosts}\n"
    )
    excluded = orch("nodes", "exclude", "gpu3", "-c", "lab", ORCH_CONFIG=str(config))
    assert excluded.returncode == 0, excluded.stderr
    assert "exclude me@gpu3" in excluded.stderr
    (row,) = json.loads(orch("nodes", "--json", ORCH_CONFIG=str(config)).stdout)
    assert (row["node"], row["out"]) == ("me@gpu3", True)
    assert orch("nodes", "forgive", "gpu3", ORCH_CONFIG=str(config)).returncode == 0
    unknown = orch("nodes", "exclude", "gpu9", "-c", "lab", ORCH_CONFIG=str(config))
    assert unknown.returncode == 2
    assert "gpu9 names no host of the cluster lab" in unknown.stderr
    assert "it may use gpu1, me@gpu3" in unknown.stderr
    assert json.loads(orch("nodes", "--json", ORCH_CONFIG=str(config)).stdout) == []
    assert orch("nodes", "exclude", "gpu9", "-c", "far", ORCH_CONFIG=str(config)).returncode == 0


def test_an_event_tells_which_nodes_are_left_out_and_why(orch_home: Path) -> None:
    left = [
        {"node": "gn03", "failures": 2, "cause": "gpu_fault", "run": "other", "held": False},
        {"node": "gn04", "failures": 0, "cause": "none", "run": "", "held": True},
    ]
    record(orch_home, "tiny", ("resubmitting", {"attempt": 2, "left_out": left})).close()
    shown = orch("events", "tiny").stdout
    assert "gn03 is excluded (2 failures in a row, the last a gpu_fault of other); gn04 is excluded (by hand)" in shown
