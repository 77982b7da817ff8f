"""Functions on a list of ssh hosts, which have no scheduler."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.submitit import OrchExecutor
from tests.ssh.conftest import make_lab  # noqa: F401 - a fixture
from tests.ssh.lab import SshLab
from tests.submitit import functions


def test_the_tasks_of_two_hosts_know_where_they_are(
    make_lab: Callable[..., SshLab],  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = make_lab(2)
    for name in ("ORCH_HOME", "ORCH_CONFIG"):
        monkeypatch.setenv(name, lab.env[name])
    executor = OrchExecutor(lab.root / "log" / "%j")
    executor.update_parameters(nodes=2, timeout_min=10, slurm_partition="gpu")
    first, second = executor.submit(functions.who_am_i).results()
    assert len(set(first["hostnames"])) == 2
    assert first["hostnames"] == second["hostnames"]
    assert (first["node"], second["node"], second["num_tasks"]) == (0, 1, 2)
