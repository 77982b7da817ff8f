"""What node 0 tells, kept on this machine and folded: nothing counts twice, nothing that was done in vain counts."""

from __future__ import annotations

import json

import pytest

from orchestrator.clusters.kubernetes.log_records import RecordLog
from orchestrator.clusters.kubernetes.logfiles import LogStore, Reader
from orchestrator.clusters.kubernetes.pods import Pod
from orchestrator.job.protocol.operations.texts import ReadLogs


def told(*values: dict) -> list[bytes]:
    return [b"[orch] " + json.dumps(value).encode() for value in values]


def generation(number: int, resumed: int | None = None, **more) -> dict:
    return {"generation": {"generation": number, "attempt": 1, "resumed_step": resumed, "result": None, **more}}


def metrics(number: int, *steps: int, loss: float = 1.0) -> dict:
    return {"metrics": {"generation": number, "lines": [{"step": step, "loss": loss} for step in steps]}}


def pod(number: int = 0, uid: str = "aaaaaaaa-1", created: str = "2026-11-26T10:00:00Z", attempt: int = 1) -> Pod:
    return Pod(
        name=f"p-{number}", uid=uid, number=number, attempt=attempt, run_id="r", node="n", phase="Running",
        created=created,
    )  # fmt: skip


def at(second: int, text: str, nano: int = 1) -> bytes:
    return f"2026-11-26T10:00:{second:02d}.{nano:09d}Z {text}".encode()


def test_a_generation_that_resumes_takes_back_the_steps_after_its_checkpoint():
    fold = RecordLog()
    fold.take(told(generation(1), metrics(1, 1, 2, 3, 4), generation(2, resumed=2), metrics(2, 3, loss=9.0)))
    assert [(line.step, line.values["loss"]) for line in fold.lines()] == [(1, 1.0), (2, 1.0), (3, 9.0)]


def test_steps_of_an_older_generation_that_come_late_count_for_nothing():
    fold = RecordLog()
    fold.take(told(generation(1), metrics(1, 1), generation(2), metrics(1, 2, 3), metrics(2, 1, loss=5.0)))
    assert [(line.step, line.values["loss"]) for line in fold.lines()] == [(1, 5.0)]


def test_lines_that_are_told_again_fill_gaps_and_change_nothing_else():
    fold = RecordLog()
    fold.take(told(generation(1), metrics(1, 1, 3)))
    before = fold.changes
    fold.take(told(metrics(1, 1, 3)))
    assert fold.changes == before
    fold.take(told(metrics(1, 1, 2, 3)))
    assert fold.changes > before  # a reader must read anew
    assert [line.step for line in fold.lines()] == [1, 2, 3]


def test_a_gap_that_is_filled_bit_by_bit_is_a_change_each_time():
    fold = RecordLog()
    fold.take(told(generation(1), metrics(1, 1, 9)))
    for step in (2, 3):
        before = fold.changes
        fold.take(told(metrics(1, step)))
        assert fold.changes > before, "else a reader would take the end for what is new"
    before = fold.changes
    fold.take(told(metrics(1, 10)))
    assert fold.changes == before


def test_the_end_of_a_generation_is_not_forgotten_by_an_older_record_of_it():
    fold = RecordLog()
    fold.take(told(generation(1, result="failed"), generation(1)))
    assert fold.generations[1].result == "failed"


@pytest.mark.parametrize(
    "line", [b"[orch] {", b"[orch] []", b'[orch] {"metrics": 3}', b'[orch] {"report": {"generation": "x"}}', b"no"]
)
def test_lines_that_are_no_words_of_an_agent_are_passed_over(line):
    fold = RecordLog()
    fold.take([line])
    assert (fold.report, fold.metrics, fold.generations) == (None, {}, {})


def test_a_log_that_is_read_twice_is_kept_once(tmp_path):
    kept = LogStore(tmp_path)
    lines = [at(1, "one"), at(1, "two", nano=2), at(2, "three")]
    assert kept.add(pod(), lines[:2]) == 2
    assert kept.add(pod(), lines) == 1
    assert kept.file(pod()).read_bytes().splitlines() == lines
    assert kept.last(pod()) == b"2026-11-26T10:00:02.000000001"


def test_times_of_different_precision_are_in_order(tmp_path):
    kept = LogStore(tmp_path)
    kept.add(pod(), [b"2026-11-26T10:00:01.5Z half"])
    assert kept.add(pod(), [b"2026-11-26T10:00:01.25Z quarter", b"2026-11-26T10:00:01.500000001Z later"]) == 1


def test_a_node_may_tell_the_time_of_its_own_zone(tmp_path):
    kept = LogStore(tmp_path)
    assert kept.add(pod(), [b"2026-11-26T10:00:01.5Z one", b"2026-11-26T12:00:02.5+02:00 two"]) == 2
    assert kept.last(pod()) == b"2026-11-26T10:00:02.500000000"


