"""Asks a Slurm cluster what `orch clusters check` and `add` want to know."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orchestrator.clusters.checkup import answers_of, transport_of
from orchestrator.clusters.findings import Answer, Findings, ok, problem
from orchestrator.clusters.kind import Place
from orchestrator.clusters.slurm import check as slurm
from orchestrator.clusters.transport import Transport
from orchestrator.errors import OrchError


def check(place: Place) -> Findings:
    profile = place.profile
    try:
        reach = transport_of(profile.login, profile, interactive=place.interactive)
        answers = {**slurm_answers(reach), **answers_of(reach, slurm.questions(profile))}
    except OrchError as error:
        todo = error.hint or "see that ssh to it works by hand"
        return [problem("reached", error.message, todo)], [], []
    findings, can, cannot = slurm.judge(profile, answers)
    return [ok("reached", reach.where), *findings], can, cannot


def look_up(place: Place, _: Collection[str]) -> Mapping[str, object]:
    """Keys of a profile that Slurm can supply. Raises ClusterError and Unreachable."""
    reach = transport_of(place.profile.login, place.profile, interactive=place.interactive)
    return slurm.filled_in(place.profile, slurm_answers(reach))


def slurm_answers(reach: Transport) -> dict[str, Answer]:
    """The answers of Slurm; if it does not answer the first questions, only these."""
    answers = answers_of(reach, slurm.FIRST)
    if all(answer.status == 0 for answer in answers.values()):
        answers.update(answers_of(reach, slurm.REST))
    return answers
