"""The wrapper around the script of every rank, run as torchrun would run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

# What every job.json has.
LEAST = {"format": 1, "name": "test", "run_id": "0123456789ab", "nodes": 2, "ranks_per_node": 2}
LEAST |= {"checkpoint_dir": "checkpoints", "max_failures": 1}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("bundle", "generation/work/pkg", "generation/ranks", "generation/logs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "generation/shown.json").write_text("{}")
    return tmp_path


def _start(
    place: Path, script: str, command: list[str], *, agent: int | None = None, **more: str
) -> subprocess.Popen[bytes]:
    (place / "generation/work/train.py").write_text(script)
    (place / "bundle/job.json").write_text(
        json.dumps({**LEAST, "command": command, "code": "code", "instrument": False})
    )
    env = {
        **os.environ,
        "RANK": "3",
        "ORCH_NODE": "1",
        "ORCH_GENERATION_DIR": str(place / "generation"),
        "ORCH_BUNDLE": str(place / "bundle"),
        "ORCH_RUN_DIR": str(place),
        "ORCH_AGENT_PID": str(agent or os.getpid()),
        **more,
    }
    return subprocess.Popen([sys.executable, "-m", "orchestrator.job.agent.rank"], env=env)


def _run(place: Path, script: str, *arguments: str) -> int:
    return _start(place, script, ["train.py", *arguments]).wait(timeout=60)


def _record(place: Path, kind: str) -> Any:
    path = place / "generation/ranks" / f"rank-3.{kind}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _log(place: Path) -> str:
    return (place / "generation/logs/rank-3.log").read_text()


def test_a_script_that_returns_is_done(place: Path) -> None:
    assert _run(place, "print('hello')") == 0
    assert _record(place, "done") == {"rank": 3, "step": None}
    assert _record(place, "error") is None
    assert _log(place) == "hello\n"
    assert json.loads((place / "generation/ranks/rank-3.json").read_text())["node"] == 1


def test_an_exception_is_recorded_with_its_words_and_in_the_log(place: Path) -> None:
    assert _run(place, "def f():\n    raise ValueError('no such column')\nf()") == 1
    error = _record(place, "error")
    assert (error["rank"], error["node"], error["type"], error["message"]) == (3, 1, "ValueError", "no such column")
    assert "in f" in error["traceback"]
    assert "ValueError: no such column" in _log(place)
    assert _record(place, "done") is None


@pytest.mark.parametrize(
    ("script", "status", "message"),
    [
        ("raise SystemExit(0)", 0, None),
        ("raise SystemExit", 0, None),
        ("raise SystemExit(3)", 3, "exit status 3"),
        ("raise SystemExit('bad flag')", 1, "exit status bad flag"),
        ("this is no python", 1, "invalid syntax"),
        ("import nothing_of_that_name", 1, "No module named"),
    ],
)
def test_every_way_to_end_leaves_its_word(place: Path, script: str, status: int, message: str | None) -> None:
    assert _run(place, script) == status
    error = _record(place, "error")
    assert (error is None) == (message is None)
    assert (_record(place, "done") is None) == (message is not None)
    if message is not None:
        assert message in error["message"]


def test_an_end_past_the_interpreter_attests_nothing(place: Path) -> None:
    assert _run(place, "import os; os._exit(0)") == 0
    assert (_record(place, "done"), _record(place, "error")) == (None, None)


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)"])
def test_an_abort_at_the_end_of_the_interpreter_does_not_spoil_a_run_that_went_well(place: Path, end: str) -> None:
    assert _run(place, f"import atexit, os\natexit.register(os.abort)\nprint('last words', end='')\n{end}") == 0
    assert _record(place, "done") == {"rank": 3, "step": None}
    assert _log(place) == "last words"


def test_threads_and_pools_that_a_script_has_left_at_work_finish_before_it_is_done(place: Path) -> None:
    script = f"""
import concurrent.futures, os, threading, time
def work(name):
    time.sleep(0.3)
    print(name, os.path.exists({str(place / "generation/ranks/rank-3.done.json")!r}))
threading.Thread(target=work, args=["thread"]).start()
concurrent.futures.ThreadPoolExecutor().submit(work, "pool")
"""
    assert _run(place, script) == 0
    assert sorted(_log(place).splitlines()) == ["pool False", "thread False"]
    assert _record(place, "done") is not None


def test_the_trainings_own_word_stands(place: Path) -> None:
    script = f"open({str(place / 'generation/ranks/rank-3.done.json')!r}, 'w').write('{{\"rank\": 3, \"step\": 40}}')"
    assert _run(place, script) == 0
    assert _record(place, "done") == {"rank": 3, "step": 40}


def test_a_script_sees_its_arguments_its_directory_and_its_neighbours_as_usual(place: Path) -> None:
    (place / "generation/work/neighbour.py").write_text("HERE = 'neighbour'")
    script = "import os, sys, neighbour\nprint(sys.argv[1:], __name__, __file__, os.getcwd(), neighbour.HERE)"
    code = place / "generation/work"
    hostile = ["--n", "a b", "$(id)", "", "--", "-x"]
    assert _run(place, script, *hostile) == 0
    assert _log(place) == f"{hostile} __main__ {code / 'train.py'} {code} neighbour\n"


def test_a_script_can_spawn_workers_that_import_it_again(place: Path) -> None:
    script = """
