"""A list of hosts: agents as detached processes, started and watched through the system's ssh."""

from orchestrator.clusters.ssh.backend import SshBackend

__all__ = ["SshBackend"]
