"""orch on a real Slurm, beside bare sbatch, submitit and TorchX on the same one: the cluster of the tests.

Usage: python bench/slurm.py [--json] [submit|many|status|requests|faults]...

`make bench-slurm` installs submitit and TorchX into build/peers first. In all but `faults` every node is taken by one
job, so whatever is submitted waits in the queue and the machine is for the programs that are measured.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import faults
from bed import ORCH, PEERS, Bed, cluster, command_lines, occupy, versions
from measure import Row, medians, on_cluster, row

from testbeds import Unavailable
from testbeds.slurm.cluster import Cluster

SUBMITS = 15  # rounds of one submission by each
ROUNDS = 3
MANY = 100
WATCHED = 200
WINDOW = 60  # seconds in which requests are counted


def submit(made: Cluster) -> list[Row]:
    """One submission from the command line."""
    bed = Bed(made, "submit")
    took = medians(bed.program("with_commands.py", str(SUBMITS), json.dumps(command_lines(bed))))
    bed.clear()
    figure = "orch submit, one run"
    return [
        row(figure, took["orch"], took["torchx"], "torchx run", "<= 0.5x"),
        row(figure, took["orch"], took["submitit"], "a script that submits with submitit"),
        row(figure, took["orch"], took["sbatch"], "sbatch"),
        row(figure, took["orch"], took["nothing"], "python -c pass"),
    ]


def many(made: Cluster) -> list[Row]:
    """A hundred submissions in one process. Every round begins with an empty queue."""
    times: dict[str, list[float]] = {}
    for turn in range(ROUNDS):
        for name, seconds in a_hundred(Bed(made, "many"), loop=turn == 0):
            times.setdefault(name, []).append(seconds)
    took = medians(times)
    figure = f"{MANY} submits in one process"
    return [
        row(figure, took["orch"], took["sbatch"], "sbatch in a loop", "<= 2x"),
        row(figure, took["orch"], took["torchx"], "TorchX"),
        row(figure, took["orch"], took["loop"], "submitit, one after another"),
        row(figure, took["orch"], took["array"], "submitit, one job array"),
    ]


def a_hundred(bed: Bed, *, loop: bool) -> Iterable[tuple[str, float]]:
    """Seconds by each way. `loop`: submitit's too, which waits between two submissions and need not be repeated."""
    count = str(MANY)
    yield "sbatch", bed.program("with_sbatch.py", count)
    bed.clear()
    yield "orch", bed.program("with_orch.py", "submit", str(bed.job), "0", count)
    bed.clear()
    yield "array", bed.program("with_submitit.py", "array", str(bed.place / "array"), count, peers=True)
    bed.clear()
    yield "torchx", bed.program("with_torchx.py", "submit", str(bed.place / "torchx"), count, peers=True)
    bed.clear()
    if loop:
        yield "loop", bed.program("with_submitit.py", "loop", str(bed.place / "loop"), count, peers=True)
        bed.clear()


def status(made: Cluster) -> list[Row]:
    """What two hundred waiting jobs are doing, from a process that knows nothing yet."""
    bed = Bed(made, "status")
    folders = waiting(bed, WATCHED)
    commands = {"nothing": [sys.executable, "-c", "pass"], "cli": [*ORCH, "status", "--json"]}
    with bed.controller():
        bed.until_queued(WATCHED)
        times: dict[str, list[float]] = bed.program("with_commands.py", str(SUBMITS), json.dumps(commands))
    for _ in range(ROUNDS):
        for name, seconds in bed.program("with_orch.py", "observe", "5").items():
            times.setdefault(name, []).extend(seconds)
        for name, script in (("submitit", "with_submitit.py"), ("torchx", "with_torchx.py")):
            times.setdefault(name, []).append(bed.program(script, "status", folders[name], peers=True))
    bed.clear()
    took = medians(times)
    figure = f"state of {WATCHED} runs, asking Slurm once"
    aim = "<= 100 ms"
    return [
        row(figure, took["first"], took["submitit"], "submitit: state of each job, one sacct", aim),
        row(figure, took["first"], took["torchx"], "TorchX: status of each job, a sacct each"),
        row("the same a moment later, from its last answer", took["again"], took["submitit"], "submitit"),
        row(f"orch status --json, {WATCHED} runs", took["cli"], took["nothing"], "python -c pass", f"+{aim[3:]}"),
    ]


def waiting(bed: Bed, count: int) -> dict[str, str]:
    """So many jobs in the queue of each; where the peers wrote down theirs."""
    folders = {name: str(bed.place / name) for name in ("submitit", "torchx")}
    bed.program("with_orch.py", "submit", str(bed.job), "0", str(count))
    bed.program("with_submitit.py", "array", folders["submitit"], str(count), peers=True)
    bed.program("with_torchx.py", "submit", folders["torchx"], str(count), peers=True)
    return folders


def requests(made: Cluster) -> list[Row]:
    """What slurmctld and slurmdbd are asked while runs wait: in the first minute of watching them, and in the next."""
    rows = []
    for count in (3, 100, 300):
        bed = Bed(made, f"requests-{count}")
        bed.program("with_orch.py", "submit", str(bed.job), "0", str(count))
        with bed.controller():
            first, second = (asked(bed, time.sleep) for _ in range(2))
            bed.until_queued(count)
        rows.append(Row(figure=f"requests a minute, {count} runs watched", measured=f"{first}; then {second}"))
        bed.clear()
    bed = Bed(made, "requests-of-peers")
    folders = waiting(bed, MANY)
    peers = []
    for name, script in (("submitit", "with_submitit.py"), ("TorchX", "with_torchx.py")):

        def watch(seconds: float, script: str = script, folder: str = folders[name.lower()]) -> None:
            bed.program(script, "watch", folder, str(int(seconds)), peers=True)

        peers.append(f"{asked(bed, watch)} ({name})")
    bed.clear()
    rows[1] = dataclasses.replace(rows[1], baseline=", ".join(peers))
    rows[2] = dataclasses.replace(rows[2], aim="as for 3")
    return rows


def asked(bed: Bed, wait: Callable[[float], object]) -> str:
    """Requests to both daemons while a minute passes."""
    before = bed.counts()
    wait(WINDOW)
    after = bed.counts()
    return f"{after[0] - before[0]} + {after[1] - before[1]}"


IN_THE_QUEUE: Mapping[str, Callable[[Cluster], list[Row]]] = {
    "submit": submit,
    "many": many,
    "status": status,
    "requests": requests,
}


def measure(names: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    with cluster() as made:
        if list(names) != ["faults"]:
            occupy(made)
        for name in names:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            if name == "faults":
                made.heal()
                rows += faults.measure(made)
            else:
                rows += IN_THE_QUEUE[name](made)
    return rows


if __name__ == "__main__":
    sys.exit(
        on_cluster(sys.argv[1:], [*IN_THE_QUEUE, "faults"], measure, versions, peers=PEERS, unavailable=Unavailable)
    )
