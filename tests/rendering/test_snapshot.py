"""Snapshots of code directories, against git itself where git can say."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from orchestrator.errors import JobError
from orchestrator.inputs import snapshot


def write(root, name, text="x"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(root):
    return [file.path.removeprefix("code/") for file in snapshot.take(root).files]


@pytest.fixture
def tree(tmp_path):
    """A tree whose ignore rules nest, negate and anchor."""
    write(tmp_path, ".gitignore", "*.log\n/data/\nbuild/\n!keep.log\ndeep/**/cache\n# a comment\nspace\\ \n\n")
    write(tmp_path, "train.py")
    write(tmp_path, "a.log")
    write(tmp_path, "keep.log")
    write(tmp_path, "data/big.bin")
    write(tmp_path, "lib/data/small.bin")
    write(tmp_path, "lib/build/out.o")
    write(tmp_path, "lib/.gitignore", "!b.log\n*.tmp\n/only-here\n")
    write(tmp_path, "lib/b.log")
    write(tmp_path, "lib/c.tmp")
    write(tmp_path, "lib/only-here")
    write(tmp_path, "lib/sub/only-here")
    write(tmp_path, "c.tmp")
    write(tmp_path, "deep/x/y/cache/file")
    write(tmp_path, "deep/cache2")
    write(tmp_path, "space ")
    write(tmp_path, "build/.gitignore", "!rescued\n")
    write(tmp_path, "build/rescued")
    return tmp_path


def test_a_snapshot_holds_exactly_the_files_that_git_would_add(tree):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git = ["git", "-C", str(tree)]
    subprocess.run([*git, "init", "-q"], check=True)
    listed = subprocess.run(
        [*git, "ls-files", "-z", "--others", "--exclude-standard"], check=True, capture_output=True, text=True
    ).stdout
    assert names(tree) == sorted(listed.split("\0")[:-1])


def test_ignore_rules_hold_without_a_repository_too(tree):
    found = names(tree)
    assert "train.py" in found
    assert "lib/b.log" in found
    assert "lib/data/small.bin" in found
    assert not {"a.log", "data/big.bin", "lib/only-here", "build/rescued"} & set(found)


def test_a_subdirectory_obeys_the_rules_of_its_repository(tree):
    (tree / ".git").mkdir()
    assert "c.tmp" not in names(tree / "lib")
    assert "build/out.o" not in names(tree / "lib")


def test_a_directory_that_its_repository_ignores_is_taken_when_asked_for(tree):
    (tree / ".git").mkdir()
    assert names(tree / "data") == ["big.bin"]


def test_the_repository_itself_never_travels(tmp_path):
    write(tmp_path, ".git/config")
    write(tmp_path, "vendored/.git", "gitdir: elsewhere")
    write(tmp_path, "train.py")
    assert names(tmp_path) == ["train.py"]


def test_a_symlink_that_leaves_is_named_and_left_behind(tmp_path):
    write(tmp_path, "secret")
    code = tmp_path / "code"
    write(code, "train.py", "inside")
    (code / "out").symlink_to(tmp_path / "secret")
    (code / "up").symlink_to("..")
    (code / "in.py").symlink_to("train.py")
    (code / "self").symlink_to(".")
    (code / "dangling").symlink_to("nothing")
    os.mkfifo(code / "pipe")
    taken = snapshot.take(code)
    assert {file.path: file.content for file in taken.files} == {"code/in.py": b"inside", "code/train.py": b"inside"}
    left = {line.split()[0]: line for line in taken.skipped}
    assert sorted(left) == ["dangling", "out", "pipe", "self", "up"]
    assert str(tmp_path / "secret") in left["out"]


def test_a_file_mode_travels(tmp_path):
    write(tmp_path, "run.sh").chmod(0o755)
    write(tmp_path, "data.txt").chmod(0o640)
    assert {file.path: file.executable for file in snapshot.take(tmp_path).files} == {
        "code/data.txt": False,
        "code/run.sh": True,
    }


def test_too_much_is_refused_with_the_biggest_files_named(tmp_path):
    for number in range(8):
        write(tmp_path, f"file-{number}", "x" * 1000 * (number + 1))
    with pytest.raises(JobError) as refused:
        snapshot.take(tmp_path, limit=10_000)
    assert refused.value.field == "code"
    assert "file-7" in refused.value.message
    assert "file-1" not in refused.value.message


def test_a_missing_directory_is_an_error_of_the_job(tmp_path):
    with pytest.raises(JobError, match="not a directory"):
        snapshot.take(tmp_path / "nothing")


def test_two_snapshots_are_equal(tree):
    assert snapshot.take(tree) == snapshot.take(tree)


def test_a_name_that_is_not_utf8_is_named_and_left_behind(tmp_path):
    write(tmp_path, os.fsdecode(b"caf\xe9"))
    taken = snapshot.take(tmp_path)
    assert taken.files == ()
    assert len(taken.skipped) == 1
