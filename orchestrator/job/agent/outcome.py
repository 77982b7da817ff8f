"""What ended a generation, and whether another may do better. Pure: evidence in, verdict out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Sequence

from orchestrator.job.agent import codes
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.jobfile import Signature
from orchestrator.job.protocol.records import Ending, Fault
from orchestrator.job.protocol.report import FirstError

_KILLS = ("SIGKILL", "SIGTERM", "an unknown signal")  # from outside: the same twice means nothing
# Stops in a row without a new proven checkpoint that a scheduler may answer with a requeue. More than the failures that
# are allowed by default, as a stop is not a failure; but a job whose time limit is shorter than the way to its first
# checkpoint would be queued again for ever.
MAX_STOPS = 10
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class Evidence:
    """All that is known at the end. `asked`: who asked to stop, if anybody; `stopped_step`: the agreed save's.

    `step`: the newest checkpoint of this generation or the one it resumed from. `failures`, `stops`: in a row before
    this generation, without a new proven checkpoint. `previous`: first_error of the
    generation before, when that failed with no new checkpoint either; `previous_cause`: its cause.
    """

    faults: tuple[Fault, ...]
    finished: bool = False
    asked: str | None = None
    stopped_step: int | None = None
    step: int | None = None
    progressed: bool = False
    failures: int = 0
    stops: int = 0
    max_failures: int = 0
    out_of_memory: bool = False
    built_in: bool = True
    previous: FirstError | None = None
    previous_cause: Cause | None = None


@dataclass(frozen=True)
class Verdict:
    """`restart`: the agents start again together, as the next generation; else they end with `code`."""

    result: str
    cause: Cause
    because: str
    retry: bool
    restart: bool
    code: int
    step: int | None
    failures: int
    fault: Fault | None = None


def decide(evidence: Evidence, signatures: Sequence[Signature]) -> Verdict:
    """The first of: stopped as agreed, finished, asked to stop, failed."""
    if evidence.stopped_step is None and evidence.finished:
        because = "Every rank attested the end of the training."
        return Verdict("success", Cause.COMPLETED, because, False, False, codes.SUCCESS, evidence.step, 0)
    if evidence.stopped_step is not None or evidence.asked is not None:
        return _stopped(evidence)
    return _failed(evidence, signatures)


def refused(decided: Verdict, refusal: Ending) -> Verdict:
    """A failure because a node had ended before, with that node's message and exit status."""
    retry = decided.retry and refusal.retry
    because = f"Node {refusal.node} has ended this start: {refusal.because}"
    if refusal.retry and not retry:
        because = f"{because} {decided.because}"
    code = refusal.code if retry or not refusal.retry else codes.HOPELESS
    return replace(decided, cause=refusal.cause, because=because, retry=retry, restart=False, code=code)


def first_fault(faults: Sequence[Fault], signatures: Sequence[Signature]) -> Fault | None:
    """The earliest primary fault; a secondary one only if no primary exists."""
    dead_launchers = {fault.node for fault in faults if fault.type == "Launcher"}
    # The ranks of a launcher that was killed die with it.
    own = [fault for fault in faults if fault.type not in ("Signal", "Exit") or fault.node not in dead_launchers]
    ordered = sorted(own, key=lambda fault: (_is_secondary(fault, signatures), fault.time))
    return ordered[0] if ordered else None


def signature_of(fault: Fault, signatures: Sequence[Signature]) -> Signature | None:
    """The first row whose pattern is in the fault's message, else in all of its text."""
    return classify(f"{fault.type}: {fault.message}", signatures) or classify(fault.text, signatures)


def classify(text: str, signatures: Sequence[Signature]) -> Signature | None:
    """The first row whose pattern the text holds, None when no row knows it."""
    return next((row for row in signatures if re.search(row.pattern, text)), None)


def same_error(one: Fault | None, other: FirstError | None) -> bool:
    """Whether two first errors have the same message, and one of the program, not of a signal from outside."""
    if not one or not other or one.cause or one.type == "Launcher" or one.message in _KILLS:
        return False
    return one.type == other.type and _plain(one.message) == _plain(other.message)


def _is_secondary(fault: Fault, signatures: Sequence[Signature]) -> bool:
    row = signature_of(fault, signatures)
    return row is not None and row.echo


