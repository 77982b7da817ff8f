"""`orch rm`: nothing that lives, no checkpoint that was not asked for, nothing of another run's, and all in the end."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from orchestrator.errors import ClusterError, JobError, Unreachable
from orchestrator.job.protocol import files
from orchestrator.job.protocol.operations.runs import RemoveRun
from orchestrator.job.remote import runs
from orchestrator.job.system import failpoints
from orchestrator.job.system.atomic import write_json
from orchestrator.model.run import Phase, Run
from orchestrator.runs import submit
from orchestrator.runs.remove import RemovedRun, remove_run
from tests.controller.bench import Bench, prepared
from tests.controller.test_kills import act, finish

POINTS = [name for name in failpoints.POINTS if name.startswith("remove.")]


def remove(bench: Bench, name: str = "tiny", *, checkpoints: bool = False, keep_files: bool = False) -> RemovedRun:
    return remove_run(bench.store, name, lambda _: bench.backend, checkpoints=checkpoints, keep_files=keep_files)


@pytest.fixture
def trained(bench: Bench) -> Run:
    bench.submit(prepared())
    run = bench.until_end()
    assert run.phase is Phase.SUCCEEDED
    return run


def tree(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_a_run_is_removed_and_its_checkpoints_stay_as_they_are(bench: Bench, trained: Run) -> None:
    kept = tree(Path(trained.checkpoint_dir))
    assert kept
    assert remove(bench) == RemovedRun(name="tiny", left=trained.checkpoint_dir)
    assert bench.store.find("tiny") is None
    assert bench.store.events("tiny") == []
    assert [path.name for path in Path(trained.dir).iterdir()] == ["ckpt"]
    assert tree(Path(trained.checkpoint_dir)) == kept


def test_with_its_checkpoints_nothing_is_left(bench: Bench, trained: Run) -> None:
    assert remove(bench, checkpoints=True) == RemovedRun(name="tiny", left="")
    assert not Path(trained.dir).exists()


def test_a_run_that_is_only_forgotten_leaves_every_file(bench: Bench, trained: Run) -> None:
    kept = tree(Path(trained.dir))
    assert remove(bench, keep_files=True) == RemovedRun(name="tiny", left=trained.dir)
    assert bench.store.find("tiny") is None
    assert tree(Path(trained.dir)) == kept


def test_a_run_that_has_not_ended_is_refused(bench: Bench) -> None:
    bench.submit(prepared())
    with pytest.raises(JobError, match="the run tiny has not ended: it is queued") as error:
        remove(bench, checkpoints=True)
    assert error.value.hint == "orch cancel tiny, then: orch wait tiny"
    assert bench.until_end().phase is Phase.SUCCEEDED


def test_a_checkpoint_directory_of_the_users_choice_loses_only_what_orch_has_written(
    bench: Bench, tmp_path: Path
) -> None:
    root = tmp_path / "shared"
    root.mkdir()
    (root / "notes.txt").write_text("mine")
    bench.submit(prepared(checkpoint_dir=str(root)))
    run = bench.until_end()
    write_json(root / files.OWNER, {"run": "tiny", "run_id": run.run_id, "created": 0.0})
    assert remove(bench, checkpoints=True).left == str(root)
    assert tree(root) == ["notes.txt"]


@pytest.mark.parametrize("what", ["run", "checkpoints", "checkpoints of nobody"])
def test_what_is_anothers_is_refused_and_stays(bench: Bench, tmp_path: Path, what: str) -> None:
    root = tmp_path / "shared"
    bench.submit(prepared(checkpoint_dir=str(root)))
    run = bench.until_end()
    if what == "run":
        write_json(Path(run.dir) / files.RUN, {"run": "tiny", "run_id": "another"})
    elif what == "checkpoints":
        write_json(root / files.OWNER, {"run": "other", "run_id": "another", "created": 0.0})
    else:
        (root / files.OWNER).write_text("{")
    kept = tree(Path(run.dir)), tree(root)
    with pytest.raises(ClusterError, match=r"another|is unknown") as error:
        remove(bench, checkpoints=True)
    assert error.value.hint == "to forget the run and leave all files: orch rm --keep-files tiny"
    assert (tree(Path(run.dir)), tree(root)) == kept
    assert bench.store.get("tiny").phase is Phase.SUCCEEDED
    assert remove(bench, keep_files=True).name == "tiny"


def test_links_are_removed_and_not_what_they_lead_to(bench: Bench, trained: Run, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("w")
    Path(trained.checkpoint_dir, "base").symlink_to(tmp_path / "model")
    Path(trained.dir, "base").symlink_to(tmp_path / "model")
    remove(bench, checkpoints=True)
    assert not Path(trained.dir).exists()
    assert (tmp_path / "model" / "weights").read_text() == "w"


def test_a_checkpoint_directory_that_is_the_runs_own_stays(tmp_path: Path) -> None:
    (tmp_path / files.GENERATIONS).mkdir()
    (tmp_path / files.ATTEMPTS).mkdir()
    write_json(tmp_path / files.RUN, {"run": "tiny", "run_id": "1"})
    removed = runs.remove(RemoveRun("tiny", "1", str(tmp_path), str(tmp_path)))
    assert removed.left == str(tmp_path)
    assert tree(tmp_path) == [files.GENERATIONS]


def test_files_that_are_lost_already_are_no_trouble(bench: Bench, trained: Run) -> None:
    shutil.rmtree(trained.dir)
    assert remove(bench, checkpoints=True).left == ""
    assert bench.store.find("tiny") is None


@pytest.mark.parametrize("fault", POINTS)
def test_a_removal_killed_anywhere_is_finished_by_the_next_and_nothing_goes_on_from_it(
    bench: Bench, fault: str
) -> None:
    assert finish(act(bench.home, "submit", "train")) == 0
    bench.until_end()
    assert finish(act(bench.home, "rm", "train", fault)) == -signal.SIGKILL
    with pytest.raises(JobError, match="is being removed"):
        bench.store.record("tiny", "resumed", {})
    assert finish(act(bench.home, "rm", "train")) == 0
    assert bench.store.find("tiny") is None


def test_of_a_run_that_was_removed_the_name_is_free_and_kept_checkpoints_are_found_again(
    bench: Bench, trained: Run
) -> None:
    remove(bench)
    assert submit.submit_run(bench.store, bench.backend, prepared(steps=6), bench.environment).attempt == 1
    again = bench.until_end()
    assert again.phase is Phase.SUCCEEDED
    assert again.generation >= 1


class Away:
    """The cluster of the bench, which does not answer."""

    def read(self, *_: object, **__: object) -> list[object]:
        raise Unreachable("login01 did not answer within 75 s")


def test_where_the_cluster_does_not_answer_the_record_stays_until_it_does(bench: Bench, trained: Run) -> None:
    kept = tree(Path(trained.dir))
    with pytest.raises(Unreachable, match="login01 did not answer"):
        remove_run(bench.store, "tiny", lambda _: Away(), checkpoints=True, keep_files=False)
    assert tree(Path(trained.dir)) == kept
    assert bench.store.get("tiny").phase is Phase.SUCCEEDED
    assert remove(bench, checkpoints=True).left == ""
    assert bench.store.find("tiny") is None
