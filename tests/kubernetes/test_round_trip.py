"""Whatever stands in a text of job.yaml or of a profile, the API server keeps it unchanged, or orch refuses it before.

Each hostile text is at once in all fields that take it, in one job of its own, so that a few objects try thousands.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.clusters import PROFILES
from orchestrator.clusters.kubernetes import objects
from orchestrator.clusters.kubernetes.answers import Page
from orchestrator.clusters.kubernetes.api import JSON, Api
from orchestrator.clusters.kubernetes.check.answers import amount
from orchestrator.clusters.kubernetes.kinds import JOB_RESOURCES
from orchestrator.clusters.kubernetes.profile import JobKind, KubernetesProfile
from orchestrator.clusters.kubernetes.render import manifests
from orchestrator.config import configfile, specfile
from orchestrator.errors import JobError
from orchestrator.model.bundle import Bundle, File
from orchestrator.model.cluster import Profile
from orchestrator.model.run import Submission
from orchestrator.model.spec import Spec
from orchestrator.rendering import quoting, render
from testbeds.kubernetes.access import Access, Space
from tests.rendering import build
from tests.rendering.hostile import WORDS

full = pytest.mark.full
MORE = (
    "y", "on", "off", "True", "NULL", "012", "1.0", "+1", "0b1", "1:30", "<<", "=", ".nan", "trailing ", " leading",
    "$$", "$(VAR)", "$(PET_NODE_RANK)", "$$(VAR)", "%", ":", "a: b", "?", "|", ">", ">-", "'", '"', "\r\n", "\u2028",
    "🚀", "𝒳", "٣", "e\u0301", "x" * 40, "x" * 63, "a" + "-" * 61 + "z", "x.y/z", "UPPER",
)  # fmt: skip
TEXTS = tuple(dict.fromkeys((*WORDS, *MORE)))
FEW = (
    "n", "yes", "0x10", "1e3", "012", "~", "null", "", "it's", 'say "hi"', "line\nbreak", "\ttab\r", "{{ job.name }}",
    "$(VAR)", "$$", "ünïcödé 🚀 \u2028\u2029\x85\xa0\ufeff", "\u2028", "x" * 63, "trailing ", "-rf", "# comment", ":",
    "%", "\x01\x07\x1b[31m\x7f\x80\x9f\ufffe\uffff",
)  # fmt: skip
QUANTITIES = (".sizeLimit", ".storage", ".memory", ".cpu")
# A profile's field -> what it is where a text cannot stand in it. {} is the text.
OF_PROFILE: Mapping[str, Any] = {
    "image": "{}", "python": "{}", "cache_dir": "/{}", "pull_secrets": ["{}"], "priority_class": "{}", "queue": "{}",
    "workload_priority": "{}", "service_account": "{}", "storage_class": "{}", "storage": "{}",
    "gpu_resource": "example.com/{}", "rdma": {"resource": "example.com/{}", "host_network": False},
    "node_selector": {"key": "{}"}, "labels": {"key": "{}"}, "annotations": {"key": "{}"}, "env": {"NAME": "{}"},
    "interface": {"socket": "{}"},
    "tolerations": [{"key": "key", "value": "{}", "effect": "NoSchedule"}, {"key": "{}", "operator": "Exists"}],
}  # fmt: skip
NAMES_OF_PROFILE = {"node_selector": "value", "labels": "value", "annotations": "value", "env": "value"}
OF_JOB: Mapping[str, Any] = {
    "name": "{}", "tokenizer": "{}", "checkpoint": {"dir": "{}"}, "env": {"NAME": "{}"},
    "secrets": {"HF_TOKEN": {"kubernetes": "{}/{}"}},
    "data": {"files": ["{}"], "text_field": "{}"}, "model": {"config": {"model_type": "{}", "{}": "{}"}},
    "training": {"steps": 1, "args": {"{}": "{}"}}, "deepspeed": {"config": {"{}": ["{}"]}},
}  # fmt: skip
NAMES_OF_JOB = {"env": "value", "secrets": {"kubernetes": "hub/token"}}
JOB: Mapping[str, Any] = {
    "name": "one", "model": {"config": {"model_type": "llama"}}, "data": {"files": "a"}, "training": {"steps": 1},
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One job with the text in every field that takes it. `refused`: the others."""

    text: str
    profile: Profile
    spec: Spec
    refused: tuple[str, ...]


@cache
def made(number: int) -> Made:
    text = TEXTS[number]
    profile, spec = {"kind": "kubernetes", "queue": "gpus"}, {**JOB, "name": f"w{number}"}
    refused = [
        *filled(profile, OF_PROFILE, NAMES_OF_PROFILE, text, profile_of, "clusters.k8s."),
        *filled(spec, OF_JOB, NAMES_OF_JOB, text, spec_of, ""),
    ]
    return Made(text=text, profile=profile_of(profile), spec=spec_of(spec), refused=tuple(refused))


