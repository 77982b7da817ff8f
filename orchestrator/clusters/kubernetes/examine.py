"""Asks a Kubernetes cluster what `orch clusters check` and `add` want to know."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence

from orchestrator.clusters.findings import Findings, problem
from orchestrator.clusters.kind import Place
from orchestrator.clusters.kubernetes.api import Api
from orchestrator.clusters.kubernetes.check import asking, judge
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.errors import OrchError


def check(place: Place) -> Findings:
    try:
        answers = asking.ask(Api(place.name, place.profile), place.profile)
    except OrchError as error:
        todo = error.hint or f"see what kubectl{_options(place.profile)} version says"
        return [problem("reached", error.message, todo)], [], []
    return judge.judge(place.profile, answers)


def _options(profile: KubernetesProfile) -> str:
    """Of kubectl, to reach the same cluster."""
    named = {"kubeconfig": profile.kubeconfig, "context": profile.context}
    return "".join(f" --{name} {shlex.quote(value)}" for name, value in named.items() if value)


def look_up(place: Place, given: Collection[str]) -> Mapping[str, object]:
    """Keys of a profile that its cluster and the kubeconfig can supply, except those that were `given`.

    Raises ClusterError where there is no way to the cluster.
    """
    api = Api(place.name, place.profile)
    found = judge.filled_in(place.profile, given, asking.look_around(api, place.profile))
    of_context = {"context": api.context, "namespace": api.named_namespace}
    return {**{key: value for key, value in of_context.items() if value and key not in given}, **found}


def missing(profile: KubernetesProfile) -> Sequence[str]:
    """What a job needs and no cluster can supply."""
    if profile.image is not None:
        return ()
    return ("the profile names no image, and a cluster cannot tell which: --set image=REGISTRY/NAME:TAG",)
