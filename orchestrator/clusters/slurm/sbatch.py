"""The sbatch command of an attempt, and the meaning of its output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.job.protocol.operations.commands import CommandResult, RunCommand
from orchestrator.model.run import Submission

SECONDS = 60.0  # sbatch gives up by itself after Slurm's MessageTimeout, 10 s on most clusters

# Final refusals (of slurm_errno and of sbatch's own options), which waiting does not change. After any other message,
# also one of a later Slurm, a job may have been created or may be created later.
_REFUSALS = (
    r"invalid (generic resource|trackable resource|partition name|account or|qos|wckey|(preferred |cluster )?feature|"
    r"license|node (name|count)|core|count|memory|time limit|time[^;]*specification|deadline|(array|block|mcs|switch)|"
    r"cluster name|distribution|gres|--)|"
    r"node (count|configuration)[^;]*(invalid|is not available)|requested ((reservation|time limit) is invalid|"
    r"nodes not in this partition|more tasks than|gres option|operation not supported)|"
    r"(task count|task distribution|time limit) specification|more processors requested|job size specification|"
    r"duplicate generic resource|no partition specified|group not permitted|burst buffer request invalid|"
    r"invalid numeric value|is not a valid |job dependency problem|"
    r"unrecognized option|invalid option|option [^;]*(requires an argument|is ambiguous|doesn't allow an argument)"
)
# Failures to reach Slurm, rather than refusals.
_UNANSWERED = (
    r"timed out|time ?out|contact slurm controller|connect(ion)? failure|connection refused|standby mode|zero bytes|"
    r"temporarily un|communication|send failure|receive failure|transport|shutdown|not responding|try again|"
    r"authentication|munge|no route|unreachable|unexpected message|slurm_receive|getaddrinfo|name resolution"
)
_ID = re.compile(r"^\s*(\d+)(;.*)?\s*$")
_PREFIX = re.compile(r"^sbatch: (error: )?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SbatchAnswer:
    """`job` is the id of the created job. Without one: `sure`, whether there is none, and the message of sbatch."""

    job: str | None
    sure: bool
    message: str


def comment(run_id: str) -> str:
    """A job's comment, which names its run."""
    return f"orch:{run_id}"


def attempt_dir(submission: Submission) -> str:
    """The attempt's directory on the cluster."""
    return f"{submission.dir}/attempts/{submission.attempt:06d}"


def command(
    submission: Submission, exclude: Sequence[str], *, options: Sequence[str] = (), after_others: bool
) -> RunCommand:
    """The call of sbatch. `after_others`: after any job of the same name, which an earlier try may have created.

    The command line replaces the header's --exclude and --dependency, so it repeats them (`options` of the profile may
    have a dependency).
    """
    directory = attempt_dir(submission)
    argv = ["sbatch", "--parsable", f"--job-name={submission.name}", f"--comment={comment(submission.run_id)}"]
    argv += [f"--chdir={directory}", f"--output={directory.replace('%', '%%')}/job-%j.log", "--export=NONE"]
    if exclude:
        argv.append(f"--exclude={','.join(exclude)}")
    if after_others:
        argv += _after_others(options)
    argv += [f"{directory}/bundle/job.sbatch", "--attempt", str(submission.attempt)]
    if submission.from_scratch:
        argv.append("--from-scratch")
    if submission.from_step is not None:
        argv += ["--from-step", str(submission.from_step)]
    return RunCommand(tuple(argv), timeout=SECONDS)


def _after_others(options: Sequence[str]) -> list[str]:
    found = [value for name, value in map(_split, options) if name.startswith("dep") and "dependency".startswith(name)]
    if found and "?" in found[-1]:
        return []  # an "or" of dependencies takes no further "and"; only the claim prevents a second job then
    return [f"--dependency={','.join([*found[-1:], 'singleton'])}"]


def _split(option: str) -> tuple[str, str]:
    name, _, value = option.removeprefix("--").partition("=")
    return name, value


def answer(ran: CommandResult) -> SbatchAnswer:
    """The answer of an sbatch that was run."""
    job = next((found[1] for found in map(_ID.match, ran.stdout.splitlines()) if found), None)
    if ran.status == 0 and job is not None:
        return SbatchAnswer(job=job, sure=True, message="")
    lines = [_PREFIX.sub("", line).strip() for line in ran.stderr.splitlines() if line.strip()]
    message = "; ".join(dict.fromkeys(lines)) or f"exit status {ran.status}"
    if ran.status is None:
        message = f"it did not answer within {SECONDS:.0f} s"
    refused = ran.status not in {None, 0} and ran.status > 0 and is_refusal(message)
    return SbatchAnswer(job=None, sure=refused, message=message)


def is_refusal(message: str) -> bool:
    """Whether sbatch refused the job for good."""
    return bool(re.search(_REFUSALS, message, re.IGNORECASE)) and not is_unanswered(message)


def is_unanswered(message: str) -> bool:
    """Whether a command of Slurm's could not reach Slurm, rather than being refused."""
    return bool(re.search(_UNANSWERED, message, re.IGNORECASE))
