"""A list of hosts: agents as detached processes, started and watched through the system's ssh."""

from orchestrator.clusters.kind import Kind, later, load
from orchestrator.clusters.ssh.profile import SshProfile

KIND = Kind(
    name="ssh",
    profile=SshProfile,
    open=lambda name, profile, _: load("orchestrator.clusters.ssh.backend:SshBackend")(name, profile),
    rendering=lambda: load("orchestrator.clusters.ssh.render:RENDERING"),
    check=later("orchestrator.clusters.ssh.examine:check"),
    excludes=True,
    lists_hosts=True,
)
