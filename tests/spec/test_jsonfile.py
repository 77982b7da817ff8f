"""A ds_config's text is read as DeepSpeed's reader, hjson, reads it, but for a few things that are said here."""

from __future__ import annotations

import json
import sys

import hjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.jsonfile import parse_json
from orchestrator.config.yamlfile import plain
from orchestrator.errors import JobError


def value(text: str):
    return plain(parse_json(text.encode(), "ds.json"))


ALIKE = [
    '{"a": 1, "b": 2}',
    '{"a": 1,}',
    '{"a": [1, 2,], "b": []}',
    '{"a": 1, # why\n "b": 2 // and\n}',
    '/* c */ {"a": 1 /* c */, "b": {"c": null}}\n// end',
    '{"a": true\n "b": false}',
    "{a: 1\nb: two words # and all of it\n}",
    "a: 1\nb: {c: x\n}",
    "{'a': 'it\"s'}",
    '{"a": "x" "b": 2}',
    '{"a":\n 5e8, "b": -0.5, "c": 1E-3, "d": -0}',
    '{"a": "é\\u00e9\\n\\/ //x #y /*z*/", "b": "\\ud83d\\ude00"}',
    '\ufeff{"a": 1}',
    '{"": 1}',
    '{"a": True\n}',
    '{"a": 12 34\n}',
    '{"a": "x"#c\n}',
    '{"_comment": ["a", {"b": []}], "//": "x"}',
]


@pytest.mark.parametrize("text", ALIKE)
def test_what_hjson_takes_is_read_alike(text):
    assert value(text) == json.loads(json.dumps(hjson.loads(text)))


REFUSED = [
    '{"a": tru}',
    '{"a" 1}',
    '{"a": }',
    '{"a": 1}}',
    '{"a": 1,,}',
    '{"a": 1 x}',
    '{"a": .5}',
    "{a b: 1}",
    '{"a": 1',
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_hjson_refuses_is_refused_with_its_line(text):
    with pytest.raises(hjson.HjsonDecodeError):
        hjson.loads(text)
    with pytest.raises(JobError) as caught:
        value(text)
    assert caught.value.line == 1


def test_infinity_is_the_largest_number_as_pythons_json_takes_it():
    assert json.loads('{"steps_per_print": Infinity}') == {"steps_per_print": float("inf")}
    read = value('{"a": Infinity, "b": [-Infinity, 1e999]}')
    assert read == {"a": sys.float_info.max, "b": [-sys.float_info.max, sys.float_info.max]}


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": True, "b": 1}', "", "[1]", '{"a": 99999999999999999999}'])
def test_what_would_surprise_is_refused_besides(text):
    with pytest.raises(JobError):
        value(text)


scalars = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(max_size=8)
keys = st.text(max_size=6)
documents = st.dictionaries(
    keys, st.recursive(scalars, lambda below: st.lists(below, max_size=3) | st.dictionaries(keys, below, max_size=3))
)


@given(documents, st.sampled_from([None, 0, 2]), st.booleans())
def test_every_json_object_is_read_as_json(document, indent, ascii_only):
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    largest = sys.float_info.max
    expected = json.loads(text, parse_constant={"Infinity": largest, "-Infinity": -largest}.__getitem__)
    if "\x00" in text:
        return
    assert value(text) == expected


@given(st.text(alphabet="{}[]:,\"'/*# \nab1", max_size=20))
def test_no_text_is_read_otherwise_than_hjson_reads_it(text):
    try:
        theirs = hjson.loads(text)
    except Exception:  # noqa: BLE001 - it raises IndexError, too
        theirs = None
    try:
        ours = value(text)
    except JobError:
        return
    assert ours == json.loads(json.dumps(theirs))