def filled(
    document: dict[str, Any],
    fields: Mapping[str, Any],
    names: Mapping[str, Any],
    text: str,
    read: Callable[[Any], object],
    where: str,
) -> Iterator[str]:
    """Put the text into every field that takes it; those that do not, which must be told with their line."""
    for field, form in fields.items():
        forms = [form, {"{}": names[field]}] if field in names else [form]
        for each in forms:
            value = with_text(each, text)
            if isinstance(value, dict) and isinstance(document.get(field), dict):
                value = {**document[field], **value}
            problem = trouble(read, {**document, field: value})
            if problem is None:
                document[field] = value
            else:
                assert problem.line is not None, problem
                assert (problem.field or "").startswith(f"{where}{field}"), problem
                yield field


def trouble(read: Callable[[Any], object], value: Any) -> JobError | None:
    try:
        read(value)
    except JobError as error:
        return error
    return None


def with_text(form: Any, text: str) -> Any:
    if isinstance(form, str):
        return form.replace("{}", text)
    if isinstance(form, list):
        return [with_text(one, text) for one in form]
    if isinstance(form, dict):
        return {with_text(key, text): with_text(value, text) for key, value in form.items()}
    return form


def profile_of(document: Mapping[str, Any]) -> Profile:
    text = quoting.yaml({"clusters": {"k8s": document}})
    return configfile.parse(text.encode(), "config.yaml", PROFILES).clusters["k8s"]


def spec_of(document: Mapping[str, Any]) -> Spec:
    return specfile.parse(quoting.yaml(document).encode(), "job.yaml")


def bundle_of(number: int, kind: JobKind) -> Bundle | None:
    """None where a later stage refuses, which must tell by which field."""
    one = made(number)
    code = File(path=f"code/{one.text.replace('/', '_') or 'empty'}", content=one.text.encode())
    notes = {"metadata": {"annotations": {"overlaid": one.text, "key": one.text}}}
    if quoting.UNSAFE_IN_YAML.search(one.text):  # refused in what the job object holds; its files take everything
        for problem, field in (
            (trouble(render, build.request("kubernetes", replace(one.profile, job_kind=kind))), "clusters.kubernetes."),
            (trouble(render, build.request("kubernetes", payload=(*build.PAYLOAD, code))), "code"),
        ):
            assert problem is not None
            assert (problem.field or "").startswith(field)
        one = replace(one, profile=replace(one.profile, image=None, python=None, annotations={}))
        code, notes = replace(code, path="code/renamed"), {}
    profile = replace(one.profile, job_kind=kind, overlay=notes, rdma=None if kind == "trainjob" else one.profile.rdma)
    request = build.request("kubernetes", profile, spec=one.spec, payload=(*build.PAYLOAD, code))
    request = replace(request, run_id=f"{number:012x}")
    problem = trouble(render, request)
    assert problem is None or problem.field, problem
    return render(request) if problem is None else None


@pytest.fixture
def spaces(kube_cluster: Access) -> Iterator[tuple[Space, Space]]:
    """For what orch applies, and for what kubectl does. Pods may ask for RDMA there."""
    privileged = {"pod-security.kubernetes.io/enforce": "privileged"}
    both = kube_cluster.namespace("hostile", labels=privileged), kube_cluster.namespace("by-hand", labels=privileged)
    yield both
    for space in both:
        kube_cluster.delete_namespace(space.name)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("texts", [FEW, pytest.param(TEXTS, marks=full)], ids=["few", "all"])
@pytest.mark.parametrize(
    "kind", ["jobset", pytest.param("pytorchjob", marks=full), pytest.param("trainjob", marks=full)]
)
def test_what_a_server_keeps_is_what_was_rendered(
    kube_cluster: Access, spaces: tuple[Space, Space], kind: JobKind, texts: Sequence[str]
) -> None:
    ours, by_hand = spaces
    api = Api("k8s", KubernetesProfile(kind="kubernetes", kubeconfig=str(kube_cluster.kubeconfig), namespace=ours.name))
    numbers = [TEXTS.index(text) for text in texts]
    bundles = {number: bundle for number in numbers if (bundle := bundle_of(number, kind)) is not None}
    assert len(bundles) > 0.9 * len(texts)
    for number, bundle in bundles.items():
        objects.submit(api, submission(number, bundle), bundle, cluster="k8s")
    stream = "".join(f"---\n{bundle.text(path)}" for bundle in bundles.values() for path in manifests(bundle))
    kube_cluster.kubectl(
        "apply", "--server-side", "--validate=strict", "-n", by_hand.name, "-f", "-", input=stream, timeout=300
    )
    for space in (ours, by_hand):
        kept = served(api, space.name, kind)
        for number, bundle in bundles.items():
            for path in manifests(bundle):
                rendered = yaml.load(bundle.text(path), yaml.CSafeLoader)
                found = kept[rendered["kind"], rendered["metadata"]["name"]]
                of_list = {"apiVersion": rendered["apiVersion"], "kind": rendered["kind"]}  # which a list says once
                assert list(differences(rendered, of_list | found)) == [], (made(number).text, space)
            same_files(bundle, kept["ConfigMap", submission(number, bundle).name])
    refusals = [words for number, bundle in bundles.items() if (words := refusal(api, bundle, kind))]
    assert refusals == []


