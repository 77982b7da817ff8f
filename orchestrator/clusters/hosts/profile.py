"""What the configuration says of a list of hosts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from orchestrator.clusters.profile_keys import EXCLUDE, SETUP, SHARED_DIR, SSH_CONFIG
from orchestrator.model.cluster import Profile
from orchestrator.model.key import ABSOLUTE, WORD, key


@dataclass(frozen=True, slots=True, kw_only=True)
class SshProfile(Profile):
    """A list of hosts, reached by ssh."""

    at_most_one: ClassVar[tuple[tuple[str, ...], ...]] = (("hosts", "hostfile"),)

    shared_dir: str | None = field(default=None, metadata=SHARED_DIR)
    hosts: tuple[str, ...] = field(default=(), metadata=key("Host names.", pattern=WORD))
    hostfile: str | None = field(default=None, metadata=key("A DeepSpeed hostfile.", pattern=ABSOLUTE))
    ssh_config: str | None = field(default=None, metadata=SSH_CONFIG)
    exclude: tuple[str, ...] = field(default=(), metadata=EXCLUDE)
    setup: tuple[str, ...] = field(default=(), metadata=SETUP)
