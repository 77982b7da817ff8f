"""orch on a real Kubernetes, that of the tests, beside kubectl, the bare client, TorchX and Kubeflow's Trainer SDK.

Usage: python bench/kube.py [--json] [submit|many|status|tick|requests|faults]...

`make bench-kubernetes` installs TorchX and the SDK into build/peers first. In all but `faults` and `tick` jobs are
suspended JobSets, so that the machine is for the programs that are measured. TorchX finds no Volcano, whose jobs it
makes, only their definition: nothing looks at them. Jobs of the SDK come to a quota that lets nothing run.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import kube_faults
from bed import ORCH, PEERS, ROOT
from kube_bed import NO_JOBSETS, SUSPENDED, Bed, cluster, versions
from measure import Row, medians, on_cluster, row, shown, table

from testbeds import Unavailable
from testbeds.kubernetes.cluster import Cluster

SUBMITS = 9  # rounds of one submission by each
ROUNDS = 3
MANY = 100
WATCHED = 300
SDK_LISTED = 20  # of its jobs: it asks for each job's objects
SCALE = 1000
TICKS = 3
WINDOW = 60  # seconds in which requests are counted


def submit(made: Cluster) -> list[Row]:
    """One submission from the command line."""
    bed = Bed(made, "submit", **SUSPENDED)
    sdk = without_jobsets(made)
    folder = bed.render(*(f"{name}-{turn}" for name in ("kubectl", "bare") for turn in range(SUBMITS + 1)))
    torchx = [str(PEERS / "torchx"), "run", "--workspace=", "-s", "kubernetes"]
    script = ROOT / "bench"
    commands = {
        "nothing": [sys.executable, "-c", "pass"],
        "bare": [sys.executable, str(script / "with_client.py"), "apply", bed.space.name, f"{folder}/@.yaml"],
        "kubectl": bed.kubectl("apply", "--server-side", "-f", f"{folder}/@.yaml"),
        "orch": [*ORCH, "submit", str(bed.job), "--name", "@"],
        "torchx": [*torchx, "-cfg", f"namespace={bed.space.name},queue=default", "component.py:job"],
        "sdk": [str(PEERS / "python"), str(script / "with_trainer.py"), "submit", sdk.space.name, "1"],
    }
    took = medians(bed.program("with_commands.py", str(SUBMITS), json.dumps(commands)))
    bed.clear()
    sdk.clear()
    figure = "orch submit, one run"
    return [
        row(figure, took["orch"], took["kubectl"], "kubectl apply --server-side of the same objects"),
        row(figure, took["orch"], took["bare"], "a script that applies them by the same client"),
        row(figure, took["orch"], took["torchx"], "torchx run; no Volcano looks at its job"),
        row(figure, took["orch"], took["sdk"], "a script with the Trainer SDK; a TrainJob without files"),
        row(figure, took["orch"], took["nothing"], "python -c pass"),
    ]


def without_jobsets(made: Cluster) -> Bed:
    """Where TrainJobs are only made."""
    bed = Bed(made, "sdk")
    made.kubectl("apply", "-n", bed.space.name, "-f", "-", input=json.dumps(NO_JOBSETS))
    return bed


def many(made: Cluster) -> list[Row]:
    """A hundred submissions in one process. Every round begins with an empty namespace."""
    times: dict[str, list[float]] = {}
    for turn in range(ROUNDS):
        for name, seconds in a_hundred(made, loop=turn == 0):
            times.setdefault(name, []).append(seconds)
    took = medians(times)
    figure = f"{MANY} submits in one process"
    return [
        row(figure, took["orch"], took["apply"], "server-side apply by the same client, nothing else", "<= 1.3x"),
        row(figure, took["orch"], took["create"], "the same, but the ConfigMaps are created, as by orch"),
        row(figure, took["orch"], took["kubectl"], "one kubectl apply of all files"),
        row(figure, took["orch"], took["loop"], "kubectl apply of one file after another"),
        row(figure, took["orch"], took["sdk"], "Trainer SDK; TrainJobs without files"),
    ]


def a_hundred(made: Cluster, *, loop: bool) -> Iterable[tuple[str, float]]:
    """Seconds by each way. `loop`: by a kubectl for each, too, which need not be repeated."""
    for name in ("apply", "create", "orch", "kubectl", *(["loop"] if loop else [])):
        bed = Bed(made, name, **SUSPENDED)
        if name == "orch":
            yield name, bed.program("with_orch.py", "submit", str(bed.job), "0", str(MANY))
        else:
            folder = bed.render(*(f"many-{number}" for number in range(MANY)))
            yield name, apply_all(bed, name, folder)
        bed.clear()
    sdk = without_jobsets(made)
    yield "sdk", sdk.program("with_trainer.py", "submit", sdk.space.name, str(MANY), peers=True)
    sdk.clear()


def apply_all(bed: Bed, name: str, folder: Path) -> float:
    files = [str(path) for path in sorted(folder.iterdir())]
    if name in {"apply", "create"}:
        return float(bed.program("with_client.py", name, bed.space.name, *files))
    apply = bed.kubectl("apply", "--server-side", "-f")
    commands = [[*apply, str(folder)]] if name == "kubectl" else [[*apply, file] for file in files]
    return sum(bed.seconds(argv) for argv in commands)


def status(made: Cluster) -> list[Row]:
    """What three hundred waiting runs are doing, from a process that knows nothing yet."""
    bed, sdk = Bed(made, "status", **SUSPENDED), without_jobsets(made)
    bed.program("with_orch.py", "submit", str(bed.job), "0", str(WATCHED))
    sdk.program("with_trainer.py", "submit", sdk.space.name, str(SDK_LISTED), peers=True)
    commands = {
        "nothing": [sys.executable, "-c", "pass"],
        "cli": [*ORCH, "status", "--json"],
        "kubectl": bed.kubectl("get", "jobsets,pods", "-l", "app.kubernetes.io/managed-by=orch"),
    }
    with bed.controller():
        bed.until("queued", WATCHED)
    times: dict[str, list[float]] = bed.program("with_commands.py", str(SUBMITS), json.dumps(commands))
    for _ in range(ROUNDS):
        for name, seconds in bed.program("with_orch.py", "observe", "5").items():
            times.setdefault(name, []).extend(seconds)
        times.setdefault("sdk", []).append(sdk.program("with_trainer.py", "status", sdk.space.name, peers=True))
    bed.clear()
    sdk.clear()
    took = medians(times)
    figure = f"state of {WATCHED} runs, asking Kubernetes once"
    return [
        row(figure, took["first"], took["kubectl"], "kubectl get jobsets,pods", "< 150 ms"),
        row("the same, connected", took["again"], took["kubectl"], "kubectl get jobsets,pods", "< 150 ms"),
        row(figure, took["first"], took["sdk"], f"Trainer SDK: list_jobs of {SDK_LISTED} without pods"),
        row(f"orch status --json, {WATCHED} runs", took["cli"], took["nothing"], "python -c pass"),
    ]


def tick(made: Cluster) -> list[Row]:
    """A controller with a thousand runs whose pods seem to run: KWOK's nodes."""
    made.start_kwok(nodes=SCALE // 100)
    on_kwok = {"node_selector": {"type": "kwok"}, "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]}
    bed = Bed(made, "tick", **on_kwok)
    bed.program("with_orch.py", "submit", str(bed.job), "0", str(SCALE))
    running = ("pods", "-n", bed.space.name, "--field-selector=status.phase=Running")
    made.until(lambda: len(made.items(*running)) == SCALE, seconds=900, hint="all pods run")
    told = bed.program("with_orch.py", "tick", str(TICKS))
    with bed.controller() as pid:
        time.sleep(WINDOW)
        peak = peak_of(pid)
    bed.clear()
    made.stop_kwok()
    first, *later = told["seconds"]
    objects, size = told["listed"]
    return [
        Row(
            figure=f"a controller's tick with {SCALE:,} runs",
            measured=f"{shown(statistics.median(later))}; the first {shown(first)}",
            baseline=f"{objects:,} objects listed, {size / 1e6:.1f} MB",
        ),
        Row(figure=f"memory of the controller, {SCALE:,} runs", measured=f"{peak:.0f} MiB at most"),
    ]


def peak_of(pid: int) -> float:
    """The most memory that a process had, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no memory")


def requests(made: Cluster) -> list[Row]:
    """What the API server is asked while runs wait: in the first minute of watching them, and in the next."""
    rows = []
    for count in (3, 100, 300):
        bed = Bed(made, f"requests-{count}", **SUSPENDED)
        bed.program("with_orch.py", "submit", str(bed.job), "0", str(count))
        with bed.controller():
            first, second = (asked(bed) for _ in range(2))
            bed.until("queued", count)
        rows.append(Row(figure=f"requests a minute, {count} runs watched", measured=f"{first}; then {second}"))
        bed.clear()
    rows[2] = dataclasses.replace(rows[2], aim="as for 3")
    return rows


def asked(bed: Bed) -> str:
    """Requests by orch while a minute passes, and reads of logs."""
    before = bed.asked()
    time.sleep(WINDOW)
    after = bed.asked()
    logs = after[1] - before[1]
    return f"{after[0] - before[0] - logs} + {logs}"


PARTS: Mapping[str, Callable[[Cluster], list[Row]]] = {
    "submit": submit,
    "many": many,
    "status": status,
    "tick": tick,
    "requests": requests,
    "faults": kube_faults.measure,
}


def measure(names: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    with cluster() as made:
        for name in names:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            found = PARTS[name](made)
            print(table(found), file=sys.stderr, flush=True)  # kept whatever becomes of the parts that follow
            rows += found
    return rows


if __name__ == "__main__":
    sys.exit(on_cluster(sys.argv[1:], list(PARTS), measure, versions, peers=PEERS, unavailable=Unavailable))
