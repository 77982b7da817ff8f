"""The directory that all nodes of a cluster see."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.clusters.findings import Answer, Finding, last_line, ok, problem
from orchestrator.job.protocol.operations.commands import RunCommand

SECONDS = 30.0
# Makes and removes a file of its own; prints the file system and the bytes that are free.
_PROBE = """\
test -d "$1" || { echo "there is no directory $1"; exit 1; }
probe=$(mktemp "$1/.orch-check-XXXXXXXX") || exit 1
rm -f -- "$probe"
stat -f -c "%T %S %a" -- "$1"
"""


def question(directory: str) -> RunCommand:
    return RunCommand(("sh", "-c", _PROBE, "sh", directory), timeout=SECONDS)


def judge(directory: str | None, answer: Answer | None) -> Iterator[Finding]:
    if directory is None or answer is None:
        todo = "set `shared_dir` in the profile to a directory that all nodes see"
        yield problem("shared directory", "the profile names none", todo)
        return
    if answer.status != 0:
        yield problem(
            "shared directory", f"{directory}: {last_line(answer)}", "make it, or choose one that you may write to"
        )
        return
    words = answer.stdout.split()
    free = int(words[-1]) * int(words[-2]) if len(words) >= 3 and words[-1].isdigit() and words[-2].isdigit() else None
    room = f", {free / 2**30:.0f} GiB free" if free is not None else ""
    yield ok("shared directory", f"{directory} can be written to{room}; each job sees whether its nodes do")
