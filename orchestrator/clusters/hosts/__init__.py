"""Agents as detached processes on hosts: this machine, or a list that is reached through the system's ssh."""

from orchestrator.clusters.hosts.profile import SshProfile
from orchestrator.clusters.kind import Kind, later, load
from orchestrator.model.cluster import Profile

LOCAL = Kind(
    name="local",
    profile=Profile,
    open=later("orchestrator.clusters.hosts.local:LocalBackend"),
    rendering=lambda: load("orchestrator.clusters.hosts.render:LOCAL"),
    check=later("orchestrator.clusters.hosts.examine:check_machine"),
    here=True,
)
SSH = Kind(
    name="ssh",
    profile=SshProfile,
    open=later("orchestrator.clusters.hosts.ssh:SshBackend"),
    rendering=lambda: load("orchestrator.clusters.hosts.render:SSH"),
    check=later("orchestrator.clusters.hosts.examine:check_hosts"),
    excludes=True,
    lists_hosts=True,
)