import multiprocessing
def double(number):
    return number * 2
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(pool.map(double, [1, 2, 3]))
"""
    assert _run(place, script) == 0
    assert _log(place) == "[2, 4, 6]\n"


def test_a_module_of_the_code_can_be_run(place: Path) -> None:
    (place / "generation/work/pkg/__init__.py").touch()
    (place / "generation/work/pkg/go.py").write_text("import sys; print(__name__, sys.argv[1:])")
    assert _start(place, "", ["-m", "pkg.go", "--flag"]).wait(timeout=60) == 0
    assert _log(place) == "__main__ ['--flag']\n"


def test_a_crash_in_native_code_leaves_a_stack_in_the_log(place: Path) -> None:
    assert _run(place, "import ctypes; ctypes.string_at(0)") == -signal.SIGSEGV
    assert "Segmentation fault" in _log(place)


def test_a_rank_dies_with_its_agent_whatever_its_parent_does(place: Path) -> None:
    agent = subprocess.Popen(["sleep", "60"])
    rank = _start(place, "import time; print('up'); time.sleep(60)", ["train.py"], agent=agent.pid)
    end = time.monotonic() + 20
    while time.monotonic() < end and not (place / "generation/logs/rank-3.log").exists():
        time.sleep(0.02)
    agent.kill()
    agent.wait()
    assert rank.wait(timeout=30) == -signal.SIGKILL


def test_an_error_is_told_although_the_disk_is_full(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = place / "generation"
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    mounted = subprocess.run(argv, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    try:
        (disk / "ranks").mkdir()
        (disk / "logs").mkdir()
        (disk / "work").mkdir()
        (disk / "shown.json").write_text("{}")
        script = (
            f"with open({str(disk / 'shard')!r}, 'wb', buffering=0) as file:\n    while True: file.write(b'x' * 4096)"
        )
        assert _run(place, script) != 0
        assert _record(place, "error")["message"] == "[Errno 28] No space left on device"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_variables_in_the_words_of_a_command_are_those_of_the_rank(place: Path) -> None:
    words = ["train.py", "$RANK", "${ORCH_NODE}x", "$$HOME", "$NNODES $NODE_RANK $NPROC_PER_NODE", "[$NOT_SET]", "$KEY"]
    process = _start(place, "import sys; print(sys.argv[1:])", words, KEY="a b")
    assert process.wait(timeout=60) == 0
    assert _log(place) == "['3', '1x', '$HOME', '2 1 2', '[]', 'a b']\n"


def test_a_console_script_of_an_installed_package_runs_in_the_rank(place: Path, tmp_path: Path) -> None:
    installed = tmp_path / "site/tool-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[console_scripts]\nsome-tool = tool:main\n")
    (tmp_path / "site/tool.py").write_text(
        "import os, sys\ndef main():\n    print(sys.argv, os.environ['RANK'])\n    return len(sys.argv) - 3\n"
    )
    search = os.pathsep.join((str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")))
    assert _start(place, "", ["some-tool", "train", "x.yaml"], PYTHONPATH=search).wait(timeout=60) == 0
    assert _log(place) == "['some-tool', 'train', 'x.yaml'] 3\n"
    assert _start(place, "", ["some-tool", "train", "x.yaml", "y"], PYTHONPATH=search).wait(timeout=60) == 1
    assert _record(place, "error")["message"] == "exit status 1"


def test_a_word_that_is_no_program_either_is_named_with_what_to_do(place: Path) -> None:
    assert _start(place, "", ["no-such-tool", "train"]).wait(timeout=60) == 1
    message = _record(place, "error")["message"]
    assert message.startswith("no-such-tool is neither a file of the job's code nor a console script of a package")
    assert sys.executable in message


def test_a_shell_script_gets_what_it_needs_to_start_the_ranks_of_its_node(place: Path) -> None:
    (place / "generation/work/train.sh").write_text(
        "echo $1 $NNODES $NODE_RANK $NPROC_PER_NODE $MASTER_ADDR $MASTER_PORT [$RANK$LOCAL_RANK$TORCHELASTIC_RUN_ID]\n"
        "exit $2\n"
    )
    given = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "20000", "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
    assert _start(place, "", ["bash", "train.sh", "$MASTER_PORT", "0"], **given).wait(timeout=60) == 0
    assert _log(place) == "20001 2 1 2 10.0.0.1 20001 []\n"
    assert _start(place, "", ["bash", "train.sh", "-", "7"], **given).wait(timeout=60) == 7
    assert _record(place, "error")["message"] == "exit status 7"
