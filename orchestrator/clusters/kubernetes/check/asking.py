"""Puts the questions to an API server, several at once. A no is an answer, too."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from orchestrator.clusters.kubernetes.api import Api, Refused
from orchestrator.clusters.kubernetes.check import rights
from orchestrator.clusters.kubernetes.check.answers import (
    Answers,
    No,
    Question,
    Said,
    first,
    of_cluster_queue,
    of_queues,
)
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.errors import ClusterError, Unreachable

AT_ONCE = 8
_FORBIDDEN = 403
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_ACCOUNT = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_WHO = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}

T = TypeVar("T")


def ask(api: Api, profile: KubernetesProfile) -> Answers:
    """All that there is to know. Raises ClusterError where there is no way to the server."""
    asker = _Asker(api)
    reached = asker.reach()
    answers = Answers(host=api.host, namespace=api.namespace, said=reached)
    answers = _with(answers, asker.all(first(profile, api.namespace)))
    answers = _with(answers, asker.all(of_queues(profile, answers)))
    answers = _with(answers, asker.all(of_cluster_queue(answers)))
    wanted = rights.rights(profile, answers)
    reviewed = _each(wanted, lambda right: asker.post(_REVIEWS, rights.review(right, api.namespace)))
    return dataclasses.replace(answers, rights=reviewed, clock=asker.clock)


def look_around(api: Api, profile: KubernetesProfile) -> Answers:
    """What helps to write a profile: claims, queues and nodes. Raises ClusterError where there is no way there."""
    asker = _Asker(api)
    reached = asker.reach()
    answers = Answers(host=api.host, namespace=api.namespace, said=reached)
    claims = Question(path=f"/api/v1/namespaces/{api.namespace}/persistentvolumeclaims", many=True)
    asked = {name: one for name, one in first(profile, api.namespace).items() if name in ("kueue", "nodes")}
    answers = _with(answers, asker.all({**asked, "claims": claims}))
    return _with(answers, asker.all(of_queues(profile, answers)))


def _with(answers: Answers, said: Mapping[str, Said]) -> Answers:
    return dataclasses.replace(answers, said={**answers.said, **said})


class _Asker:
    """Notes, beside the answers, how far the server's clock is ahead."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.clock: float | None = None

    def reach(self) -> dict[str, Said]:
        """The version, and who it is that asks. Raises ClusterError where there is no way to the server, or in."""
        version = self._said(lambda: self._api.get("/version"), passing=False)
        if isinstance(version, No) and version.status != _FORBIDDEN:
            raise ClusterError(
                f"{self._api.host} answers, but not as an API server does: {version.words}",
                hint="see that the server of the kubeconfig's context is the right one",
            )
        user = self._said(lambda: self._api.create(_ACCOUNT, _WHO), passing=False)
        return {"version": version, "user": user}

    def all(self, asked: Mapping[str, Question]) -> dict[str, Said]:
        answers = _each(asked.values(), self._one)
        return {name: answers[question] for name, question in asked.items()}

    def post(self, path: str, document: Mapping[str, object]) -> Said:
        return self._said(lambda: self._api.create(path, document))

    def _one(self, question: Question) -> Said:
        if not question.many:
            return self._said(lambda: self._api.get(question.path))
        return self._said(lambda: self._listed(question.path))

    def _listed(self, path: str) -> dict[str, object]:
        found = self._api.list(path)
        if found.at and self.clock is None:
            self.clock = found.at - time.time()
        return {"items": found.items}

    @staticmethod
    def _said(ask: Callable[[], Mapping[str, object]], *, passing: bool = True) -> Said:
        try:
            return ask()
        except Refused as refused:
            return No(status=refused.status, words=_line(refused.message))
        except Unreachable as error:
            if not passing:
                raise
            return No(status=0, words=_line(error.message))


def _line(words: str) -> str:
    return " ".join(words.split())


def _each(asked: Iterable[T], ask: Callable[[T], Said]) -> dict[T, Said]:
    """The answers to many questions, asked at once."""
    questions = list(dict.fromkeys(asked))
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return dict(zip(questions, pool.map(ask, questions), strict=True))
