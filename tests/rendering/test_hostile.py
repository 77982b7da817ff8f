"""The quoting law: whatever stands in a string field, the readers of the rendered files read it back unchanged."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shlex
import shutil
import subprocess
from dataclasses import replace

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from orchestrator.clusters import kind_of
from orchestrator.clusters.hosts.profile import SshProfile
from orchestrator.clusters.kubernetes.configmap import config_map_of
from orchestrator.clusters.kubernetes.profile import JOB_LABEL, LABEL_VALUE, NODE_LABEL, KubernetesProfile
from orchestrator.clusters.kubernetes.render import manifests
from orchestrator.clusters.slurm import render as slurm
from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.config import yamlfile
from orchestrator.errors import JobError
from orchestrator.job.agent.script import expanded as of_rank
from orchestrator.job.protocol.encoding import to_json
from orchestrator.model.bundle import Bundle, File
from orchestrator.model.cluster import Profile
from orchestrator.model.command import command_of
from orchestrator.model.key import NAME
from orchestrator.model.spec import Checkpoint, Secret, Spec
from orchestrator.rendering import quoting, render
from orchestrator.rendering.jobfile import job_file
from tests.rendering.build import ALL_KINDS, PLAN, bundle, nodes, request
from tests.rendering.hostile import JSON_VALUES, TEXT, WITHOUT_FLOATS, WORDS, text_of, values
from tests.rendering.pods import KINDS, templates

MANY = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))

SPECS = values(Spec, run=st.none() | st.lists(TEXT, min_size=1, max_size=4).map(shlex.join), secrets={})
INLINE = st.fixed_dictionaries({"zero_optimization": st.dictionaries(TEXT, JSON_VALUES, max_size=2)})


def one_line(profile: Profile) -> Profile:
    """What goes into a #SBATCH line has no line break; that such a one is refused has a test of its own."""
    if isinstance(profile, SlurmProfile):
        assume(not any(mark in f"{profile.shared_dir}{profile.constraint}" for mark in "\n\r"))
        assume(not any(slurm.set_by_orch(option) for option in profile.options))
    if isinstance(profile, SshProfile):
        assume(all("#" not in host for host in profile.hosts))
    return profile


@given(st.data())
@MANY
@pytest.mark.parametrize("kind", ["local", "ssh", "slurm"])
def test_json_files_say_what_the_spec_and_the_profile_say(kind, data):
    spec, profile = data.draw(SPECS), one_line(data.draw(values(kind_of(kind).profile, kind=kind)))
    if spec.run is not None:
        spec = replace(spec, run=f"train.py {shlex.quote(spec.run)}")
    words = command_of(spec).words if spec.run is not None else None
    made = request(kind, profile, spec=spec, plan=replace(PLAN, ds_config=data.draw(INLINE)))
    rendered = render(made)
    job = json.loads(rendered.text("job.json"))
    assert job == json.loads(json.dumps(to_json(job_file(made))))
    assert job["env"] == {**profile.env, **spec.env}
    assert job["python"] == profile.python
    assert job["checkpoint_dir"] == spec.checkpoint.dir
    assert job["command"] == (list(words) if words is not None else None)
    assert words is None or [of_rank(word, {}) for word in words] == shlex.split(spec.run)
    assert job["interface"] == {"socket": profile.interface.socket, "hcas": list(profile.interface.hcas)}
    assert json.loads(rendered.text("ds_config.json")) == made.plan.ds_config


TOLERATIONS = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"key": text_of(NODE_LABEL), "operator": st.just("Exists")},
            optional={"effect": st.sampled_from(["NoSchedule", "PreferNoSchedule"])},
        ),
        st.fixed_dictionaries(
            {"key": text_of(NODE_LABEL), "value": text_of(LABEL_VALUE), "effect": st.just("NoExecute")},
            optional={"tolerationSeconds": st.integers(-5, 2**40)},
        ),
    ),
    max_size=3,
).map(tuple)
NOTES = st.dictionaries(text_of(JOB_LABEL), TEXT, max_size=3)
SECRET = values(Secret, env=None, file=None).filter(lambda secret: secret.kubernetes)
SENT = values(
    Spec,
    run=None,
    name=text_of(NAME).filter(lambda name: len(name) < 40),
    checkpoint=values(Checkpoint).filter(lambda checkpoint: not checkpoint.dir.startswith("/")),
    secrets=st.dictionaries(st.sampled_from(["HF_TOKEN", "WANDB_API_KEY"]), SECRET),
)