def _stopped(evidence: Evidence) -> Verdict:
    asked = evidence.asked or "a signal to its ranks"
    if evidence.stopped_step is not None:
        because = f"Asked to stop by {asked}; all ranks saved step {evidence.stopped_step} and left."
    else:
        saved = f"the newest checkpoint is of step {evidence.step}" if evidence.step else "there is no checkpoint"
        because = f"Asked to stop by {asked}; nothing was saved for it, {saved}."
    step = evidence.stopped_step if evidence.stopped_step is not None else evidence.step
    failures = 0 if evidence.progressed else evidence.failures
    stops = 0 if evidence.progressed else evidence.stops + 1
    if stops < MAX_STOPS:
        return Verdict("stopped", Cause.ASKED_TO_STOP, because, True, False, codes.STOPPED, step, failures)
    because += (
        f" It was asked to stop {stops} times in a row without a new proven checkpoint. Give it a longer time limit"
        " (time_limit of the cluster's profile) or save sooner (checkpoint.every of the job), and let a script of your"
        " own save when it is asked to stop, as a Session does."
    )
    return Verdict("failed", Cause.ASKED_TO_STOP, because, False, False, codes.HOPELESS, step, failures)


def _failed(evidence: Evidence, signatures: Sequence[Signature]) -> Verdict:
    fault = first_fault(evidence.faults, signatures)
    cause, retry, echo, because = _explain(fault, evidence, signatures)
    failures = 0 if evidence.progressed else evidence.failures + 1
    notes = []
    restart = True
    if cause == evidence.previous_cause is Cause.GPU_FAULT and not evidence.progressed:
        restart = False  # it would be on the same machines; another attempt may get others
        notes.append("The generation before ended so, too: another attempt needs another machine.")
    elif not evidence.progressed and not echo and same_error(fault, evidence.previous):
        retry = False
        notes.append("The generation before ended with the same error, and no checkpoint was made in between.")
    if cause == evidence.previous_cause is Cause.HOST_OOM and not evidence.progressed:
        retry = False
        notes.append("The generation before ran out of memory, too, and no checkpoint was made in between.")
    if failures > evidence.max_failures:
        retry = False
        allowed = evidence.max_failures
        notes.append(f"Failures in a row without a new proven checkpoint: {failures}, allowed: {allowed}.")
    # Without one of the nodes nothing can start here: the agents themselves must be started again.
    lost = any(fault.type == "Lost" for fault in evidence.faults)
    code = codes.FAILED if retry and restart else codes.HOPELESS
    return Verdict(
        "failed",
        cause,
        _sentences(because, notes),
        retry,
        retry and restart and not lost,
        code,
        evidence.step,
        failures,
        fault,
    )


def _explain(fault: Fault | None, evidence: Evidence, signatures: Sequence[Signature]) -> tuple[Cause, bool, bool, str]:
    """(cause, retry, echo, because) of the first fault alone."""
    if fault is None:
        return (
            Cause.UNKNOWN,
            True,
            False,
            "The ranks ended before the training was done, and none of them recorded why.",
        )
    where = f"The launcher on node {fault.node}" if fault.rank is None else f"Rank {fault.rank} on node {fault.node}"
    killed = fault.cause is Cause.LAUNCHER_LOST or (fault.type == "Signal" and fault.message in _KILLS)
    if killed and evidence.out_of_memory:
        sentence = f"{where} was ended by the kernel: its node, or what the job may use of it, had run out of memory."
        return Cause.HOST_OOM, True, False, sentence
    if fault.cause is not None:
        again = not (fault.cause.row.needs_user or fault.cause.row.lasts)
        return fault.cause, again, False, fault.message
    if killed:
        return Cause.RANK_KILLED, True, False, f"{where} was killed by {fault.message}."
    row = signature_of(fault, signatures)
    if row is not None:
        return row.cause, row.retry, row.echo, f"{where}: {_description(fault)}"
    unmatched = {"Signal": Cause.RANK_KILLED, "Launcher": Cause.LAUNCHER_LOST}
    cause = unmatched.get(fault.type, Cause.UNKNOWN if evidence.built_in else Cause.USER_ERROR)
    return cause, True, False, f"{where}: {_description(fault)}"


def _description(fault: Fault) -> str:
    if fault.type in ("Exit", "Launcher"):
        last = next((line.strip() for line in reversed(fault.text.splitlines()) if line.strip()), "")
        return (
            f"ended with {fault.message} before the training was done{f'; its log ends: {last[:300]}' if last else '.'}"
        )
    if fault.type == "Signal":
        return f"killed by {fault.message}."
    message = " ".join(fault.message.split())
    return f"{fault.type}: {message[:300]}" if message else fault.type


def _sentences(because: str, notes: Sequence[str]) -> str:
    """Joined; an error's message rarely ends in a full stop."""
    stop = "." if notes and because[-1:] not in ".!?:" else ""
    return " ".join([because + stop, *notes])


def _plain(message: str) -> str:
    return _ADDRESS.sub("0x", message)
