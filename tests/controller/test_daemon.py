"""The controller as a process: started when it is needed, only one at a time, gone when nothing is left to do."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.controller import autostart, process
from orchestrator.errors import StoreError
from orchestrator.job.system import lock
from orchestrator.job.system.proc import carriers, send
from orchestrator.model.run import Phase
from orchestrator.store import LeaseLostError, open_store
from orchestrator.store.lease import LeaseRow
from orchestrator.system.paths import CONTROLLER_LOCK
from testbeds import proc
from tests.controller.bench import Bench, prepared

ELSEWHERE = "another-boot/other-node/17"


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def controllers(home: Path) -> list[int]:
    return [pid for pid in carriers(f"ORCH_HOME={home}") if b"orchestrator.controller.process" in proc.command(pid)]


def test_a_controller_in_the_background_finishes_the_runs_and_leaves(bench: Bench) -> None:
    bench.submit(prepared("once"))
    assert autostart.ensure(bench.store, bench.environment)
    wait_for(lambda: autostart.is_alive(bench.store))
    assert not autostart.ensure(bench.store, bench.environment)
    wait_for(lambda: bench.run().phase.ended)
    assert bench.run().phase is Phase.SUCCEEDED
    wait_for(lambda: bench.store.lease().holder is None)
    wait_for(lambda: controllers(bench.home) == [])
    assert not autostart.is_alive(bench.store)


def test_a_controller_reaches_clusters_as_the_one_who_started_it_does(bench: Bench) -> None:
    bench.submit(prepared("train 0.2", steps=3))
    bench.environment |= {"SLURM_CONF": "/etc/hpc.conf", "SSH_AUTH_SOCK": "/run/keys", "SQUEUE_FORMAT": "%i"}
    autostart.ensure(bench.store, bench.environment)
    wait_for(lambda: controllers(bench.home) != [])
    (pid,) = controllers(bench.home)
    environment = proc.environment(pid).split(b"\0")
    assert {b"SLURM_CONF=/etc/hpc.conf", b"SSH_AUTH_SOCK=/run/keys"} < set(environment)
    assert b"SQUEUE_FORMAT=%i" not in environment, "a taste of the user's would change what is read"
    wait_for(lambda: bench.run().phase is Phase.SUCCEEDED)


def test_a_home_without_locks_is_named_with_what_to_do(bench: Bench) -> None:
    (bench.home / CONTROLLER_LOCK).mkdir()
    with pytest.raises(StoreError, match=r"controller's lock .* cannot be used") as refused:
        process.once(bench.store, bench.environment)
    assert "ORCH_HOME" in (refused.value.hint or "")


def test_a_killed_controller_is_replaced_at_once_on_the_same_machine(bench: Bench) -> None:
    bench.submit(prepared("train 0.2", steps=10))
    autostart.ensure(bench.store, bench.environment)
    wait_for(lambda: autostart.is_alive(bench.store))
    (pid,) = controllers(bench.home)
    send(pid, signal.SIGKILL)
    wait_for(lambda: not autostart.is_alive(bench.store))
    assert autostart.ensure(bench.store, bench.environment)
    wait_for(lambda: bench.run().phase is Phase.SUCCEEDED)
    assert bench.run().attempt == 1


def test_of_many_controllers_started_together_one_stays(bench: Bench) -> None:
    bench.submit(prepared("train 0.2", steps=10))
    for _ in range(4):
        autostart.ensure(bench.store, bench.environment)
    wait_for(lambda: autostart.is_alive(bench.store))
    wait_for(lambda: len(controllers(bench.home)) == 1)
    wait_for(lambda: bench.run().phase is Phase.SUCCEEDED)
    notes = [event for event in bench.store.events() if event.kind == "controller_started"]
    assert len(notes) == 1


def test_a_controller_that_is_asked_to_leave_leaves_and_the_run_goes_on(bench: Bench) -> None:
    bench.submit(prepared("train 0.1", steps=80))
    autostart.ensure(bench.store, bench.environment)
    wait_for(lambda: (bench.run().progress.step or 0) > 1)
    assert autostart.stop(bench.store)
    assert not autostart.is_alive(bench.store)
    assert len(bench.agents()) == 2
    assert bench.until_end().phase is Phase.SUCCEEDED


def test_sigterm_gives_the_lease_back(bench: Bench) -> None:
    bench.submit(prepared("train 0.1", steps=30))
    autostart.ensure(bench.store, bench.environment)
    wait_for(lambda: autostart.is_alive(bench.store))
    for pid in controllers(bench.home):
        send(pid, signal.SIGTERM)
    wait_for(lambda: bench.store.lease().holder is None)


def test_once_looks_after_every_run_once(bench: Bench) -> None:
    bench.submit(prepared("train 0.2", steps=1000))
    assert process.once(bench.store, bench.environment)
    assert bench.run().phase in {Phase.STARTING, Phase.RUNNING}
    assert bench.store.lease().holder is None


def test_a_run_submitted_while_an_idle_controller_leaves_is_looked_after(bench: Bench) -> None:
    lease = bench.store.take_lease(process.holder(), bench.store.lease())
    assert lease is not None
    bench.submit(prepared())
    assert not bench.store.release_lease(lease, unless_unfinished=True)
    assert bench.store.lease().holder == lease.holder


def test_a_submit_after_an_idle_controller_gave_up_its_lease_starts_another(bench: Bench) -> None:
    descriptor = lock.acquire(bench.home / "controller.lock")  # it still runs, and will not look again
    assert descriptor is not None
    assert not autostart.is_alive(bench.store)


def test_a_controller_of_another_machine_is_left_alone_while_its_counter_moves(bench: Bench) -> None:
    other = bench.store.take_lease(ELSEWHERE, bench.store.lease())
    assert other is not None
    seen = bench.store.lease()
    beating = subprocess.Popen([sys.executable, "-c", BEATING, str(bench.home), str(other.term)])
    try:
        wait_for(lambda: bench.store.lease().counter > seen.counter)
        assert process.take_lease(bench.store, standing_still=60) is None
    finally:
        beating.kill()
        beating.wait()


BEATING = f"""
import sys, time
from pathlib import Path
from orchestrator.store import Lease, open_store
store = open_store(Path(sys.argv[1]))
while True:
    store.renew_lease(Lease(holder={ELSEWHERE!r}, term=int(sys.argv[2])))
    time.sleep(0.2)
"""


def test_a_controller_of_another_machine_whose_counter_stands_still_is_replaced_and_fenced(bench: Bench) -> None:
    other = bench.store.take_lease(ELSEWHERE, bench.store.lease())
    assert other is not None
    mine = process.take_lease(bench.store, standing_still=1)
    assert mine is not None
    assert mine.term == other.term + 1
    bench.submit(prepared())
    with open_store(bench.home) as late, pytest.raises(LeaseLostError, match="was replaced"):
        late.record("tiny", "failed", {"because": "a controller that slept"}, lease=other)
    assert bench.run().phase is not Phase.FAILED


def test_the_lease_goes_to_one_of_two_that_saw_the_same_row(bench: Bench) -> None:
    seen = bench.store.lease()
    assert seen == LeaseRow(holder=None, term=0, counter=0, leave=False)
    assert bench.store.take_lease("one", seen) is not None
    assert bench.store.take_lease("two", seen) is None