@given(st.data())
@MANY
@pytest.mark.parametrize("kind", KINDS)
def test_yaml_parsers_read_every_manifest_back(kind, data):
    spec = data.draw(SENT)
    profile = data.draw(
        values(
            KubernetesProfile, kind="kubernetes", job_kind=kind, claim=None, overlay={}, tolerations=TOLERATIONS
        ).map(plain)
    )
    rendered = bundle("kubernetes", profile, spec=spec)
    read = {path: read_by_both(rendered.text(path)) for path in manifests(rendered)}
    config_map, claim, job = read["configmap.yaml"], read["claim.yaml"], read[f"{kind}.yaml"]
    template = templates(job)[0] if kind != "trainjob" else patch_of(job)
    pod = template["spec"]
    carried = {file.path: file.content for file in rendered.files}
    binary = {key: base64.b64decode(value) for key, value in config_map["binaryData"].items()}
    for item in pod["volumes"][0]["configMap"]["items"]:
        key = item["key"]
        kept = binary[key] if key in binary else config_map["data"][key].encode()
        assert kept == carried[item["path"]]
    assert claim["spec"]["resources"]["requests"]["storage"] == profile.storage
    assert claim["spec"].get("storageClassName") == profile.storage_class
    assert job["metadata"].get("namespace") == profile.namespace
    container = job["spec"]["trainer"] if kind == "trainjob" else pod["containers"][0]
    assert container["image"] == (profile.image or "orch-train:1")
    assert expanded(container["command"])[3] == (profile.python or "python3")
    found = {entry["name"]: entry["valueFrom"] for entry in container["env"] if "valueFrom" in entry}
    for name, of in spec.secrets.items():
        reference = found[name]["secretKeyRef"]
        assert f"{reference['name']}/{reference['key']}" == of.kubernetes
    for metadata in (job["metadata"], template["metadata"]):
        assert dict(profile.labels).items() <= metadata["labels"].items()
        assert dict(profile.annotations).items() <= metadata.get("annotations", {}).items()
    assert pod.get("nodeSelector", {}) == profile.node_selector
    assert [one["name"] for one in pod.get("imagePullSecrets", [])] == list(profile.pull_secrets)
    assert pod["tolerations"][-len(profile.tolerations) or len(pod["tolerations"]) :] == list(profile.tolerations)
    assert pod.get("serviceAccountName") == profile.service_account
    assert job["metadata"]["labels"].get("kueue.x-k8s.io/queue-name") == profile.queue
    assert job["metadata"]["labels"].get("kueue.x-k8s.io/priority-class") == profile.workload_priority
    resources = container["resourcesPerNode" if kind == "trainjob" else "resources"]["limits"]
    assert profile.gpu_resource in resources
    if profile.rdma and profile.rdma.resource != profile.gpu_resource:
        assert resources[profile.rdma.resource] == str(profile.rdma.count)


def plain(profile):
    """Without what kubectl cannot hand on; that it is refused has tests of its own."""
    notes = {name: clean(note) for name, note in profile.annotations.items()}
    return replace(profile, image=clean(profile.image), python=clean(profile.python), annotations=notes)


def clean(text):
    return quoting.UNSAFE_IN_YAML.sub("x", text) if text else text


def read_by_both(text):
    """What readers of YAML 1.1, as Kubernetes' own, and of YAML 1.2 agree on."""
    value = yaml.load(text, yaml.CSafeLoader)
    assert yamlfile.plain(yamlfile.parse(text.encode(), "manifest")) == value
    return value


def patch_of(job):
    """The template of the pods in what a TrainJob lays over its runtime."""
    (patch,) = job["spec"]["runtimePatches"]
    (replicated,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]["template"]


@given(st.data())
@MANY
@pytest.mark.parametrize("kind", KINDS)
def test_an_overlay_is_read_back_as_it_was_laid(kind, data):
    notes, labels = data.draw(NOTES), data.draw(st.dictionaries(text_of(JOB_LABEL), text_of(LABEL_VALUE), max_size=3))
    extra = data.draw(st.dictionaries(TEXT.filter(lambda name: not name.startswith("$")), WITHOUT_FLOATS, max_size=2))
    overlay = {"metadata": {"annotations": notes, "labels": labels}, "spec": {"extra": [extra]}}
    profile = KubernetesProfile(kind="kubernetes", job_kind=kind, overlay=overlay)
    rendered = rendered_or_refused(request("kubernetes", profile), "clusters.kubernetes.overlay.")
    if rendered is None:
        return
    job = read_by_both(rendered.text(f"{kind}.yaml"))
    assert job["metadata"]["annotations"] == notes
    assert labels.items() <= job["metadata"]["labels"].items()
    assert job["spec"]["extra"] == [without_null(extra)]


def without_null(value):
    """As a strategic merge leaves it: null takes a key away."""
    if isinstance(value, dict):
        return {name: without_null(child) for name, child in value.items() if child is not None}
    return [without_null(child) for child in value] if isinstance(value, list) else value


@given(st.data())
@MANY
@pytest.mark.parametrize("field", ["tolerations", "overlay"])
def test_any_value_in_a_raw_field_survives_or_is_refused_by_name(field, data):
    raw = data.draw(st.dictionaries(TEXT | st.sampled_from(["key", "spec", "metadata", "$patch"]), JSON_VALUES))
    profile = KubernetesProfile(kind="kubernetes", **{field: (raw,) if field == "tolerations" else raw})
    rendered = rendered_or_refused(request("kubernetes", profile), f"clusters.kubernetes.{field}")
    if rendered is not None:
        read_by_both(rendered.text("pytorchjob.yaml"))


