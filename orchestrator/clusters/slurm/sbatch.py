"""The command that hands an attempt over, and what its answer means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.job.protocol.operations import CommandResult, RunCommand
from orchestrator.model.run import Submission

SECONDS = 60.0  # sbatch gives up by itself after Slurm's MessageTimeout, 10 s on most clusters

# Slurm's "no", in words (of slurm_errno and of sbatch's own reading of options) that mean nothing else and that no
# waiting changes. All others, those of Slurm's to come too, leave open whether a job was made or can be made later.
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
# A command that was not answered, rather than answered with no.
_UNANSWERED = (
    r"timed out|time ?out|contact slurm controller|connect(ion)? failure|connection refused|standby mode|zero bytes|"
    r"temporarily un|communication|send failure|receive failure|transport|shutdown|not responding|try again|"
    r"authentication|munge|no route|unreachable|unexpected message|slurm_receive|getaddrinfo|name resolution"
)
_ID = re.compile(r"^\s*(\d+)(;.*)?\s*$")
_PREFIX = re.compile(r"^sbatch: (error: )?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`job` is the id of the job that was made. Without one: `sure` that none was, and the words of sbatch."""

    job: str | None
    sure: bool
    words: str


def comment(run_id: str) -> str:
    """What a job says of the run that it belongs to."""
    return f"orch:{run_id}"


def attempt_dir(submission: Submission) -> str:
    """The attempt's directory on the cluster."""
    return f"{submission.dir}/attempts/{submission.attempt:06d}"


def command(
    submission: Submission, exclude: Sequence[str], *, options: Sequence[str] = (), after_others: bool
) -> RunCommand:
    """The call of sbatch. `after_others`: not beside a job of the same name, which an earlier try may have made.

    The header's own --exclude and --dependency, of which `options` of the profile may have the latter, do not count
    beside those of the command line: these hold them, too.
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
        return []  # "any of these" cannot be joined with "and behind that one"; the claim alone decides then
    return [f"--dependency={','.join([*found[-1:], 'singleton'])}"]


def _split(option: str) -> tuple[str, str]:
    name, _, value = option.removeprefix("--").partition("=")
    return name, value


def answer(ran: CommandResult) -> Answer:
    """What an sbatch that was run has said."""
    job = next((found[1] for found in map(_ID.match, ran.stdout.splitlines()) if found), None)
    if ran.status == 0 and job is not None:
        return Answer(job=job, sure=True, words="")
    lines = [_PREFIX.sub("", line).strip() for line in ran.stderr.splitlines() if line.strip()]
    words = "; ".join(dict.fromkeys(lines)) or f"exit status {ran.status}"
    if ran.status is None:
        words = f"it did not answer within {SECONDS:.0f} s"
    refused = ran.status not in {None, 0} and ran.status > 0 and is_refusal(words)
    return Answer(job=None, sure=refused, words=words)


def is_refusal(words: str) -> bool:
    """Whether sbatch says that there is no such job and will be none, however often it is tried."""
    return bool(re.search(_REFUSALS, words, re.IGNORECASE)) and not is_unanswered(words)


def is_unanswered(words: str) -> bool:
    """Whether a command of Slurm's says that it was not answered, rather than answered with no."""
    return bool(re.search(_UNANSWERED, words, re.IGNORECASE))
