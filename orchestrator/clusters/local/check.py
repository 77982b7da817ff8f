"""This machine: what a job that runs here finds. Pure."""

from __future__ import annotations

from orchestrator.clusters import interpreter, shared_directory
from orchestrator.clusters.findings import Answer, Finding, ok
from orchestrator.model.cluster import Cluster


def judge(
    found: Cluster, python: str, said: Answer, home: str, place: Answer
) -> tuple[list[Finding], list[str], list[str]]:
    """Findings, what orch can promise, what it cannot. `said`: what `python` did; `home`: where runs are kept."""
    findings = [_device(found)]
    if found.host_memory is not None:
        findings.append(ok("memory", f"{found.host_memory / 2**30:.0f} GiB"))
    findings += interpreter.judge(python, said, cpu=found.device == "cpu")
    findings += (
        Finding(what="runs", level=one.level, found=one.found.partition(";")[0], todo=one.todo)
        for one in shared_directory.judge(home, place)
    )
    can = ["A rank or an agent that dies is started again, from the newest proven checkpoint."]
    cannot = ["When this machine goes down the run waits until a controller is started again: orch controller --once."]
    return findings, can, cannot


def _device(found: Cluster) -> Finding:
    if found.device == "cpu":
        return ok("device", "the CPU")
    kind = f" of {found.gpu}" if found.gpu else ""
    memory = f" with {found.gpu_memory / 2**30:.0f} GiB" if found.gpu_memory else ""
    return ok("device", f"{found.gpus_per_node} GPUs{kind}{memory}")
