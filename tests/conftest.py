"""What every test gets: an ORCH_HOME of its own, no way to a hub, and proof that it left no process behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from testbeds.kubernetes import given
from testbeds.kubernetes.binaries import BUILD_LIMIT, Binaries

pytest_plugins = ["testbeds.slurm.plugin", "testbeds.ssh.plugin", "testbeds.kubernetes.plugin"]

# A busy machine is no failure: nothing here is timed.
settings.register_profile("untimed", settings.default, deadline=None)
settings.load_profile("untimed")

GRACE = 30.0  # seconds that processes of a finished test have to end by themselves
SLURM = "slurm_cluster"  # the fixture that tests on a real Slurm ask for
KUBERNETES = "kube_cluster"  # and on a real Kubernetes
CLUSTERS = ("slurm", "kubernetes")
ORDER = ("", *CLUSTERS, "deepspeed")
ONCE = ("real_saves", "distributions", "elsewhere")  # fixtures that each worker would make again: one worker has them
TRAINING_TIMEOUT = 600  # seconds for a test that starts real training; the limit for others is in pyproject.toml


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts training goes last, and so does what runs on a cluster: there is one of each, which starts once.

    What runs on a cluster has a worker to itself, one after another; other trainings then go to whichever is free, so
    no more share the cores than there are workers. Kubernetes comes late, for it may be built meanwhile; and there
    Kueue last, for it meddles with all jobs.
    """
    items.sort(key=lambda item: (ORDER.index(_group(item)), "kueue" in getattr(item, "fixturenames", ())))
    if not given.KUBECONFIG and not Binaries().complete:
        on_kubernetes = [item for item in items if _group(item) == "kubernetes"]
        usual = [item for item in on_kubernetes if not item.get_closest_marker("full")]
        for waiting in (*on_kubernetes[:1], *usual[:1]):
            waiting.add_marker(pytest.mark.timeout(BUILD_LIMIT + TRAINING_TIMEOUT))
    for item in items:
        if item.get_closest_marker("timeout"):
            pass
        elif item.get_closest_marker("deepspeed") or _group(item) in CLUSTERS or _has_hosts(item):
            item.add_marker(pytest.mark.timeout(TRAINING_TIMEOUT))
        group = _group(item)
        if group not in CLUSTERS:
            group = next((name for name in ONCE if name in getattr(item, "fixturenames", ())), "")
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
            _tell_xdist(item, group)


def _tell_xdist(item: pytest.Item, group: str) -> None:
    """pytest 9.2 keeps an item's id elsewhere than xdist 3.8 writes the group to; without it groups are ignored."""
    if getattr(item.config.option, "loadgroup", False) and hasattr(item, "_id"):
        item._id = type(item._id).parse(f"{item.nodeid}@{group}")


def _has_hosts(item: pytest.Item) -> bool:
    """Of its own, which are started one after another and answer as soon as they can."""
    return bool({"make_bed", "site", "place"}.intersection(getattr(item, "fixturenames", ())))


def _group(item: pytest.Item) -> str:
    place = getattr(getattr(item, "callspec", None), "params", {}).get("place")
    if SLURM in getattr(item, "fixturenames", ()) or place == "slurm":
        return "slurm"
    if KUBERNETES in getattr(item, "fixturenames", ()) or place == "kubernetes":
        return "kubernetes"
    return "deepspeed" if item.get_closest_marker("deepspeed") else ""


@pytest.fixture(scope="session", autouse=True)
def nobodys_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """HOME is an empty directory. Compiled operators are shared with later sessions: they stay in the environment."""
    # A suite started in the background of a script inherits an ignored SIGINT, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    home = tmp_path_factory.mktemp("nobody")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"))
        patch.setenv("TORCH_EXTENSIONS_DIR", os.environ.get("TORCH_EXTENSIONS_DIR") or f"{sys.prefix}/torch_extensions")
        patch.setenv("HOME", str(home))
        patch.setenv("HF_HOME", str(home / "huggingface"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        for name in [name for name in os.environ if name.startswith(("ORCH_", "XDG_CONFIG_", "XDG_STATE_"))]:
            patch.delenv(name)
        yield home


@pytest.fixture(autouse=True)
def orch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The test's own ORCH_HOME. Fails the test when a process that knows its directory outlives it."""
    home = tmp_path / "orch-home"
    monkeypatch.setenv("ORCH_HOME", str(home))
    yield home
    left = survivors(tmp_path, seconds=GRACE)
    for pid in left:
        _kill(pid)
    if left:
        pytest.fail(f"processes outlived the test (killed now): {left}", pytrace=False)


def survivors(directory: Path, *, seconds: float) -> dict[int, str]:
    """Command lines of the processes that belong to `directory` and do not end within `seconds`, by process id."""
    end = time.monotonic() + seconds
    while (found := _belonging_to(directory)) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def _belonging_to(directory: Path) -> dict[int, str]:
    place = os.fsencode(directory)
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = Path(entry.path, "cmdline").read_bytes()  # empty for a zombie
            environment = Path(entry.path, "environ").read_bytes()
        except OSError:
            continue
        if command and (place + b"/" in command or b"ORCH_HOME=" + place + b"/" in environment):
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
