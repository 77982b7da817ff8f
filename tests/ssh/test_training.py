"""Real training on ssh hosts, submitted by the real command: its losses are those of one machine, whatever dies."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.ssh.lab import SshLab

pytestmark = pytest.mark.deepspeed

Labs = Callable[..., SshLab]
Losses = Callable[..., dict[int, float]]


def hosts_of_generation(lab: SshLab, run: str, number: int) -> list[str]:
    records = sorted(lab.generations(run)[number - 1].glob("node-?.json"))
    return [json.loads(record.read_text())["host"] for record in records]


@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed"])
def test_two_hosts_train_as_one_machine_does(make_lab: Labs, undisturbed: Losses, launcher: str) -> None:
    lab = make_lab(2)
    run = lab.submit(lab.job(launcher=launcher))
    status = lab.finish(run)
    assert status["step"] == status["steps"] == 40
    assert lab.losses(run) == undisturbed()
    assert hosts_of_generation(lab, run, 1) == ["gpu1", "gpu2"]
    assert [event["kind"] for event in lab.events(run)][-1] == "succeeded"
    lab.until(lambda: not [host for host in lab.bed.hosts if host.processes("orchestrator.agent")], seconds=20)
