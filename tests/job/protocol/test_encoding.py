"""Records as JSON: what is written is read again, and what is damaged is told by file and field."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.job.agent import codes, job
from orchestrator.job.protocol import pod, records, report
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.encoding import NewerFormatError, from_json, parse, to_json
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.jobfile import JobFile

KINDS = [
    kind
    for module in (records, report, pod)
    for kind in vars(module).values()
    if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
]
STARTED = {"rank": 1, "node": 0, "pid": 7, "host": "gn01"}
CLAIM = {
    "generation": 1, "run": "r", "run_id": "id", "attempt": 1, "start": "s", "nodes": 1, "address": "a", "port": 1,
    "time": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_record_is_read_as_it_was_written(kind: type, data: st.DataObject) -> None:
    values = st.dictionaries(st.text(), st.none() | st.integers() | st.text())
    lines = st.lists(st.builds(report.MetricsLine, values=values), max_size=3).map(tuple)
    fixed = {"format": st.just(1), "values": values, "lines": lines}
    strategy = st.builds(kind, **{name: fixed[name] for name in fixed.keys() & kind.__dataclass_fields__.keys()})
    text = json.dumps(to_json(data.draw(strategy)))
    assert json.dumps(to_json(parse(kind, text))) == text


def test_a_key_of_another_version_is_ignored_and_a_missing_one_takes_its_default() -> None:
    found = from_json(records.RankProcess, {"rank": 1, "node": 0, "pid": 7, "gpu": "H200"})
    assert found == records.RankProcess(rank=1, node=0, pid=7, host="")


def test_a_line_of_metrics_keeps_what_its_script_wrote_to_the_byte() -> None:
    text = '{"accuracy": 0.5, "step": 3, "loss": "0.25 or so", "best": null}'
    assert json.dumps(to_json(parse(report.MetricsLine, text))) == text


def test_a_key_is_left_out_of_a_journal_entry_where_it_has_nothing_to_say() -> None:
    assert to_json(records.JournalEntry(closed=True)) == {"closed": True}
    assert to_json(records.JournalEntry(paths=("a",))) == {"paths": ["a"]}


def test_a_cause_of_a_newer_version_is_unknown() -> None:
    assert from_json(records.Outcome, {"result": "failed", "cause": "gone_fishing"}).cause is Cause.UNKNOWN


@pytest.mark.parametrize(
    ("content", "field", "wanted"),
    [
        ('{"rank": "one", "node": 0, "pid": 7}', "rank", "a whole number"),
        ('{"rank": true, "node": 0, "pid": 7}', "rank", "a whole number"),
        ('{"node": 0, "pid": 7}', "rank", "a value"),
        ("[1]", "", "a JSON object"),
    ],
)
def test_a_record_of_another_form_is_told_by_file_and_field(
    tmp_path: Path, content: str, field: str, wanted: str
) -> None:
    path = tmp_path / "rank-1.json"
    path.write_text(content)
    with pytest.raises(RecordError) as caught:
        read(records.RankProcess, path)
    assert (caught.value.field, caught.value.wanted) == (field, wanted)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("size", range(0, len(json.dumps(STARTED)), 7))
def test_a_file_that_is_not_whole_is_none(tmp_path: Path, size: int) -> None:
    path = tmp_path / "rank-1.json"
    assert read(records.RankProcess, path) is None
    path.write_text(json.dumps(STARTED)[:size])
    assert read(records.RankProcess, path) is None


def test_a_record_of_a_newer_format_is_refused_with_a_sentence() -> None:
    with pytest.raises(NewerFormatError, match="format: wanted 1 at most, found 2, written by a newer orch"):
        from_json(records.Claim, {**CLAIM, "format": 2, "sealed": "of another type"})


def test_a_job_of_a_newer_format_ends_its_agent_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(codes.Ended) as caught:
        job.load(tmp_path, tmp_path)
    assert (caught.value.code, caught.value.cause) == (codes.HOPELESS, Cause.CONFIGURATION)
    assert "written by a newer orch" in caught.value.because
    assert JobFile.__dataclass_fields__["format"].metadata["newest"] == 1
