"""Which hosts there are, which of them an attempt may get and in what order, and what keeps one from taking part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from orchestrator.clusters.hosts.profile import SshProfile
from orchestrator.config import hostfile
from orchestrator.errors import ClusterError, JobError, OrchError, Unreachable
from orchestrator.job.protocol.operations.agents import HostFacts

OLDEST_PYTHON = (3, 9)
# What ssh says where nothing but a person can help; anything else may pass.
_FINAL = ("Permission denied", "Host key verification failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A host of a cluster; `slots` is None where the list says nothing of them, `where` the place in the list."""

    name: str
    slots: int | None
    where: str


def listed(profile: SshProfile, cluster: str, read: Callable[[Path], bytes] = Path.read_bytes) -> tuple[Listed, ...]:
    """The hosts of a profile, in order. Raises JobError for a hostfile with mistakes, ClusterError for no hosts."""
    if profile.hostfile is None:
        machines = [hostfile.machine(name) for name in profile.hosts]
        for name, machine in zip(profile.hosts, machines, strict=True):
            if problem := hostfile.port_problem(name):
                raise JobError(f"hosts of {cluster}: {problem}", hint=hostfile.port_hint(name))
            if machines.count(machine) > 1:
                raise JobError(f"the cluster {cluster} lists the host {machine} twice", hint="name every host once")
        return tuple(Listed(name=name, slots=None, where=f"hosts of {cluster}") for name in profile.hosts)
    try:
        content = read(Path(profile.hostfile))
    except OSError as error:
        raise ClusterError(
            f"the hostfile {profile.hostfile} of the cluster {cluster} cannot be read: {error.strerror}",
            hint=hostfile.WANTED,
        ) from error
    return tuple(
        Listed(name=host.name, slots=host.slots, where=f"{profile.hostfile}:{host.line}")
        for host in hostfile.parse(content, profile.hostfile)
    )


def is_named(name: str, names: Sequence[str]) -> bool:
    """Whether a host is among some names, with or without the user that it is reached as."""
    return name in names or name.rpartition("@")[2] in names


def candidates(hosts: Sequence[Listed], *, rather_not: Sequence[str], ranks: int) -> list[Listed]:
    """The hosts that an attempt may get, those that it had rather not get last."""
    fit = [host for host in hosts if host.slots is None or host.slots >= ranks]
    return sorted(fit, key=lambda host: is_named(host.name, rather_not))


def too_small(hosts: Sequence[Listed], *, ranks: int) -> str:
    """The hosts that have too few slots, in words; empty when there is none."""
    few = [host for host in hosts if host.slots is not None and host.slots < ranks]
    return "; ".join(
        f"{host.where}: {host.name} has slots={host.slots}, the job needs {ranks} on a node" for host in few
    )


def problem(host: str, found: HostFacts, *, directory: str, door: str) -> ClusterError | None:
    """What keeps a host that answered from taking part; None: nothing."""
    if not found.sees:
        return ClusterError(
            f"{host} does not see the files that {door} has just written to {directory}",
            hint="shared_dir must be one directory, under the same name on every host",
        )
    python = found.python
    if python is None:
        return ClusterError(f"{host}: the job's Python cannot be run: {found.printed}", hint=_PYTHON)
    version = ".".join(map(str, python.version))
    if tuple(python.version) < OLDEST_PYTHON:
        return ClusterError(f"{host}: {python.executable} is Python {version}, 3.9 or newer is needed", hint=_PYTHON)
    if not python.torch:
        return ClusterError(f"{host}: {python.executable} (Python {version}) has no torch", hint=_PYTHON)
    return None


_PYTHON = "set `python` in the cluster's profile to an interpreter that has torch, the same on every host"


def too_few(
    wanted: int, have: int, cluster: str, failures: Mapping[str, OrchError], *, small: str = ""
) -> ClusterError:
    """Why an attempt cannot be started: every host that failed by name. Unreachable when that may pass by itself."""
    reasons = "; ".join(part for part in (*(error.message for error in failures.values()), small) if part)
    message = f"the job needs {wanted} hosts, {have} of {cluster} can take part"
    may_pass = any(isinstance(error, Unreachable) and not is_final(error) for error in failures.values())
    hint = next((error.hint for error in failures.values() if error.hint), None)
    kind = Unreachable if may_pass else ClusterError
    return kind(f"{message}: {reasons}" if reasons else message, hint=hint or "add hosts to the cluster's profile")


def not_known(failures: Sequence[OrchError]) -> Unreachable:
    """What to raise when no host said that it started its agents: some may run all the same."""
    reasons = "; ".join(error.message for error in failures)
    hint = next((error.hint for error in failures if error.hint), None)
    return Unreachable(f"whether agents were started is not known: {reasons}", hint=hint or "it is tried again")


def is_final(error: OrchError) -> bool:
    """Whether ssh was refused in a way that does not pass by itself."""
    return any(words in error.message for words in _FINAL)


def address_of(name: str, answers: Sequence[HostFacts]) -> str:
    """Where the other nodes reach the first one: where ssh reached it; `answers` are the checks of all, by node.

    A loopback address serves only when all hosts have one: then they are one machine.
    """
    known = [answer.address for answer in answers if answer.address]
    loopback = [_is_loopback(address) for address in known]
    if answers[0].address and (not loopback[0] or all(loopback)):
        return known[0]
    return name.rpartition("@")[2]


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
