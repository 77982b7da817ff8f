"""The strategic merge of a profile's overlay, and the YAML that comes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from orchestrator.clusters.kubernetes.overlay import Field, lay_over
from orchestrator.clusters.kubernetes.yamltext import read, write
from orchestrator.config import yamlfile
from orchestrator.errors import JobError
from orchestrator.rendering import quoting
from tests.rendering import crds
from tests.rendering.build import PROFILES, nodes
from tests.rendering.pods import KINDS, containers, job_of, of_kind, pods, templates

AT = Field(("overlay",))
PLAIN = PROFILES["kubernetes"]


def merged(base, patch):
    return lay_over(base, patch, AT)


@pytest.mark.parametrize(
    ("base", "patch", "result"),
    [
        ({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}),
        ({"a": 1, "b": 2}, {"b": None}, {"a": 1}),
        ({"a": {"b": 1}}, {"a": {"b": None}}, {"a": {}}),
        ({"a": 1}, {"b": {"c": None, "d": 1}}, {"a": 1, "b": {"d": 1}}),
        ({"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}, {"a": {"c": 2}}),
        ({"a": {"b": 1}, "c": 1}, {"a": {"$patch": "delete"}}, {"c": 1}),
        ({"a": {"b": 1}}, {"a": {"$patch": "merge", "c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": 1}}, {"a": "text"}, {"a": "text"}),
        ({"a": "text"}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"args": ["a", "b"]}, {"args": ["c"]}, {"args": ["c"]}),
        ({"args": ["a"]}, {"args": []}, {"args": []}),
        ({"rules": [{"a": 1}]}, {"rules": [{"b": 2}]}, {"rules": [{"b": 2}]}),
    ],
)
def test_mappings_are_merged_and_other_lists_replaced(base, patch, result):
    assert merged(base, patch) == result


ENV = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


@pytest.mark.parametrize(
    ("items", "result"),
    [
        ([{"name": "B", "value": "9"}], [{"name": "A", "value": "1"}, {"name": "B", "value": "9"}]),
        ([{"name": "C", "value": "3"}], [*ENV, {"name": "C", "value": "3"}]),
        ([{"name": "A", "$patch": "delete"}], [{"name": "B", "value": "2"}]),
        ([{"name": "A", "$patch": "replace", "valueFrom": {}}], [{"name": "A", "valueFrom": {}}, ENV[1]]),
        ([{"$patch": "replace"}, {"name": "C"}], [{"name": "C"}]),
        ([{"name": "A", "value": None, "valueFrom": {}}], [{"name": "A", "valueFrom": {}}, ENV[1]]),
    ],
)
def test_lists_of_named_things_are_merged_by_name(items, result):
    assert merged({"env": ENV}, {"env": items}) == {"env": result}


def test_mounts_are_merged_by_their_path_and_ports_by_their_number():
    base = {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}], "ports": [{"containerPort": 1}]}
    patch = {"volumeMounts": [{"mountPath": "/tmp", "readOnly": True}], "ports": [{"containerPort": 1, "name": "p"}]}
    assert merged(base, patch) == {
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp", "readOnly": True}],
        "ports": [{"containerPort": 1, "name": "p"}],
    }


def test_tolerations_are_added_once_and_taken_away_by_what_they_say():
    old, new = {"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}
    assert merged({"tolerations": [old]}, {"tolerations": [old, new]}) == {"tolerations": [old, new]}
    assert merged({"tolerations": [old]}, {"tolerations": [{"$patch": "delete", "key": "a"}, new]}) == {
        "tolerations": [new]
    }
    assert merged({"tolerations": [old]}, {"tolerations": [{"$patch": "replace"}, new]}) == {"tolerations": [new]}


@pytest.mark.parametrize(
    ("patch", "field", "says"),
    [
        ({"a": {"$patch": "remove"}}, "overlay.a.$patch", "wanted replace, delete or merge"),
        ({"$retainKeys": ["a"]}, "overlay.$retainKeys", "not understood"),
        ({"env": [{"value": "1"}]}, "overlay.env.0", "has no name"),
        ({"env": ["A"]}, "overlay.env.0", "has no name"),
        ({"args": [{"$patch": "delete"}]}, "overlay.args.0", "no names"),
        ({"a": {"b": [0.5]}}, "overlay.a.b.0", "0.5"),
        ({"$patch": "delete"}, "overlay", "the whole job"),
    ],
)
def test_what_is_no_patch_is_refused_with_its_field(patch, field, says):
    with pytest.raises(JobError, match=says.replace("$", r"\$")) as refused:
        merged({"env": ENV, "args": ["a"]}, patch)
    assert refused.value.field == field


def test_neither_the_job_nor_the_overlay_is_changed_in_place():
    base, patch = {"env": [{"name": "A"}], "a": {"b": 1}}, {"env": [{"name": "A", "value": "1"}], "a": {"c": 2}}
    merged(base, patch)
    assert base == {"env": [{"name": "A"}], "a": {"b": 1}}
    assert patch == {"env": [{"name": "A", "value": "1"}], "a": {"c": 2}}


def overlay_of_pods(kind, pod):
    if kind == "pytorchjob":
        return {"spec": {"pytorchReplicaSpecs": {"Master": {"template": pod}, "Worker": {"template": pod}}}}
    jobs = {"replicatedJobs": [{"name": "node", "template": {"spec": {"template": pod}}}]}
    patch = {"manager": "orch/job", "trainingRuntimeSpec": {"template": {"spec": jobs}}}
    return {"spec": jobs if kind == "jobset" else {"runtimePatches": [patch]}}


@pytest.mark.parametrize("kind", KINDS)
def test_an_overlay_reaches_into_the_pods_of_every_kind(kind):
    name = "pytorch" if kind == "pytorchjob" else "node"
    pod = {
        "nodeSelector": {"zone": "n"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "containers": [{"name": name, "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}],
        "volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
    }
    made = job_of(of_kind(kind, replace(PLAIN, overlay=overlay_of_pods(kind, {"spec": pod}))))
    crds.check(made)
    for each in pods(made):
        assert each["nodeSelector"] == {"zone": "n"}
        assert len(each["tolerations"]) == 3
        assert {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}} in each["volumes"]
        assert len(each["volumes"]) == 6
    for container in containers(made):
        assert {"name": "scratch", "mountPath": "/scratch"} in container["volumeMounts"]
        assert len(container["volumeMounts"]) == 6


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("pytorchjob", {"pytorchReplicaSpecs": {"worker": {"replicas": 1}}}, "pytorchReplicaSpecs.worker"),
        ("pytorchjob", {"pytorchReplicaSpecs": {"Evaluator": {}}}, "pytorchReplicaSpecs.Evaluator"),
        ("jobset", {"replicatedJobs": [{"name": "typo", "template": {}}]}, "replicatedJobs.typo"),
    ],
)
def test_pods_that_only_the_overlay_has_need_containers(kind, spec, field):
    with pytest.raises(JobError, match="has no containers") as refused:
        of_kind(kind, replace(PLAIN, overlay={"spec": spec}))
    assert refused.value.field == f"clusters.kubernetes.overlay.spec.{field}"


def test_an_overlay_for_workers_is_nothing_to_a_job_of_one_node():
    overlay = overlay_of_pods("pytorchjob", {"spec": {"hostname": "here"}})
    made = job_of(of_kind("pytorchjob", replace(PLAIN, overlay=overlay), plan=nodes(1)))
    assert list(made["spec"]["pytorchReplicaSpecs"]) == ["Master"]
    assert [pod["hostname"] for pod in pods(made)] == ["here"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("overlay", "field"),
    [
        ({"metadata": {"name": "mine"}}, "metadata.name"),
        ({"metadata": {"namespace": "other"}}, "metadata.namespace"),
        ({"metadata": {"$patch": "replace", "name": "mine"}}, "metadata.name"),
        ({"metadata": {"labels": {"orch/run-id": "x"}}}, "metadata.labels.orch/run-id"),
        ({"metadata": {"labels": {"orch/run": None}}}, "metadata.labels.orch/run"),
        ({"metadata": {"labels": None}}, "metadata.labels.app.kubernetes.io/managed-by"),
        ({"metadata": {"labels": {"orch/new": "x"}}}, "metadata.labels.orch/new"),
        ({"kind": "Job"}, "kind"),
        ({"apiVersion": "v1"}, "apiVersion"),
        ({"spec": None}, "spec"),
    ],
)
def test_what_orch_finds_its_objects_by_cannot_be_changed(kind, overlay, field):
    with pytest.raises(JobError, match="orch finds the job") as refused:
        of_kind(kind, replace(PLAIN, overlay=overlay))
    assert refused.value.field.startswith(f"clusters.kubernetes.overlay.{field}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [{"orch/attempt": "2"}, {"orch/run": None}, {"app.kubernetes.io/managed-by": "me"}])
def test_the_labels_of_pods_cannot_be_changed_either(kind, change):
    overlay = overlay_of_pods(kind, {"metadata": {"labels": change}})
    with pytest.raises(JobError, match="orch finds the job") as refused:
        of_kind(kind, replace(PLAIN, overlay=overlay))
    assert refused.value.field.endswith(f"metadata.labels.{next(iter(change))}")


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_ones_own_may_be_added(kind):
    overlay = overlay_of_pods(kind, {"metadata": {"labels": {"team": "n"}}})
    for template in templates(job_of(of_kind(kind, replace(PLAIN, overlay=overlay)))):
        assert template["metadata"]["labels"]["team"] == "n"


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_overlay_leaves_the_file_as_it_was_rendered(kind):
    assert of_kind(kind, replace(PLAIN, overlay={})) == of_kind(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_an_overlay_changes_nothing_else(kind):
    laid = job_of(of_kind(kind, replace(PLAIN, overlay={"metadata": {"annotations": {"a": "b"}}})))
    assert laid["metadata"].pop("annotations") == {"a": "b"}
    assert laid == job_of(of_kind(kind))


TRAPS = [
    "n",
    "yes",
    "on",
    "0x10",
    "0o7",
    "012",
    "1e3",
    "1_000",
    ".inf",
    "~",
    "null",
    "",
    "2026-01-01",
    "12:30",
    "=",
    "<<",
]


@pytest.mark.parametrize("trap", TRAPS)
def test_text_is_text_to_every_reader_of_yaml_as_a_value_and_as_a_key(trap):
    value = {"metadata": {"annotations": {"key": trap, trap: "value"}}, "list": [trap, [trap], {trap: [trap]}]}
    text = write(value)
    assert yaml.safe_load(text) == value
    if trap not in ("", "<<"):  # keys that orch's own strict reader takes from nobody
        assert yamlfile.plain(yamlfile.parse(text.encode(), "job.yaml")) == value
    assert read(text) == value


def test_empty_collections_and_scalars_keep_their_types():
    value = {
        "a": {},
        "b": [],
        "c": [{}, [], None, True, 0, -1, 2**53],
        "d": None,
        "e": {"f": {"g": [{"h": 1, "i": 2}]}},
    }
    assert read(write(value)) == value


def test_a_float_is_not_written():
    with pytest.raises(TypeError, match="floats"):
        quoting.yaml(0.5)
