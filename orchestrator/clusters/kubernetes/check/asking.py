"""Asks an API server, several lookups at once. A refusal is an answer, too."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from orchestrator.clusters.kubernetes.answers import Manifest
from orchestrator.clusters.kubernetes.api import Api, Refused
from orchestrator.clusters.kubernetes.check import answers as lookups
from orchestrator.clusters.kubernetes.check import rights
from orchestrator.clusters.kubernetes.check.answers import Answers, Lookup, Lookups, No
from orchestrator.clusters.kubernetes.check.objects import AccessReview, SelfSubjectReview, Version
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.errors import ClusterError, Unreachable

AT_ONCE = 8
_FORBIDDEN = 403
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_ACCOUNT = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_ACCOUNT_REVIEW: Manifest = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}

T = TypeVar("T")
A = TypeVar("A")


def ask(api: Api, profile: KubernetesProfile) -> Answers:
    """Ask everything. Raises ClusterError where the server cannot be reached."""
    asker = _Asker(api)
    answers = Answers(host=api.host, namespace=api.namespace, found=asker.reach())
    answers = _with(answers, asker.all(lookups.first(profile, api.namespace)))
    answers = _with(answers, asker.all(lookups.of_queues(profile, answers)))
    answers = _with(answers, asker.all(lookups.of_cluster_queue(answers)))
    reviewed = _each(
        rights.rights(profile, answers),
        lambda right: _answer(lambda: api.review(AccessReview, _REVIEWS, rights.review(right, api.namespace))),
    )
    return dataclasses.replace(answers, rights=reviewed, clock=asker.clock)


def look_around(api: Api, profile: KubernetesProfile) -> Answers:
    """The claims, queues and nodes, for a new profile. Raises ClusterError where the server cannot be reached."""
    asker = _Asker(api)
    answers = Answers(host=api.host, namespace=api.namespace, found=asker.reach())
    asked = {
        lookup: path
        for lookup, path in lookups.first(profile, api.namespace).items()
        if lookup in (lookups.KUEUE, lookups.NODES)
    }
    asked[lookups.CLAIMS] = f"/api/v1/namespaces/{api.namespace}/persistentvolumeclaims"
    answers = _with(answers, asker.all(asked))
    return _with(answers, asker.all(lookups.of_queues(profile, answers)))


def _with(answers: Answers, found: Mapping[Lookup[Any], object]) -> Answers:
    return dataclasses.replace(answers, found={**answers.found, **found})


class _Asker:
    """Keeps, beside the answers, how far the server's clock is ahead."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.clock: float | None = None

    def reach(self) -> dict[Lookup[Any], object]:
        """The server's version and the account. Raises ClusterError where the server does not answer or admit it."""
        version = _answer(lambda: self._api.get(Version, "/version"), passing=False)
        if isinstance(version, No) and version.status != _FORBIDDEN:
            raise ClusterError(
                f"{self._api.host} answers, but not as an API server does: {version.message}",
                hint="see that the server of the kubeconfig's context is the right one",
            )
        user = _answer(lambda: self._api.review(SelfSubjectReview, _ACCOUNT, _ACCOUNT_REVIEW), passing=False)
        return {lookups.VERSION: version, lookups.USER: user}

    def all(self, asked: Lookups) -> dict[Lookup[Any], object]:
        return _each(asked, lambda lookup: _answer(lambda: self._one(lookup, asked[lookup])))

    def _one(self, lookup: Lookup[Any], path: str) -> object:
        if not lookup.many:
            return self._api.get(lookup.kind, path)
        listed = self._api.list(lookup.kind, path)
        if listed.at and self.clock is None:
            self.clock = listed.at - time.time()
        return listed


def _answer(ask: Callable[[], A], *, passing: bool = True) -> A | No:
    """`passing`: that nothing came back is an answer, too."""
    try:
        return ask()
    except Refused as refused:
        return No(status=refused.status, message=" ".join(refused.message.split()))
    except Unreachable as error:
        if not passing:
            raise
        return No(status=0, message=" ".join(error.message.split()))


def _each(asked: Iterable[T], ask: Callable[[T], A]) -> dict[T, A]:
    """The answers to many lookups or reviews, asked at once."""
    lookups = list(asked)
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return dict(zip(lookups, pool.map(ask, lookups), strict=True))
