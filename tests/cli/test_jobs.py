"""Commands that read a job: plan, render, submit --dry-run; and what they say of a job that is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from tests.cli.program import orch

JOB = {
    "name": "tiny",
    "model": {
        "config": {
            "model_type": "llama",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 320,
        }
    },
    "data": {"files": "text.txt", "sequence_length": 64},
    "training": {"steps": 40, "global_batch": 4, "precision": "fp32"},
    "deepspeed": {"zero": 2},
    "resources": {"nodes": 2, "gpus_per_node": 1},
    "checkpoint": {"dir": "ckpt", "every": 10},
}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A directory with a job that runs on this machine."""
    directory = tmp_path / "job"
    directory.mkdir()
    (directory / "job.yaml").write_text(json.dumps(JOB))
    (directory / "text.txt").write_text("some text\n")
    return directory


def test_a_plan_multiplies_out_and_ends_0(job: Path) -> None:
    shown = orch("plan", "job.yaml", cwd=job)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "batch        2 (micro-batch) x 1 (accumulation) x 2 (ranks) = 4 sequences\n" in shown.stdout
    assert "  total " in shown.stdout


def test_a_plan_as_json_has_every_term_in_bytes(job: Path) -> None:
    value = json.loads(orch("plan", "job.yaml", "--json", "--set", "training.steps=50", cwd=job).stdout)
    assert (value["name"], value["cluster"], value["zero_stage"], value["steps"]) == ("tiny", "local", 2, 50)
    batch = value["batch"]
    assert batch["global_batch"] == batch["micro_batch"] * batch["accumulation"] * batch["data_parallel"] == 4
    assert value["memory"]["rank_bytes"] == sum(term["bytes"] for term in value["memory"]["rank"])


