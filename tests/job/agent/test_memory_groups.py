"""Where the kernel counts processes that it killed for want of memory, on a machine and in a container."""

from __future__ import annotations

from pathlib import Path

from orchestrator.job.agent.linux import _own


def test_a_group_is_found_under_its_name_on_a_machine_and_as_the_root_in_a_container(tmp_path: Path) -> None:
    inside = tmp_path / "kubepods" / "pod1"
    inside.mkdir(parents=True)
    for directory in (tmp_path, inside):
        (directory / "memory.events").write_text("oom_kill 0\n")
    assert _own(tmp_path, "/kubepods/pod1", "memory.events") == inside / "memory.events"
    assert _own(tmp_path, "/", "memory.events") == tmp_path / "memory.events"
    assert _own(tmp_path, "/kubepods/of-the-host", "memory.events") == tmp_path / "memory.events"
