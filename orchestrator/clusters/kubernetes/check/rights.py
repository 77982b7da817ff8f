"""The rights that orch needs on a cluster, verb by verb, and what does not work without each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.clusters.findings import Finding, ok, problem, warning
from orchestrator.clusters.kubernetes import runtimes
from orchestrator.clusters.kubernetes.answers import Manifest
from orchestrator.clusters.kubernetes.check.answers import (
    KUEUE_GROUP,
    VISIBILITY,
    VISIBILITY_GROUP,
    Answers,
    No,
    Right,
)
from orchestrator.clusters.kubernetes.kinds import JOB_RESOURCES
from orchestrator.clusters.kubernetes.profile import GANGS, JobKind, KubernetesProfile

WHAT = "permission"

_ALWAYS = (
    Right(verb="create", resource="configmaps", needed=True, lost="nothing can be submitted"),
    Right(verb="get", resource="configmaps", needed=True, lost="a submission that was cut short is not known again"),
    Right(verb="list", resource="configmaps", lost="an attempt that another orch process has ended is taken for lost"),
    Right(verb="patch", resource="configmaps", needed=True, lost="no attempt can be cancelled"),
    Right(verb="delete", resource="configmaps", lost="the files of attempts that are over stay in the namespace"),
    Right(verb="list", resource="pods", needed=True, lost="orch does not see what becomes of a job"),
    Right(verb="watch", resource="pods", lost="what happens to a pod is seen up to 10 s later"),
    Right(verb="delete", resource="pods", lost="orch cancel --now ends no pod before its grace period"),
    Right(verb="get", resource="pods/log", lost="steps, losses, checkpoints and logs of a run are not known here"),
    Right(verb="list", resource="events", lost="why a job gets no pods cannot be said, nor is it ended for that"),
    Right(verb="list", resource="nodes", everywhere=True, lost="no node is left out, whatever it did to jobs before"),
)
_OF_JOBS = {
    "create": "nothing can be submitted",
    "patch": "nothing can be submitted",  # server-side apply
    "get": "what was submitted is not known again, and is not ended",
    "list": "orch does not see what becomes of a job",
    "delete": "no attempt can be ended, so no other one follows it",
}


def rights(profile: KubernetesProfile, answers: Answers) -> tuple[Right, ...]:
    """All rights that a profile's jobs need."""
    chosen = answers.kind(profile)
    found = [*_ALWAYS, *_of_jobs(chosen, answers), *_of_claims(profile)]
    if profile.queue:
        found += _of_queues(profile, answers)
    if profile.gang and chosen != "trainjob":
        group, lost = GANGS[profile.gang][0], "nothing can be submitted: all pods start, or none, by a PodGroup"
        found += (
            Right(verb=verb, resource="podgroups", group=group, needed=True, lost=lost) for verb in ("create", "patch")
        )
        left = "the PodGroups of attempts that are over stay in the namespace"
        found.append(Right(verb="delete", resource="podgroups", group=group, lost=left))
    if profile.job_kind in ("auto", "trainjob"):
        found.append(_of_runtime(profile))
    return tuple(found)


def _of_jobs(chosen: JobKind | None, answers: Answers) -> Iterator[Right]:
    for of in answers.served:
        if of.kind == chosen:
            for verb, lost in _OF_JOBS.items():
                yield Right(verb=verb, resource=of.plural, group=of.group, needed=True, lost=lost)
        else:
            lost = "a run that is cancelled before it was dispatched is not looked for among them"
            yield Right(verb="get", resource=of.plural, group=of.group, lost=lost)


def _of_claims(profile: KubernetesProfile) -> Iterator[Right]:
    resource = "persistentvolumeclaims"
    if not profile.claim:
        lost = "nothing can be submitted: a run gets a claim of its own; or name one in `claim`"
        yield Right(verb="create", resource=resource, needed=True, lost=lost)
    name = profile.claim or ""
    yield Right(verb="get", resource=resource, name=name, lost="whether a claim is there and bound is not known")


def _of_queues(profile: KubernetesProfile, answers: Answers) -> Iterator[Right]:
    lost = "why a job waits in its queue cannot be said"
    yield Right(verb="list", resource="workloads", group=KUEUE_GROUP, lost=lost)
    lost = "whether the queue is there is not known"
    yield Right(verb="get", resource="localqueues", group=KUEUE_GROUP, name=profile.queue or "", lost=lost)
    if answers.one(VISIBILITY) is not None:
        of, lost = "localqueues/pendingworkloads", "a job's place in its queue cannot be said"
        yield Right(verb="get", resource=of, group=VISIBILITY_GROUP, name=profile.queue or "", lost=lost)


def _of_runtime(profile: KubernetesProfile) -> Right:
    everywhere = runtimes.kind_of(profile.runtime) == "ClusterTrainingRuntime"
    lost = "auto takes no TrainJob: whether its runtime is there, and fits, is not known"
    return Right(
        verb="get",
        resource=runtimes.plural_of(profile.runtime),
        group=JOB_RESOURCES["trainjob"].group,
        name=runtimes.name_of(profile.runtime),
        everywhere=everywhere,
        lost=lost if profile.job_kind == "auto" else lost.partition(": ")[2],
    )


def review(right: Right, namespace: str) -> Manifest:
    """The SelfSubjectAccessReview that asks whether the account has a right."""
    resource, _, part = right.resource.partition("/")
    asked = {
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": part,
        "name": right.name,
        "namespace": "" if right.everywhere else namespace,
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
    }


def judge(answers: Answers) -> Iterator[Finding]:
    """One finding where all is granted, else one for each resource that something is missing of."""
    unknown = [review for review in answers.rights.values() if isinstance(review, No)]
    if unknown:
        found = (
            f"of {len(unknown)} things that orch does it is not known whether they are allowed: {unknown[0].message}"
        )
        yield warning(WHAT, found, f"see what kubectl auth can-i --list -n {answers.namespace} says")
    missing = [right for right, review in answers.rights.items() if not isinstance(review, No) and not review.allowed]
    for needed in (True, False):
        for everywhere in (False, True):
            alike = [right for right in missing if (right.needed, right.everywhere) == (needed, everywhere)]
            for resource in dict.fromkeys((right.group, right.resource) for right in alike):
                yield _missing([right for right in alike if (right.group, right.resource) == resource], answers)
    if answers.rights and not unknown and not missing:
        yield ok(WHAT, f"all {len(answers.rights)} things that orch does in {answers.namespace} are allowed")


def _missing(rights: Sequence[Right], answers: Answers) -> Finding:
    """Several verbs of one resource."""
    one = rights[0]
    verbs = _enumerated([right.verb for right in rights])
    of = f"{one.resource}.{one.group}" if one.group else one.resource
    where = "in the cluster" if one.everywhere else f"in {answers.namespace}"
    lost = "; ".join(dict.fromkeys(right.lost for right in rights))
    role = "ClusterRole" if one.everywhere else "Role"
    todo = f"have the {role} of manifests/rbac.yaml bound to your account, or one with: {verbs} {of}"
    return (problem if one.needed else warning)(WHAT, f"{verbs} {of} is not allowed {where}: {lost}", todo)


def _enumerated(verbs: Sequence[str]) -> str:
    return " and ".join([", ".join(verbs[:-1]), verbs[-1]] if len(verbs) > 1 else verbs)