def test_a_plan_that_does_not_fit_is_shown_and_ends_3(job: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("clusters:\n  small: {kind: slurm, gpu_memory: 100MiB, host_memory: 1GiB, shared_dir: /x}\n")
    shown = orch("plan", "job.yaml", "-c", "small", cwd=job, ORCH_CONFIG=str(config))
    assert shown.returncode == 3
    assert shown.stdout.startswith("tiny on small: does not fit\n")
    assert shown.stderr.startswith("error: tiny does not fit on small\nhint: ")


def test_a_dry_run_shows_the_digest_and_stores_nothing(job: Path, orch_home: Path) -> None:
    shown = orch("submit", "job.yaml", "--dry-run", cwd=job)
    assert shown.returncode == 0
    assert "tiny on local" in shown.stderr
    digest = shown.stdout.splitlines()[-1].removeprefix("digest ")
    value = json.loads(orch("submit", "job.yaml", "--dry-run", "--json", cwd=job).stdout)
    assert value["digest"] == digest
    assert {"job.json", "ds_config.json", "launch.sh"} <= {file["path"] for file in value["files"]}
    assert not orch_home.exists()


def test_render_writes_the_files_of_the_dry_run_and_twice_the_same(job: Path) -> None:
    files = json.loads(orch("submit", "job.yaml", "--dry-run", "--json", cwd=job).stdout)["files"]
    for directory in ("one", "two"):
        shown = orch("render", "job.yaml", "-o", directory, cwd=job)
        assert (shown.returncode, shown.stdout) == (0, "")
    tree = _tree(job / "one")
    assert tree == _tree(job / "two")
    assert {path: len(content) for path, content in tree.items() if path != ".orch-rendered"} == {
        file["path"]: file["bytes"] for file in files
    }
    assert os.access(job / "one" / "launch.sh", os.X_OK)


def test_render_replaces_an_older_rendering_and_keeps_what_is_not_its_own(job: Path) -> None:
    orch("render", "job.yaml", "-o", "out", cwd=job)
    (job / "out" / "run").mkdir()
    (job / "out" / "run" / "mine").write_text("mine")
    stale = job / "out" / "stale.txt"
    stale.write_text("of an older rendering")
    mark = job / "out" / ".orch-rendered"
    mark.write_text(mark.read_text() + "stale.txt\n../job.yaml\n")
    assert orch("render", "job.yaml", "-o", "out", "--set", "training.steps=7", cwd=job).returncode == 0
    assert json.loads((job / "out" / "job.json").read_text())["steps"] == 7
    assert (job / "out" / "run" / "mine").exists()
    assert not stale.exists()
    assert (job / "job.yaml").exists()


def test_render_refuses_a_directory_that_holds_something_else(job: Path) -> None:
    shown = orch("render", "job.yaml", "-o", ".", cwd=job)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "it holds job.yaml, text.txt" in shown.stderr
    assert sorted(path.name for path in job.iterdir()) == ["job.yaml", "text.txt"]
    assert orch("render", "job.yaml", "-o", ".", "--force", cwd=job).returncode == 0
    assert (job / "job.json").exists()


def test_render_into_a_file_or_where_nobody_may_write_ends_2(job: Path) -> None:
    for target in ("text.txt", "text.txt/below", "/proc/nothing/here"):
        shown = orch("render", "job.yaml", "-o", target, cwd=job)
        assert shown.returncode == 2, target
        assert shown.stderr.startswith("error: cannot write the job's files to")
    assert not [path for path in job.iterdir() if path.name.startswith(".")]


def test_only_kubernetes_can_be_rendered_to_stdout(job: Path) -> None:
    shown = orch("render", "job.yaml", "-c", "slurm", "-o", "-", cwd=job)
    assert (shown.returncode, shown.stdout) == (2, "")
    documents = list(yaml.safe_load_all(orch("render", "job.yaml", "-c", "kubernetes", "-o", "-", cwd=job).stdout))
    assert documents
    assert all(document["kind"] for document in documents)


@pytest.mark.parametrize("made", ["TrainJob", "JobSet", "PyTorchJob"])
def test_a_kubernetes_job_is_one_stream_of_the_chosen_kind_and_attempt(job: Path, made: str) -> None:
    (job / "manifest.yaml").write_text("kind: Mine\n")  # of the code that travels, which no API server is given
    shown = orch(
        *(
            "render",
            "job.yaml",
            "-c",
            "kubernetes",
            "--kind",
            made.lower(),
            "--attempt",
            "3",
            "-o",
            "-",
            "--set",
            "code=.",
        ),
        cwd=job,
    )
    documents = list(yaml.safe_load_all(shown.stdout))
    assert [document["kind"] for document in documents] == ["PersistentVolumeClaim", "ConfigMap", made]
    assert [document["metadata"]["name"] for document in documents] == ["orch-tiny", "orch-tiny-3", "orch-tiny-3"]


def test_a_kind_of_kubernetes_job_is_refused_elsewhere(job: Path) -> None:
    shown = orch("render", "job.yaml", "--kind", "jobset", "-o", "out", cwd=job)
    assert shown.returncode == 2
    assert "local is of kind local" in shown.stderr
    shown = orch("render", "job.yaml", "--diff", cwd=job)
    assert shown.returncode == 2
    assert "no overlay is laid over a job" in shown.stderr


@pytest.mark.parametrize("attempt", ["0", "-1", "1000000", "two"])
def test_an_attempt_that_is_no_number_of_one_is_refused(job: Path, attempt: str) -> None:
    shown = orch("render", "job.yaml", f"--attempt={attempt}", "-o", "out", cwd=job)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "--attempt" in shown.stderr


def test_a_diff_shows_what_the_overlay_changes_and_nothing_else(job: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "clusters:\n  plain: {kind: kubernetes}\n"
        "  k8s: {kind: kubernetes, overlay: {spec: {ttlSecondsAfterFinished: 60, network: {subdomain: n}}}}\n"
    )
    shown = orch("render", "job.yaml", "-c", "k8s", "--kind", "jobset", "--diff", cwd=job, ORCH_CONFIG=str(config))
    assert shown.returncode == 0
    changed = [line for line in shown.stdout.splitlines() if line.startswith(("+", "-"))]
    assert changed == [
        "--- rendered",
        "+++ with the overlay",
        '+    subdomain: "n"',
        "+  ttlSecondsAfterFinished: 60",
    ]
    shown = orch("render", "job.yaml", "-c", "plain", "--diff", cwd=job, ORCH_CONFIG=str(config))
    assert (shown.returncode, shown.stdout) == (0, "")


def test_an_error_of_a_later_stage_names_file_and_line_of_its_field(job: Path, tmp_path: Path) -> None:
    config, lines = tmp_path / "config.yaml", json.loads((job / "job.yaml").read_text())
    config.write_text("clusters:\n  k8s:\n    kind: kubernetes\n    overlay:\n      metadata: {name: mine}\n")
    shown = orch("render", "job.yaml", "-c", "k8s", "-o", "out", cwd=job, ORCH_CONFIG=str(config))
    assert f"{config}:5: clusters.k8s.overlay.metadata.name: cannot be changed" in shown.stderr
    text = json.dumps({"env": {"A": "b", "HF_TOKEN": f"hf_{'aB3' * 10}"}, **lines}, indent=1)
    (job / "job.yaml").write_text(text)
    for command in (["submit"], ["render", "-o", "out"]):
        shown = orch(command[0], "job.yaml", *command[1:], cwd=job)
        assert shown.returncode == 2
        assert "job.yaml:4: env.HF_TOKEN: holds what looks like a Hugging Face token" in shown.stderr
        assert "aB3aB3" not in shown.stdout + shown.stderr


def test_what_a_trainjob_loses_is_told_by_render(job: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("clusters:\n  k8s: {kind: kubernetes, job_kind: trainjob, priority_class: high}\n")
    shown = orch("render", "job.yaml", "-c", "k8s", "-o", "out", cwd=job, ORCH_CONFIG=str(config))
    assert shown.returncode == 0
    assert "warning: priority_class: a TrainJob cannot set it" in shown.stderr


def test_a_cluster_that_jobs_cannot_be_sent_to_ends_4(job: Path) -> None:
    shown = orch("submit", "job.yaml", "-c", "kubernetes", cwd=job)
    assert (shown.returncode, shown.stdout) == (4, "")
    assert "orch render" in shown.stderr


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("name: x\nrun: x.py\nruns: 1\n", "job.yaml:3"),
        ("name: [\n", "job.yaml"),
        ("", "job.yaml"),
        ("name: x\nname: y\n", "job.yaml:2"),
    ],
)
def test_a_wrong_job_ends_2_names_the_place_and_shows_no_traceback(job: Path, text: str, where: str) -> None:
    (job / "job.yaml").write_text(text)
    for command in (["plan"], ["submit", "--dry-run"], ["render", "-o", "out"]):
        shown = orch(*command, "job.yaml", cwd=job)
        assert (shown.returncode, shown.stdout) == (2, "")
        assert where in shown.stderr.splitlines()[0]
        assert "Traceback" not in shown.stderr


def test_a_missing_file_of_the_job_names_the_job_and_the_field(job: Path) -> None:
    (job / "text.txt").unlink()
    shown = orch("plan", "job.yaml", cwd=job)
    assert shown.returncode == 2
    assert shown.stderr.startswith("error: job.yaml:1: data.files: ")


def test_a_cluster_that_is_not_configured_ends_2(job: Path) -> None:
    shown = orch("plan", "job.yaml", "-c", "moon", cwd=job)
    assert shown.returncode == 2
    assert "moon" in shown.stderr


def _tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
