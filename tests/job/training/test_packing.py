"""Text becomes rows of equal length, the same ones each time, or a sentence that says what is missing."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from orchestrator.job.protocol.jobfile import ModelSource, TextData
from orchestrator.job.training.environment import TrainingError
from orchestrator.job.training.packing import Packed, Rows, pack, trim
from orchestrator.job.training.text import find_files, read_documents
from orchestrator.job.training.tokenizer import END_ID, bytes_tokenizer, load_tokenizer


def data(*files: str, length: int = 4, **keys: object) -> TextData:
    return TextData(sequence_length=length, files=files, **keys)


def ids(packed: Packed) -> list[int]:
    rows = Rows(packed)
    return [token for index in range(len(rows)) for token in rows[index]["input_ids"].tolist()]


def test_the_bytes_tokenizer_makes_a_token_of_every_byte_and_reads_it_back() -> None:
    tokenizer = bytes_tokenizer()
    text = "".join(map(chr, range(256))) + "日本語 🙂\r\n  x"
    assert tokenizer(text)["input_ids"] == list(text.encode())
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_documents_are_packed_in_the_order_of_their_paths_each_with_an_end(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("de")
    (tmp_path / "a.txt").write_bytes(b"abc\xff")
    (tmp_path / "c.jsonl").write_text('{"text": "f"}\n\n{"text": "gh"}\n')
    packed = pack(data(f"{tmp_path}/*"), bytes_tokenizer(), str(tmp_path / "packed"))
    expected = [*"abc\ufffd".encode(), END_ID, *b"de", END_ID, *b"f", END_ID, *b"gh", END_ID]
    assert ids(packed) == expected[: len(expected) // 4 * 4]


def test_another_tokenizer_packs_the_same_text_through_itself(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ab" * 600)
    tokenizer = bytes_tokenizer()
    tokenizer.save_pretrained(tmp_path / "saved")
    own = load_tokenizer(ModelSource(config={}), str(tmp_path / "saved"))
    own.add_tokens(["ab"])
    packed = pack(data(f"{tmp_path}/a.txt"), own, str(tmp_path / "packed"))
    assert ids(packed) == [len(own) - 1] * 600


def test_packed_text_is_used_again_until_a_file_changes(tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("abcd" * 4)
    first = pack(data(str(source)), bytes_tokenizer(), str(tmp_path / "packed"))
    assert pack(data(str(source)), bytes_tokenizer(), str(tmp_path / "packed")) == first
    source.write_text("wxyz" * 5)
    assert pack(data(str(source)), bytes_tokenizer(), str(tmp_path / "packed")).path != first.path


def test_parquet_is_read_by_its_text_field(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"body": ["ab", "c"]}), tmp_path / "a.parquet")
    documents = read_documents(data(text_field="body"), [str(tmp_path / "a.parquet")])
    assert ["".join(pieces) for pieces in documents] == ["ab", "c"]
    with pytest.raises(TrainingError, match=r"has no field 'text' \(it has: body\)"):
        list(read_documents(data(), [str(tmp_path / "a.parquet")]))


def test_the_standard_library_is_text_that_every_machine_has() -> None:
    files = find_files(["stdlib:**/*.py"])
    assert f"{sysconfig.get_paths()['stdlib']}/argparse.py" in files
    assert not [path for path in files if "site-packages" in path or "/test/" in path]


def test_rows_are_whole_global_batches(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 50)
    packed = pack(data(f"{tmp_path}/a.txt"), bytes_tokenizer(), str(tmp_path / "packed"))
    assert (packed.rows, trim(packed, 5).rows) == (12, 10)


def test_too_little_text_is_said_in_figures(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 50)
    packed = pack(data(f"{tmp_path}/a.txt"), bytes_tokenizer(), str(tmp_path / "packed"))
    with pytest.raises(
        TrainingError, match=r"fills 12 sequences of 4 tokens, but one step takes 16 \(training.global_batch\)"
    ):
        trim(packed, 16)
    with pytest.raises(TrainingError, match=r"has 51 tokens, less than one sequence of 64 \(data.sequence_length\)"):
        pack(data(f"{tmp_path}/a.txt", length=64), bytes_tokenizer(), str(tmp_path / "packed"))


def test_a_pattern_that_names_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no file matches .*/\*\.nothing"):
        find_files([f"{tmp_path}/*.nothing"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"a\.jsonl:2: this line is not JSON"),
        (json.dumps({"body": "x"}), r"a\.jsonl:2 has no field 'text' \(it has: body\)"),
        (json.dumps({"text": 3}), r"a\.jsonl:2: the field 'text' holds int"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "fine"}}\n{line}\n')
    with pytest.raises(TrainingError, match=message):
        pack(data(f"{tmp_path}/a.jsonl"), bytes_tokenizer(), str(tmp_path / "packed"))
