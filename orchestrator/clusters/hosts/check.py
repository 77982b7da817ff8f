"""What `orch clusters check` asks a list of hosts, and what their answers and those of this machine mean. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.clusters import interpreter, shared_directory
from orchestrator.clusters.findings import Answer, Finding, last_line, ok, problem, warning
from orchestrator.clusters.hosts.profile import SshProfile
from orchestrator.errors import OrchError
from orchestrator.job.protocol.operations.commands import RunCommand
from orchestrator.model.cluster import Cluster

SECONDS = 30.0
_GPUS = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
# Three rounds on all hosts: each leaves a file, each tells which files it sees, each takes its own away.
_LEAVE = 'mkdir -p -- "$1" && : > "$1/$2"'
_SEE = 'ls -- "$1"'
_TAKE = 'rm -f -- "$1/$2"; rmdir -- "$1" 2>/dev/null || true'


def questions(profile: SshProfile, meeting: str | None, number: int) -> dict[str, RunCommand]:
    """What host `number` is asked first. `meeting`: a directory of this check's own below the shared one."""
    asked: dict[str, RunCommand] = {
        "name": RunCommand(("uname", "-n"), timeout=SECONDS),
        "gpus": RunCommand(_GPUS, timeout=SECONDS),
        "python": interpreter.question(profile.python, profile.setup),
    }
    if meeting is not None:
        asked["leave"] = _shell(_LEAVE, meeting, number)
    return asked


def sees(meeting: str) -> RunCommand:
    return _shell(_SEE, meeting, 0)


def take_away(meeting: str, number: int) -> RunCommand:
    return _shell(_TAKE, meeting, number)


def _shell(script: str, meeting: str, number: int) -> RunCommand:
    return RunCommand(("sh", "-c", script, "sh", meeting, str(number)), timeout=SECONDS)


def judge_hosts(
    profile: SshProfile,
    hosts: Sequence[str],
    answers: Mapping[str, Mapping[str, Answer] | OrchError],
    seen: Mapping[str, Answer],
) -> tuple[list[Finding], list[str], list[str]]:
    """Findings, what orch can promise, what it cannot. `answers` and `seen` are by host."""
    found: list[Finding] = []
    good = {host: answer for host in hosts if not isinstance(answer := answers[host], OrchError)}
    for host in hosts:
        answer = answers[host]
        if isinstance(answer, OrchError):
            found.append(problem(host, answer.message, answer.hint or "see that ssh to it works by hand"))
        else:
            found += _host(profile, host, answer)
    found += _shared(profile, hosts, good, seen)
    found += _alike(good)
    return found, *_promises()


def _host(profile: SshProfile, host: str, answer: Mapping[str, Answer]) -> Iterator[Finding]:
    gpus = [line for line in answer["gpus"].stdout.splitlines() if line.strip()]
    has_gpus = answer["gpus"].status == 0 and bool(gpus)
    cpu = profile.device == "cpu"
    yield ok(host, f"answers as {answer['name'].stdout.strip()}")
    if has_gpus:
        yield ok(f"{host} GPUs", f"{len(gpus)} of {', '.join(sorted(set(gpus)))}")
    elif not cpu:
        yield warning(f"{host} GPUs", "nvidia-smi shows none", "set `device: cpu`, or fix the driver")
    for finding in interpreter.judge(profile.python, answer["python"], cpu=cpu):
        yield Finding(what=f"{host} {finding.what}", level=finding.level, found=finding.found, todo=finding.todo)


def _shared(
    profile: SshProfile, hosts: Sequence[str], good: Mapping[str, Mapping[str, Answer]], seen: Mapping[str, Answer]
) -> Iterator[Finding]:
    directory = profile.shared_dir
    if directory is None:
        todo = "set `shared_dir` in the profile to a directory that all hosts see"
        yield problem("shared directory", "the profile names none", todo)
        return
    writing = [host for host in good if good[host]["leave"].status == 0]
    for host in good:
        if host not in writing:
            found = f"{host}: {directory}: {last_line(good[host]['leave'])}"
            yield problem("shared directory", found, "make it there, or choose one that you may write to")
    numbers = {host: str(hosts.index(host)) for host in writing}
    blind = [host for host in writing if not set(numbers.values()) <= set(seen[host].stdout.split())]
    if blind:
        found = f"{directory} is not the same on {', '.join(blind)}"
        yield problem("shared directory", found, "mount one file system there on every host")
    elif writing:
        yield ok("shared directory", f"{directory} is one on {len(writing)} hosts, and can be written to")


def _alike(good: Mapping[str, Mapping[str, Answer]]) -> Iterator[Finding]:
    """Hosts with different packages train, until they do not."""
    said = {answer["python"].stdout.strip().splitlines()[-1] for answer in good.values() if answer["python"].stdout}
    if len(said) > 1:
        yield warning("packages", "are not the same on all hosts", "install the same versions everywhere")


def _promises() -> tuple[list[str], list[str]]:
    can = [
        "A rank that dies is started again inside the job, from the newest proven checkpoint.",
        "A host that is lost is left out, and the controller starts the job again on others.",
    ]
    cannot = [
        "Nobody else keeps these hosts for the job: another user's processes on them are not seen.",
        "Without a controller (orch controller) nobody starts a job again whose agents are gone.",
    ]
    return can, cannot


def judge_machine(
    found: Cluster, python: str, said: Answer, home: str, place: Answer
) -> tuple[list[Finding], list[str], list[str]]:
    """Findings, what orch can promise, what it cannot. `said`: what `python` did; `home`: where runs are kept."""
    findings = [_device(found)]
    if found.host_memory is not None:
        findings.append(ok("memory", f"{found.host_memory / 2**30:.0f} GiB"))
    findings += interpreter.judge(python, said, cpu=found.device == "cpu")
    findings += (
        Finding(what="runs", level=one.level, found=one.found.partition(";")[0], todo=one.todo)
        for one in shared_directory.judge(home, place)
    )
    can = ["A rank or an agent that dies is started again, from the newest proven checkpoint."]
    cannot = ["When this machine goes down the run waits until a controller is started again: orch controller --once."]
    return findings, can, cannot


def _device(found: Cluster) -> Finding:
    if found.device == "cpu":
        return ok("device", "the CPU")
    kind = f" of {found.gpu}" if found.gpu else ""
    memory = f" with {found.gpu_memory / 2**30:.0f} GiB" if found.gpu_memory else ""
    return ok("device", f"{found.gpus_per_node} GPUs{kind}{memory}")
