"""The ways to a cluster that a kubeconfig can name: tokens, and plug-ins that give them out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.clusters.kubernetes.api import Api
from orchestrator.clusters.kubernetes.check.objects import SelfSubjectReview
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.errors import ClusterError, Unreachable
from testbeds.kubernetes.access import Access

PLUGIN = """#!/bin/sh
echo called >>{place}/calls
cat {place}/credential
"""


def kubeconfig(cluster: Access, place: Path, user: dict[str, Any]) -> Path:
    document = yaml.safe_load(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "yaml"))
    document["users"] = [{"name": "somebody", "user": user}]
    document["contexts"][0]["context"] |= {"user": "somebody", "namespace": "kube-system"}
    path = place / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


def plugin(cluster: Access, place: Path) -> Path:
    """A kubeconfig whose user is given out by a program, which counts its calls."""
    program = place / "plugin"
    program.write_text(PLUGIN.format(place=place))
    program.chmod(0o755)
    execute = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program), "interactiveMode": "Never"}
    return kubeconfig(cluster, place, {"exec": execute})


def give(cluster: Access, place: Path, seconds: float) -> None:
    token = cluster.kubectl("create", "token", "default", "-n", "kube-system", "--duration=2h").strip()
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": token, "expirationTimestamp": until},
    }
    (place / "credential").write_text(json.dumps(credential))


def who(api: Api) -> str:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = api.review(SelfSubjectReview, "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    return str(answer.username)


def calls(place: Path) -> int:
    return len((place / "calls").read_text().splitlines())


def test_a_plugin_gives_the_token_and_is_asked_again_when_it_has_expired(kube_cluster: Access, tmp_path: Path) -> None:
    path = plugin(kube_cluster, tmp_path)
    give(kube_cluster, tmp_path, 3600)
    api = Api("k8s", KubernetesProfile(kind="kubernetes", kubeconfig=str(path)))
    assert who(api) == "system:serviceaccount:kube-system:default"
    assert api.namespace == "kube-system"
    before = calls(tmp_path)
    assert who(api) == "system:serviceaccount:kube-system:default"
    assert calls(tmp_path) == before, "a token that is good is not asked for again"
    give(kube_cluster, tmp_path, -60)
    expiring = Api("k8s", KubernetesProfile(kind="kubernetes", kubeconfig=str(path)))
    who(expiring)
    before = calls(tmp_path)
    who(expiring)
    assert calls(tmp_path) > before


def test_a_plugin_that_fails_is_told_and_leaves_everything_open(kube_cluster: Access, tmp_path: Path) -> None:
    path = plugin(kube_cluster, tmp_path)
    (tmp_path / "credential").write_text("no credential")
    with pytest.raises(ClusterError):
        who(Api("k8s", KubernetesProfile(kind="kubernetes", kubeconfig=str(path))))


def test_a_token_that_is_not_known_leaves_everything_open(kube_cluster: Access, tmp_path: Path) -> None:
    path = kubeconfig(kube_cluster, tmp_path, {"token": "nobody"})
    with pytest.raises(Unreachable) as error:
        who(Api("k8s", KubernetesProfile(kind="kubernetes", kubeconfig=str(path))))
    assert "401" in error.value.message


def test_a_context_is_chosen_by_its_name(kube_cluster: Access, tmp_path: Path) -> None:
    path = kubeconfig(kube_cluster, tmp_path, {"token": "nobody"})
    document = yaml.safe_load(path.read_text())
    document["contexts"].append({"name": "other", "context": {**document["contexts"][0]["context"], "namespace": "x"}})
    path.write_text(yaml.safe_dump(document))
    assert Api("k8s", KubernetesProfile(kind="kubernetes", kubeconfig=str(path), context="other")).namespace == "x"
    assert Api("k8s", KubernetesProfile(kind="kubernetes", kubeconfig=str(path))).namespace == "kube-system"
    with pytest.raises(ClusterError, match="none"):
        _ = Api("k8s", KubernetesProfile(kind="kubernetes", kubeconfig=str(path), context="none")).namespace