def rendered_or_refused(made, field):
    """The bundle; None where it is refused, which must be by a field that begins with `field`."""
    try:
        return render(made)
    except JobError as error:
        where = error.field
    assert where.startswith(field)
    return None


def expanded(words):
    """As the kubelet reads a command where no variable is set: $$ is a dollar, an unknown $(NAME) stays."""
    return [word.replace("$$", "$") for word in words]


@given(values(SshProfile, kind="ssh"))
@FEW
def test_a_hostfile_names_the_hosts_or_refuses_them(profile):
    profile = replace(profile, hosts=profile.hosts or ("gpu1",))
    try:
        rendered = bundle("ssh", profile, plan=nodes(len(profile.hosts)))
    except JobError:
        assert any("#" in host or set("\n\r") & set(profile.shared_dir or "") for host in profile.hosts)
        return
    lines = rendered.text("hostfile").splitlines()
    assert lines == [f"{host} slots=4" for host in profile.hosts]


@given(st.lists(TEXT, min_size=1, max_size=20))
@FEW
def test_bash_reads_quoted_words_back(words):
    script = f"printf '%s\\0' {quoting.shell_words(words)}"
    read = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    assert read.decode().split("\0")[:-1] == words


@given(WITHOUT_FLOATS)
@MANY
def test_a_yaml_parser_reads_values_back(value):
    assert yaml.safe_load(f"key: {quoting.yaml(value)}\n") == {"key": value}


@pytest.fixture(scope="module")
def sbatch(tmp_path_factory):
    """Reads #SBATCH lines with the real sbatch, which says what it read before it looks for a cluster."""
    if shutil.which("sbatch") is None:
        pytest.skip("sbatch is not installed")
    place = tmp_path_factory.mktemp("sbatch")
    conf = place / "slurm.conf"
    conf.write_text("ClusterName=none\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\nMessageTimeout=1\n")

    def read(**options):
        lines = [f"#SBATCH --{name}={quoting.sbatch(value)}" for name, value in options.items()]
        script = place / "job.sbatch"
        script.write_text("\n".join(["#!/bin/bash", *lines, "exit", ""]))
        environment = {"PATH": os.environ["PATH"], "SLURM_CONF": str(conf), "LC_ALL": "C.UTF-8"}
        with subprocess.Popen(["sbatch", "-v", script], stderr=subprocess.PIPE, env=environment, text=True) as process:
            said = list(itertools.takewhile(lambda line: "end of defined options" not in line, process.stderr))
            process.kill()
        table = [line.removesuffix("\n").removeprefix("sbatch: ").partition(": ") for line in said]
        return {name.strip(): value for name, _, value in table if name.strip() in options}

    return read


def test_the_real_sbatch_reads_header_values_back(sbatch):
    words = [word for word in WORDS if not set("\n\r") & set(word) and word]
    for first in range(0, len(words), 3):
        asked = dict(zip(("account", "comment", "qos"), words[first : first + 3], strict=False))
        assert sbatch(**asked) == asked


@pytest.mark.parametrize("text", ["a\nb", "\r", "x\n"])
def test_a_line_break_in_an_sbatch_line_is_refused(text):
    with pytest.raises(JobError, match="line break"):
        bundle("slurm", SlurmProfile(kind="slurm", shared_dir=f"/{text}"))


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize(("text", "why"), [("a\0b", "NUL"), ("\ud800", "surrogate")])
def test_what_no_file_can_hold_is_refused_with_its_field(kind, text, why):
    with pytest.raises(JobError, match=why) as refused:
        bundle(kind, spec=replace(request(kind).spec, env={"KEY": text}))
    assert refused.value.field == "env.KEY"
    with pytest.raises(JobError, match=why) as refused:
        bundle(kind, kind_of(kind).profile(kind=kind, python=text))
    assert refused.value.field == f"clusters.{kind}.python"


def test_a_number_that_json_lacks_is_refused_with_its_field():
    with pytest.raises(JobError, match="nan") as refused:
        bundle("local", plan=replace(PLAN, ds_config={"fp16": {"loss_scale": float("nan")}}))
    assert refused.value.field == "deepspeed.config.fp16.loss_scale"


@given(st.dictionaries(st.text("abc/._- é", min_size=1), st.binary(max_size=20), max_size=8))
@MANY
def test_a_config_map_holds_every_file_under_a_key_of_its_own(contents):
    assume(not any(path.startswith("..") for path in contents))
    made = config_map_of(Bundle(files=tuple(File(path=path, content=contents[path]) for path in sorted(contents))))
    keys = {item["path"]: item["key"] for item in made.items}
    assert sorted(keys) == sorted(contents)
    assert len(set(keys.values())) == len(contents)
    for path, content in contents.items():
        key = keys[path]
        held = made.data[key].encode() if key in made.data else base64.b64decode(made.binary[key])
        assert held == content
