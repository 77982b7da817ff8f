"""The check of a Slurm cluster: its questions, and what the answers mean for a profile. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.clusters import interpreter, shared_directory
from orchestrator.clusters.findings import Answer, Finding, ok, problem, warning
from orchestrator.clusters.slurm.facts import Partition, SlurmFacts, facts_of, seconds_of
from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.errors import ClusterError
from orchestrator.job.protocol.operations.commands import RunCommand

SECONDS = 15.0
LITTLE_MEMORY = 1024.0  # MiB a CPU: with two CPUs a rank, just enough to load torch and a launcher
FORGOTTEN_SOON = 60.0  # seconds of MinJobAge below which a job may be gone before the next poll
_ASK_USER = 'exec sacctmgr -nP show assoc user="$(id -un)" format=account,partition,qos'
_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "version": ("sinfo", "--version"),
    "config": ("scontrol", "show", "config"),
    "partitions": ("scontrol", "-o", "show", "partition"),
    "nodes": ("sinfo", "-h", "-o", "%P|%D|%t|%G|%c|%m"),
    "reservations": ("scontrol", "-o", "show", "reservation"),
    "accounting": ("sacct", "-X", "-n", "-P", "-S", "now-1minutes", "-o", "JobID"),
    "associations": ("sh", "-c", _ASK_USER),
    "qos": ("sacctmgr", "-nP", "show", "qos", "format=name,preemptmode,gracetime"),
    "munge": ("sh", "-c", "munge -n | unmunge"),
}


def _commands(*names: str) -> dict[str, RunCommand]:
    return {name: RunCommand(_COMMANDS[name], timeout=SECONDS) for name in names}


FIRST = _commands("version", "config")  # if these fail the others would, too, each after a long wait
REST = _commands(*(name for name in _COMMANDS if name not in FIRST))


def questions(profile: SlurmProfile) -> dict[str, RunCommand]:
    """The questions about the machine rather than Slurm, by name."""
    asked: dict[str, RunCommand] = {}
    if profile.shared_dir is not None:
        asked["shared"] = shared_directory.question(profile.shared_dir)
    if profile.container is None:
        asked["python"] = interpreter.question(profile.python, profile.setup)
    return asked


def judge(profile: SlurmProfile, answers: Mapping[str, Answer]) -> tuple[list[Finding], list[str], list[str]]:
    """Findings, what orch can promise, what it cannot."""
    facts = facts_of(answers)
    findings = list(_control(facts))
    if not facts.trouble:
        findings += _cluster(profile, facts)
    findings += shared_directory.judge(profile.shared_dir, answers.get("shared"))
    if profile.container is not None:
        found = f"in the image {profile.container.image}, which was not checked"
        findings.append(ok("python", found))
    else:
        cpu = profile.device == "cpu"
        findings += interpreter.judge(profile.python, answers["python"], cpu=cpu)
    if facts.trouble:
        return findings, [], []
    return findings, *promises(profile, facts)


def filled_in(profile: SlurmProfile, answers: Mapping[str, Answer]) -> dict[str, str | int]:
    """The missing keys of a profile that the cluster itself can tell. Raises ClusterError."""
    facts = facts_of(answers)
    if facts.trouble:
        raise ClusterError(facts.trouble)
    found: dict[str, str | int] = {}
    partition = profile.partition or facts.default
    if profile.partition is None and partition is not None:
        found["partition"] = partition
    groups = facts.groups_of(partition)
    counts = {group.gpu_count for group in groups}
    if profile.gpus_per_node is None and len(counts) == 1 and max(counts) > 0:
        found["gpus_per_node"] = max(counts)
    types = {kind for group in groups for kind in group.gpus}
    if profile.gpu_type is None and len(types) == 1 and "" not in types:
        found["gpu_type"] = types.pop()
    return found


def _control(facts: SlurmFacts) -> Iterator[Finding]:
    if facts.version is None:
        todo = "set `login` to a machine that has Slurm's commands, or install them and slurm.conf here"
        yield problem("Slurm", facts.trouble, todo)
        return
    yield ok("Slurm", facts.version)
    if facts.trouble:
        yield problem("slurmctld", facts.trouble, "wait until it answers, or ask its administrator")


def _cluster(profile: SlurmProfile, facts: SlurmFacts) -> Iterator[Finding]:
    name = profile.partition or facts.default
    yield from _partition(profile, facts, name)
    yield from _accounts(profile, facts)
    yield from _requeue(facts)
    yield _preemption(profile, facts)
    yield from _timeouts(facts)
    yield _accounting(facts)
    if facts.config.auth_type == "auth/munge":
        yield _munge(facts)


def _partition(profile: SlurmProfile, facts: SlurmFacts, name: str | None) -> Iterator[Finding]:
    known = ", ".join(sorted(facts.partitions))
    if name is None:
        yield problem("partition", "none is the default one", f"set `partition` to one of {known}")
        return
    partition = facts.partitions.get(name)
    if partition is None:
        yield problem("partition", f"there is no {name}", f"set `partition` to one of {known}")
        return
    usable = sum(group.nodes for group in facts.groups_of(name) if group.usable)
    total = sum(group.nodes for group in facts.groups_of(name))
    limit = partition.max_time
    default = "" if profile.partition else ", the default"
    found = f"{name}{default}: {usable} of {total} nodes can be used, time limit {limit}"
    if partition.state != "UP":
        yield problem("partition", f"{name} is {partition.state}", "choose another, or wait for it")
    elif usable == 0:
        yield problem("partition", found, "no job can start there now: sinfo -R says why")
    else:
        yield ok("partition", found)
    yield _time(profile, partition, name, limit)
    yield from _gpus(profile, facts, name)
    yield from _memory(profile, facts, name)


def _time(profile: SlurmProfile, partition: Partition, name: str, limit: str) -> Finding:
    if profile.time_limit is None:
        default = limit if partition.default_time == "NONE" else partition.default_time
        return ok("time limit", f"{default}: the profile sets none")
    if seconds_of(profile.time_limit) > seconds_of(limit):
        found = f"{profile.time_limit}, and {name} allows {limit}"
        return problem("time limit", found, f"set `time_limit` to at most {limit}: training goes on in the next job")
    return ok("time limit", profile.time_limit)


def _gpus(profile: SlurmProfile, facts: SlurmFacts, name: str) -> Iterator[Finding]:
    groups = [group for group in facts.groups_of(name) if group.nodes]
    types = sorted({kind for group in groups for kind in group.gpus if kind})
    counts = sorted({group.gpu_count for group in groups})
    most = max(counts, default=0)
    if most == 0:
        if profile.device != "cpu":
            yield warning("GPUs", f"the nodes of {name} have none", "set `device: cpu`, or choose another partition")
        return
    typed = f", of type {', '.join(types)}" if types else ""
    found = f"{' or '.join(map(str, counts))} on a node{typed}"
    if profile.gpu_type is not None and profile.gpu_type not in types:
        known = ", ".join(types) or "none with a type"
        yield problem(
            "GPUs", f"{name} has no gpu:{profile.gpu_type}: {known}", "set `gpu_type` to what sinfo -o %G shows"
        )
    elif profile.gpus_per_node is not None and profile.gpus_per_node > most:
        found = f"{profile.gpus_per_node} on a node by the profile, {most} in {name}"
        yield problem("GPUs", found, f"set `gpus_per_node: {most}`")
    elif profile.gpus_per_node is None:
        yield warning("GPUs", found, f"set `gpus_per_node: {most}`, or a whole node's memory cannot be asked for")
    else:
        yield ok("GPUs", found)


def _memory(profile: SlurmProfile, facts: SlurmFacts, name: str) -> Iterator[Finding]:
    most = max((group.memory for group in facts.groups_of(name)), default=0)
    wanted = profile.memory or (profile.memory_per_gpu or 0) * (profile.gpus_per_node or 1)
    if most and wanted > most:
        found = f"{wanted >> 20} MiB on a node by the profile, {most >> 20} MiB in {name}"
        yield problem("memory", found, f"ask for less than {most >> 20}MiB: no node could ever give more")
    default = facts.config.memory_per_cpu
    if not wanted and not profile.exclusive and 0 < default < LITTLE_MEMORY:
        found = f"{default:.0f} MiB a CPU where a job asks for none (DefMemPerCPU)"
        yield warning(
            "memory", found, "set `memory_per_gpu` or `memory`: no plan knows what a script of your own needs"
        )


def _accounts(profile: SlurmProfile, facts: SlurmFacts) -> Iterator[Finding]:
    enforced = facts.config.accounting_enforce
    if profile.account is not None:
        accounts = None if facts.associations is None else sorted({one.account for one in facts.associations})
        yield _named("account", profile.account, accounts, enforced="associations" in enforced)
    elif "associations" in enforced and facts.associations == ():
        todo = "ask the administrator for an account, then set `account`"
        yield problem("account", "this user has none, and the cluster wants one", todo)
    if profile.qos is not None:
        names = None if facts.qos is None else sorted(facts.qos)
        yield _named("qos", profile.qos, names, enforced="qos" in enforced)
    if profile.reservation is not None:
        yield _named("reservation", profile.reservation, sorted(facts.reservations), enforced=True)


def _named(what: str, name: str, names: list[str] | None, *, enforced: bool) -> Finding:
    """`names`: those of this user, None where they are not known; `enforced`: Slurm refuses any other."""
    if names is None:
        return warning(what, f"{name}: accounting did not say whether there is one", "see whether a job is refused")
    if name in names:
        return ok(what, name)
    todo = f"set `{what}` to one of: {', '.join(names)}" if names else f"remove `{what}` from the profile"
    found = f"there is no {name} for this user"
    return problem(what, found, todo) if enforced else warning(what, f"{found}, which Slurm does not mind here", todo)


def _requeue(facts: SlurmFacts) -> Iterator[Finding]:
    if facts.config.requeue:
        yield ok("requeue", "on")
    else:
        yield ok("requeue", "off unless a job asks for it, and orch's jobs do")


def preemption(profile: SlurmProfile, facts: SlurmFacts) -> tuple[str, float]:
    """What happens to a preempted job of a profile (OFF, REQUEUE, CANCEL, SUSPEND), and its grace in seconds."""
    partition = facts.partitions.get(profile.partition or facts.default or "")
    kind, mode, grace = facts.config.preempt_type, facts.config.preempt_mode, partition.grace if partition else 0.0
    if kind == "preempt/none":
        return "OFF", 0.0
    qos = (facts.qos or {}).get(profile.qos or "normal") if kind == "preempt/qos" else None
    if kind == "preempt/partition_prio":
        mode = (partition.preempt_mode if partition else None) or mode
    elif qos is not None:
        mode, grace = (qos.mode if qos.mode.lower() != "cluster" else mode), qos.grace
    modes = [one for one in mode.upper().split(",") if one not in ("GANG", "WITHIN")]
    return (modes[0] if modes else "OFF"), grace


def _preemption(profile: SlurmProfile, facts: SlurmFacts) -> Finding:
    mode, grace = preemption(profile, facts)
    if mode == "OFF":
        return ok("preemption", "jobs of this kind are not preempted")
    whom = "the batch script is told, too" if _tells_script(facts) else "only the agents are told"
    found = f"{mode.lower()}, {grace:.0f} s of grace, {whom}"
    if mode == "SUSPEND":
        todo = (
            "raise `timeouts` of the job (heartbeat, hang): training stands still meanwhile; or use another partition"
        )
        return warning("preemption", found, todo)
    if grace <= 0:
        return warning("preemption", found, "save more often: there is no time for a last checkpoint")
    return ok("preemption", found)


def _tells_script(facts: SlurmFacts) -> bool:
    return "preempt_send_user_signal" in facts.config.controller_parameters


def _timeouts(facts: SlurmFacts) -> Iterator[Finding]:
    yield ok("node loss", f"noticed {facts.config.node_timeout:.0f} s after a node fell silent (SlurmdTimeout)")
    age = facts.config.job_age
    if age < FORGOTTEN_SOON:
        todo = "keep a controller running: what it has not seen by then only the job's own records tell"
        yield warning("memory of jobs", f"{age:.0f} s after their end (MinJobAge)", todo)
    else:
        yield ok("memory of jobs", f"{age:.0f} s after their end (MinJobAge)")


def _accounting(facts: SlurmFacts) -> Finding:
    if facts.config.accounting_type.endswith("/none"):
        return warning("accounting", "none", "how a job ended is known from the queue and from its own records only")
    if facts.accounting:
        return warning("accounting", facts.accounting, "orch does without it; ask the administrator about slurmdbd")
    return ok("accounting", "answers")


def _munge(facts: SlurmFacts) -> Finding:
    if facts.munge is None:
        return warning("munge", "munge and unmunge did not say who you are", "submit a small job by hand, and see")
    return ok("munge", f"knows you as {facts.munge}")


def promises(profile: SlurmProfile, facts: SlurmFacts) -> tuple[list[str], list[str]]:
    """What orch can and cannot promise on this cluster, in sentences."""
    mode, grace = preemption(profile, facts)
    timeout = facts.config.node_timeout
    can = [
        "A rank that dies is started again inside the job, from the newest proven checkpoint.",
        f"After a lost node Slurm starts the job again, about {timeout:.0f} s later, without any orch process.",
        "Before the time limit all ranks save, and the job requeues itself.",
    ]
    cannot = []
    if mode == "REQUEUE" and grace > 0:
        can.append(f"When it is preempted it has {grace:.0f} s to save, and Slurm starts it again.")
    elif mode == "REQUEUE":
        cannot.append(
            "A preempted job cannot save first: there is no GraceTime. It goes on from its newest checkpoint."
        )
    elif mode == "CANCEL":
        cannot.append("Slurm does not bring a preempted job back: that needs the controller (orch controller).")
    elif mode == "SUSPEND":
        cannot.append("A preempted job stands still for as long as the other one runs.")
    if mode not in ("OFF", "SUSPEND") and not _tells_script(facts):
        cannot.append("The batch script is not told of a preemption (no preempt_send_user_signal); the agents are.")
    if facts.accounting or facts.config.accounting_type.endswith("/none"):
        age = facts.config.job_age
        cannot.append(
            f"Why a job ended that Slurm forgot ({age:.0f} s) is known only where the job itself could say it."
        )
    else:
        can.append("How a job ended is known even after Slurm's controller forgot it, from accounting.")
    if "cgroup" not in facts.config.process_tracking:
        cannot.append(
            "Processes that a job leaves behind are not ended by Slurm; orch's next agents on the node end them."
        )
    return can, cannot
