from __future__ import annotations

import contextlib
import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import yamlfile
from orchestrator.config.yamlfile import plain
from orchestrator.errors import JobError


def value(text: str):
    return plain(yamlfile.parse(text.encode(), "x.yaml"))


def refusal(text: str | bytes) -> JobError:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(JobError) as caught:
        yamlfile.parse(data, "x.yaml")
    assert caught.value.file == "x.yaml"
    return caught.value


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        *[
            (word, word)
            for word in ("yes", "no", "on", "off", "n", "Y", "1_000", "24:00:00", "2024-01-01", "1e", ".", "-")
        ],
        *[(word, None) for word in ("", "~", "null", "Null", "NULL")],
        *[(word, True) for word in ("true", "True", "TRUE")],
        *[(word, False) for word in ("false", "False", "FALSE")],
        *[("5", 5), ("-5", -5), ("+5", 5), ("010", 10), ("0x10", 16), ("0o17", 15), ("0b1", "0b1")],
        *[("3e-4", 3e-4), ("1E5", 1e5), (".5", 0.5), ("1.", 1.0), ("-1.5e+3", -1500.0), (".inf", math.inf)],
    ],
)
def test_a_plain_scalar_means_what_the_core_schema_says(text, meaning):
    found = yamlfile.scalar(text)
    assert found == meaning
    assert type(found) is type(meaning)


def test_a_quoted_scalar_is_always_text():
    assert value("""[ '5', "true", ! 5, !!str 5, "" ]""") == ["5", "true", "5", "5", ""]


def test_aliases_repeat_a_value():
    assert value("a: &x {b: [1]}\nc: *x\n") == {"a": {"b": [1]}, "c": {"b": [1]}}


def test_every_value_and_key_knows_its_line():
    root = yamlfile.parse(b"# a job\na:\n  b: 1\n\n  c:\n   - 2\n", "x.yaml")
    inner = root.child("a")
    assert inner is not None
    assert root.places == {"a": ("x.yaml", 2)}
    assert inner.places == {"b": ("x.yaml", 3), "c": ("x.yaml", 5)}
    assert inner.child("c").value[0].line == 6


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a", "stands here twice, first in line 1"),
        ("a:\n  b: 1\n  'b': 2\n", 3, "a.b", "twice"),
        ("a: &x\n  b: *x\n", 2, "a.b", "endless"),
        ("- &x [*x]\n", 1, None, "endless"),
        ("a: 1\nb: *nowhere\n", 2, "b", "names no anchor"),
        ("a:\n\tb: 1\n", 2, "a", "a tab; indent with spaces"),
        ("a: [1, 2\nb: 3\n", 2, "a", "is not YAML"),
        ("a: b: c\n", 1, None, "mapping values are not allowed"),
        ("a: {{ x }}\n", 1, "a", "unquoted"),
        ("1: a\n", 1, None, "found 1; quote it"),
        ("a: 1\n? [b]\n: c\n", 2, None, "wanted text as a key"),
        ("a: 1\nnull: 2\n", 2, None, "quote it"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "c", "merge keys"),
        ("a: !!python/object:os.system x\n", 1, "a", "the tag"),
        ("a: !mine {}\n", 1, "a", "the tag"),
        ("a: 1\n---\nb: 1\n", 2, None, "second one"),
        ("a: 99999999999999999999\n", 1, "a", "beyond 64 bits"),
        ("a: " + "9" * 10_000, 1, "a", "beyond 64 bits"),
        ("x: 1\na: " + "[" * 100_000, 2, "a", "deeper than 64"),
        ("a: " + "{a: " * 10_000, 1, "a.", "deeper than 64"),
        ("- a\n" * 20_000, 10_000, None, "more than 10000 values"),
        ("a: \x07\n", 1, None, "U+0007"),
        (b"a: 1\nb: \xff\xfe\n", 2, None, "not UTF-8: byte 0xff"),
        (b"a: 1\n\nb: \x00\n", 3, None, "NUL byte"),
        ("a: 1\n".encode("utf-16"), 1, None, "not UTF-8"),
        (b"#" * (yamlfile.MAX_BYTES + 1), None, None, "larger than 256 KiB"),
        ("? " + "a" * 257 + "\n: 1\n", 1, None, "is longer than 256 characters"),
    ],
)
def test_what_is_no_good_yaml_is_refused_with_its_line(text, line, field, words):
    error = refusal(text)
    assert words in error.message
    assert error.line == line
    if field is None or not field.endswith("."):
        assert error.field == field


def test_an_alias_bomb_is_refused():
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    error = refusal("\n".join(levels))
    assert "counting what aliases repeat" in error.message
    assert error.line == 4


def test_a_byte_order_mark_and_windows_line_ends_are_accepted():
    assert value("\ufeffa: 1\r\nb: 2\r\n") == {"a": 1, "b": 2}


def test_an_empty_text_is_nothing():
    assert value("") is None
    assert value("# only a comment\n") is None


def outcome(data: bytes) -> object:
    try:
        return yamlfile.parse(data, "x.yaml")
    except JobError as error:
        return error.file


@given(st.binary(max_size=200) | st.text(alphabet="ab1 \t\n-:,[]{}&*#?|>!%@'\"\\", max_size=60).map(str.encode))
def test_any_bytes_give_a_value_or_a_refusal_that_names_the_file(data):
    found = outcome(data)
    assert isinstance(found, yamlfile.Node) or found == "x.yaml"


NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
# JSON escapes others as halves, and YAML has no keys of more than 1024 characters on one line.
TEXTS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=150)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(DOCUMENTS)
def test_json_is_read_as_json(document):
    assert value(json.dumps(document)) == document
    assert plain(yamlfile.located(document, "x.yaml")) == document


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "found a directory"),
        (os.mkfifo, "device, pipe or socket"),
        (lambda path: path.symlink_to(path), "symbolic link"),
        (lambda path: path.write_bytes(b" " * (yamlfile.MAX_BYTES + 1)), "larger than 256 KiB"),
    ],
)
def test_what_is_no_readable_file_is_refused(tmp_path, make, words):
    path = tmp_path / "job.yaml"
    make(path)
    with pytest.raises(JobError) as caught:
        yamlfile.read(path)
    assert words in caught.value.message
    assert caught.value.file == str(path)


@pytest.fixture
def as_a_common_user():
    """Root may read every file: for the test it becomes a user who may not."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def test_a_file_without_read_permission_is_refused(tmp_path, as_a_common_user):
    path = tmp_path / "job.yaml"
    with contextlib.suppress(PermissionError):  # root's directory, that the other user may not enter, does as well
        path.write_text("a: 1")
        path.chmod(0)
    with pytest.raises(JobError, match="Permission denied"):
        yamlfile.read(path)


def test_a_file_name_with_a_nul_byte_is_refused():
    with pytest.raises(JobError, match="NUL byte"):
        yamlfile.read("a\0b")


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("clusters", 1),
        ("clusters.a.b", 2),
        ("clusters.a.b.labels.x/y.z", 4),
        ("clusters.a.b.labels.x/y.z.more", 4),
        ("clusters.a.b.items[1]", 5),
        ("clusters.a.b.none", 2),
        ("none", 1),
    ],
)
def test_a_field_is_found_by_its_dots_also_where_keys_have_dots(field, line):
    root = yamlfile.parse(b"clusters:\n  a.b:\n    labels:\n      x/y.z: c\n    items: [a, b]\n", "file")
    assert yamlfile.find(root, field) == ("file", line)