def submission(number: int, bundle: Bundle) -> Submission:
    run = made(number).spec.name
    return Submission(
        run=run, run_id=f"{number:012x}", attempt=1, cluster="k8s", digest=bundle.digest, dir=f"/shared/runs/{run}",
        checkpoint_dir="", bundle_file="", nodes=2,
    )  # fmt: skip


def served(api: Api, space: str, kind: JobKind) -> dict[tuple[str, str], Any]:
    """What is in a namespace, by kind and name."""
    paths = {
        "ConfigMap": f"/api/v1/namespaces/{space}/configmaps",
        "PersistentVolumeClaim": f"/api/v1/namespaces/{space}/persistentvolumeclaims",
        {"pytorchjob": "PyTorchJob", "jobset": "JobSet", "trainjob": "TrainJob"}[kind]: JOB_RESOURCES[kind].path(space),
    }
    listed: list[tuple[str, Any]] = [(name, one) for name, path in paths.items() for one in api.get(Page, path).items]
    return {(name, one["metadata"]["name"]): one for name, one in listed}


def differences(wanted: Any, found: Any, at: str = "") -> Iterator[str]:
    """Where what was rendered is not there; what the server adds does not count."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            yield from differences(value, found[key], f"{at}.{key}") if key in found else (f"{at}.{key} is not there",)
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for place, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(one, other, f"{at}[{place}]")
    elif at.endswith(QUANTITIES) and amount(wanted) == amount(found):
        return  # 4096Mi is kept as 4Gi
    elif wanted != found or type(wanted) is not type(found):
        yield f"{at} is {found!r}, not {wanted!r}"


def same_files(bundle: Bundle, config_map: Mapping[str, Any]) -> None:
    """Byte for byte."""
    kept = {name: text.encode() for name, text in (config_map.get("data") or {}).items()}
    kept |= {name: base64.b64decode(text) for name, text in (config_map.get("binaryData") or {}).items()}
    own = set(manifests(bundle))
    assert sorted(kept.values()) == sorted(file.content for file in bundle.files if file.path not in own)


def refusal(api: Api, bundle: Bundle, kind: JobKind) -> str:
    """Why the server would not have a pod of it, which an operator makes later; empty where it would."""
    if kind == "trainjob":
        return ""  # its template is not whole without the runtime
    job = yaml.load(bundle.text(f"{kind}.yaml"), yaml.CSafeLoader)
    template = (
        job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
        if kind == "pytorchjob"
        else job["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    )
    spec = {
        key: value for key, value in template["spec"].items() if key not in ("serviceAccountName", "priorityClassName")
    }
    metadata = {**template["metadata"], "name": "try"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    try:
        api._request("POST", api.core("pods"), query=(("dryRun", "All"),), body=pod, content_type=JSON)
    except objects.Refused as refused:
        return refused.message
    return ""


WRONG: Sequence[tuple[Mapping[str, Any], Mapping[str, Any], str]] = (
    ({"labels": {"team": "two words"}}, {}, "config.yaml:5: clusters.k8s.labels.team"),
    ({}, {"secrets": {"PET_X": {"kubernetes": "hub/token"}}}, "job.yaml:5: secrets.PET_X"),
    ({"tolerations": [{"key": "a", "seconds": 5}]}, {}, "config.yaml:5: clusters.k8s.tolerations"),
    ({}, {"checkpoint": {"dir": "/elsewhere"}}, "job.yaml:5: checkpoint.dir"),
    ({"env": {"TOKEN": "hf_" + "a1B2" * 8}}, {}, "config.yaml:5: clusters.k8s.env.TOKEN"),
    ({"overlay": {"metadata": {"name": "n"}}}, {}, "config.yaml:5: clusters.k8s.overlay.metadata.name"),
)


@pytest.mark.parametrize(
    ("of_profile", "of_job", "place"), WRONG, ids=[place.rpartition(" ")[2] for *_, place in WRONG]
)
def test_what_is_refused_is_told_with_its_line_and_status_2(
    tmp_path: Path, of_profile: Mapping[str, Any], of_job: Mapping[str, Any], place: str
) -> None:
    config, job = tmp_path / "config.yaml", tmp_path / "job.yaml"
    config.write_text(f"clusters:\n  k8s:\n    kind: kubernetes\n    job_kind: jobset\n    {inner(of_profile)}\n")
    known = ["name: one", "model: {config: {model_type: llama}}", "data: {files: a}", "training: {steps: 1}"]
    job.write_text("\n".join([*known, inner(of_job), ""]))
    environment = {**os.environ, "ORCH_CONFIG": str(config), "ORCH_HOME": str(tmp_path / "home"), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "submit", str(job), "-c", "k8s"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert place in done.stderr


def inner(document: Mapping[str, Any]) -> str:
    return json.dumps(document)[1:-1]
