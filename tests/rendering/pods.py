"""The pods that the operators make of a rendered job, and a TrainJob as Trainer lays it over orch's own runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from orchestrator.clusters.kubernetes import overlay
from orchestrator.clusters.kubernetes.overlay import Field
from orchestrator.clusters.kubernetes.profile import JOB_KINDS
from tests.rendering.build import PROFILES, bundle

RUNTIME = Path(__file__).parents[2] / "manifests/runtime.yaml"
KINDS = JOB_KINDS


def of_kind(kind, profile=PROFILES["kubernetes"], /, **changes):
    """The bundle of a job that is made as `kind`."""
    return bundle("kubernetes", replace(profile, job_kind=kind), **changes)


def job_of(rendered):
    """The job of a bundle."""
    (path,) = {f"{kind}.yaml" for kind in KINDS} & {file.path for file in rendered.files}
    return yaml.safe_load(rendered.text(path))


def templates(job):
    """The templates of all its pods, one for each role."""
    if job["kind"] == "PyTorchJob":
        return [replica["template"] for replica in job["spec"]["pytorchReplicaSpecs"].values()]
    return [inner_job(job)["template"]]


def pods(job):
    return [template["spec"] for template in templates(job)]


def containers(job):
    return [container for pod in pods(job) for container in pod["containers"]]


def inner_job(job):
    """The spec of the one Job of a JobSet or TrainJob."""
    spec = job["spec"] if job["kind"] == "JobSet" else laid_over_runtime(job)
    (replicated,) = spec["replicatedJobs"]
    return replicated["template"]["spec"]


def laid_over_runtime(job, runtime=None):
    """The JobSet's spec that Trainer 2.3 makes of a TrainJob: the runtime's, patched, with the trainer's values."""
    runtime = runtime or yaml.safe_load(RUNTIME.read_text())
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    spec = runtime["spec"]["template"]["spec"]
    for patch in job["spec"]["runtimePatches"]:
        spec = overlay._merged(spec, patch["trainingRuntimeSpec"]["template"]["spec"], Field(("patch",)))
    (replicated,) = spec["replicatedJobs"]
    trainer, inner = job["spec"]["trainer"], replicated["template"]["spec"]
    inner["parallelism"] = inner["completions"] = trainer["numNodes"]
    (container,) = inner["template"]["spec"]["containers"]
    container |= {name: trainer[name] for name in ("image", "command", "args", "env")}
    container["resources"] = trainer["resourcesPerNode"]
    return spec
