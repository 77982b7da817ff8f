"""The commands for squeue, sacct and sinfo, and their output. Only formats that Slurm 20.11 and newer share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.job.protocol.operations.commands import CommandResult, RunCommand

# Suffixes instead of widths, so that nothing is cut; fields that may contain a | come last.
_QUEUE = ("JobID", "RestartCnt", "State", "NodeList", "Reason", "Comment", "WorkDir", "Name")
_FIRST = 5
_BAR = "|"
_ACCOUNT = ("JobIDRaw", "State", "ExitCode", "NodeList")
_NAMED = ("JobIDRaw", "Submit", "Comment", "WorkDir", "JobName")  # the last three as in `tag`
_USABLE = frozenset({"idle", "mixed", "allocated", "completing", "reserved", "planned"})
SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SqueueJob:
    """A job in squeue. `restarts`: how often Slurm has requeued it; `tag`: comment, directory and name."""

    id: str
    restarts: int
    state: str
    nodes: str
    reason: str
    tag: str

    @property
    def start(self) -> str:
        """The start of its agents, as job.sbatch names it."""
        return f"{self.id}.{self.restarts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SacctRecord:
    """A job, or one start of it, in sacct."""

    id: str
    state: str
    exit: str
    nodes: str


def command(*argv: str) -> RunCommand:
    """A command of Slurm's that may take as long as all of them but sbatch."""
    return RunCommand(argv, timeout=SECONDS)


def queue_command() -> RunCommand:
    """List all jobs of this user, also those that ended a short while ago or are in a hidden partition."""
    form = ",".join(f"{name}:{_BAR}" for name in _QUEUE)
    return command("squeue", "--noheader", "--me", "--all", "--states=all", f"--Format={form}")


def tag(comment: str, directory: str, name: str) -> str:
    """The tag of an attempt's jobs, as in `SqueueJob.tag`."""
    return _BAR.join((comment, directory, name))


def queue(text: str) -> list[SqueueJob]:
    """The jobs in squeue's output. Ids that are not numbers are those of array tasks, which orch does not submit."""
    return [job for job in map(_job, text.splitlines()) if job is not None]


def _job(line: str) -> SqueueJob | None:
    fields = line.strip().removesuffix(_BAR).split(_BAR, _FIRST)
    if len(fields) <= _FIRST or not fields[0].isdigit():
        return None
    job, restarts, state, nodes, reason, tagged = fields
    count = int(restarts) if restarts.isdigit() else 0
    return SqueueJob(id=job, restarts=count, state=state, nodes=nodes, reason=reason, tag=tagged)


def account_command(jobs: Iterable[str]) -> RunCommand:
    """List jobs that have left squeue, with every start of each (--duplicates)."""
    form = ",".join(_ACCOUNT)
    chosen = f"--jobs={','.join(sorted(jobs))}"
    return command("sacct", "--parsable2", "--noheader", "--allocations", "--duplicates", chosen, f"--format={form}")


def accounts(text: str) -> dict[str, list[SacctRecord]]:
    """The records in sacct's output by job, in the order of the starts."""
    found: dict[str, list[SacctRecord]] = {}
    for line in text.splitlines():
        fields = line.split(_BAR)
        if len(fields) == len(_ACCOUNT) and fields[0].isdigit():
            record = SacctRecord(id=fields[0], state=fields[1], exit=fields[2], nodes=fields[3])
            found.setdefault(record.id, []).append(record)
    return found


def has_none(ran: CommandResult) -> bool:
    """Whether sacct failed because this cluster has no accounting."""
    return ran.status != 0 and "accounting storage is disabled" in ran.stderr


def named_command(name: str) -> RunCommand:
    """List the jobs of a name in sacct, which without a time window omits waiting ones."""
    form = ",".join(_NAMED)
    window = ["--starttime=now-7days", "--endtime=now"]
    return command("sacct", "--parsable2", "--noheader", "--allocations", f"--name={name}", *window, f"--format={form}")


def named(text: str, mark: str, since: str | None) -> list[str]:
    """The ids in the output of `named_command` of the jobs with the tag `mark`, oldest first.

    Not every site keeps comments in its accounting. A job without one counts by its name and directory, unless it was
    submitted before `since`: an older run of the same name had both.
    """
    place = mark.partition(_BAR)[2]
    found = set()
    for line in text.splitlines():
        job, submitted, rest = (*line.split(_BAR, 2), "", "")[:3]
        if not job.isdigit():
            continue
        if rest == mark or (rest == f"{_BAR}{place}" and (since is None or submitted >= since)):
            found.add(job)
    return sorted(found, key=int)


def nodes_command(partition: str | None) -> RunCommand:
    """List the nodes of a partition (without one of the default partitions) and their states."""
    chosen = [f"--partition={partition}"] if partition else []  # also a hidden one; --all would fail
    return command("sinfo", "--noheader", "--Node", "--format=%N|%T", *chosen)


def usable(text: str) -> list[str]:
    """The nodes in sinfo's output that take jobs now or soon: a * marks a node that does not respond."""
    found = set()
    for line in text.splitlines():
        node, _, state = line.strip().partition(_BAR)
        if state.rstrip("~#!%$@^-+") in _USABLE:
            found.add(node)
    return sorted(found)