def test_a_line_that_a_kill_has_cut_is_read_again(tmp_path):
    kept = LogStore(tmp_path)
    kept.add(pod(), [at(1, "whole")])
    with kept.file(pod()).open("ab") as file:
        file.write(at(2, "cut in the mid"))
    kept.add(pod(), [at(1, "whole"), at(2, "cut in the middle"), at(3, "after")])
    assert kept.file(pod()).read_bytes().splitlines() == [
        at(1, "whole"), at(2, "cut in the middle"), at(3, "after")
    ]  # fmt: skip


def test_lines_may_be_longer_than_what_is_read_of_a_files_end(tmp_path):
    kept, long = LogStore(tmp_path), "x" * 300_000
    first = pod()
    kept.add(first, [at(1, "short"), at(2, long)])
    assert kept.last(first).startswith(b"2026-11-26T10:00:02")
    assert kept.add(first, [at(1, "short"), at(2, long)]) == 0
    with kept.file(first).open("ab") as file:
        file.write(at(3, long))  # cut by a kill
    assert kept.add(first, [at(3, "whole")]) == 1
    assert [line[-5:] for line in kept.file(first).read_bytes().split(b"\n")[:-1]] == [b"short", b"xxxxx", b"whole"]


def test_a_new_process_knows_from_the_files_alone_what_was_told(tmp_path):
    first = LogStore(tmp_path)
    first.add(pod(), [at(1, told(generation(1))[0].decode()), at(2, told(metrics(1, 1, 2))[0].decode())])
    later = pod(uid="bbbbbbbb-2", created="2026-11-26T11:00:00Z", attempt=2)
    first.add(later, [at(3, told(generation(2, resumed=1))[0].decode())])
    assert [line.step for line in first.fold().lines()] == [1]
    again = LogStore(tmp_path).fold()
    assert (again.newest, [line.step for line in again.lines()]) == (2, [1])


def asking(**changes) -> ReadLogs:
    return ReadLogs(run="r", run_id="r", dir="", checkpoint_dir="", attempt=1, **changes)


def test_each_rank_has_a_log_of_its_own_and_nobody_sees_what_was_meant_for_the_controller(tmp_path):
    kept = LogStore(tmp_path)
    kept.add(
        pod(),
        [
            at(1, "[agent 0 10:00:00] generation 1"),
            at(2, "[rank 0] hello"),
            at(3, "[rank 1] bye"),
            at(4, told(metrics(1, 1))[0].decode()),
        ],
    )
    answer = Reader().logs(kept, asking())
    found = {(source.kind, source.number) for source in answer.sources}
    assert found == {("agent", 0), ("rank", 0), ("rank", 1)}
    assert "[orch]" not in str(answer)


def test_a_reader_goes_on_where_it_has_stopped(tmp_path):
    kept, reader = LogStore(tmp_path), Reader()
    kept.add(pod(), [at(1, "[rank 0] one")])
    first = reader.logs(kept, asking(rank=0))
    (path,) = first.texts
    kept.add(pod(), [at(2, "[rank 0] two")])
    second = reader.logs(kept, asking(rank=0, offsets={path: 4}))
    assert second.texts[path] == b"two\n"


def asked_on(reader: Reader, kept: LogStore, *, rank: int | None = None) -> dict[str, bytes]:
    """All texts by who wrote them, asked for again and again as `orch logs` does."""
    had: dict[str, bytes] = {}
    more = True
    while more:
        offsets = {path: len(text) for path, text in had.items()}
        answer = reader.logs(kept, asking(rank=rank, offsets=offsets))
        for source in answer.sources:
            had.setdefault(source.path, b"")
        for path, text in answer.texts.items():
            had[path] += text
        more = answer.more
    return {path.partition("#")[2]: text for path, text in had.items()}


@pytest.mark.parametrize("size", [1, 40, 64, 1000, 10**6])
def test_long_logs_come_in_several_answers(tmp_path, size):
    kept = LogStore(tmp_path)
    for node in (0, 1):
        lines = [at(second, f"[rank {node * 2 + second % 2}] line {second}") for second in range(50)]
        kept.add(pod(number=node, uid=f"{node}aaaaaaa"), lines)
    wanted = {
        f"rank {rank}": b"".join(b"line %d\n" % second for second in range(50) if second % 2 == rank % 2)
        for rank in range(4)
    }
    reader = Reader(size)
    assert asked_on(reader, kept) == wanted
    assert asked_on(reader, kept) == wanted, "who asks anew has all of it"
    assert asked_on(reader, kept, rank=3)["rank 3"] == wanted["rank 3"]


def test_a_progress_bar_is_one_line(tmp_path):
    kept = LogStore(tmp_path)
    kept.add(pod(), [at(1, "[rank 0]  1%\r 2%\r 3%"), at(2, "[rank 0] done")])
    assert asked_on(Reader(), kept) == {"rank 0": b" 1%\r 2%\r 3%\ndone\n"}
