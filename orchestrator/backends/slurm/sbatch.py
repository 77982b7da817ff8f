"""The command that hands an attempt over, and what its answer means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.model.run import Submission

SECONDS = 60.0  # sbatch gives up by itself after Slurm's MessageTimeout, 10 s on most clusters

# Answers that leave open whether a job was made. All others are Slurm's "no".
_UNSURE = re.compile(
    r"timed out|time ?out|contact slurm controller|connect(ion)? failure|connection refused|standby mode|zero bytes|"
    r"temporarily un|communication|send failure|receive failure|transport|shutdown|not responding|try again|"
    r"authentication|munge|no route|unreachable|unexpected message|slurm_receive|getaddrinfo|name resolution",
    re.IGNORECASE,
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


def command(submission: Submission, exclude: Sequence[str], *, after_others: bool) -> list[str]:
    """The call of sbatch. `after_others`: not beside a job of the same name, which an earlier try may have made."""
    directory = attempt_dir(submission)
    argv = ["sbatch", "--parsable", f"--job-name={submission.name}", f"--comment={comment(submission.run_id)}"]
    argv += [f"--chdir={directory}", f"--output={directory.replace('%', '%%')}/job-%j.log", "--export=NONE"]
    if exclude:
        argv.append(f"--exclude={','.join(exclude)}")
    if after_others:
        argv.append("--dependency=singleton")
    argv += [f"{directory}/bundle/job.sbatch", "--attempt", str(submission.attempt)]
    if submission.from_scratch:
        argv.append("--from-scratch")
    if submission.from_step is not None:
        argv += ["--from-step", str(submission.from_step)]
    return argv


def answer(ran: Mapping[str, Any]) -> Answer:
    """What an sbatch that was run (an answer of the site operation `run`) said."""
    job = next((found[1] for found in map(_ID.match, ran["stdout"].splitlines()) if found), None)
    if ran["status"] == 0 and job is not None:
        return Answer(job=job, sure=True, words="")
    lines = [_PREFIX.sub("", line).strip() for line in ran["stderr"].splitlines() if line.strip()]
    words = "; ".join(dict.fromkeys(lines)) or f"exit status {ran['status']}"
    if ran["status"] is None:
        words = f"it did not answer within {SECONDS:.0f} s"
    killed = ran["status"] is None or ran["status"] <= 0
    return Answer(job=None, sure=not killed and not is_unsure(words), words=words)


def is_unsure(words: str) -> bool:
    """Whether a command of Slurm's says that it was not answered, rather than answered with no."""
    return bool(_UNSURE.search(words))
