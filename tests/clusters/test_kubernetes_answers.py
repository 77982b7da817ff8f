"""Objects of the API become dataclasses; what cannot be one is told by its object and field."""

from __future__ import annotations

import pytest

from orchestrator.clusters.kubernetes.answers import JobObject, Node, PodObject, Quantity, read
from orchestrator.clusters.kubernetes.check.objects import FlavorQuota
from orchestrator.job.protocol.errors import RecordError


def test_an_object_without_anything_in_it_is_one_of_defaults() -> None:
    assert read(PodObject, {}) == PodObject()
    assert read(PodObject, {"metadata": None, "status": {"conditions": None, "phase": None}}) == PodObject()


def test_a_quantity_may_be_a_number() -> None:
    assert read(FlavorQuota, {"name": "cpu", "nominalQuota": 8}) == FlavorQuota(name="cpu", nominal=Quantity("8"))


@pytest.mark.parametrize(
    ("kind", "document", "words"),
    [
        (PodObject, {"status": {"phase": 7}}, "PodObject orch-a-1: status.phase: wanted text, found 7"),
        (PodObject, {"status": []}, "PodObject orch-a-1: status: wanted a JSON object, found []"),
        (JobObject, {"status": {"conditions": [{}, {"type": {}}]}}, "status.conditions.1.type: wanted text, found {}"),
        (Node, {"spec": {"unschedulable": "no"}}, 'spec.unschedulable: wanted true or false, found "no"'),
        (Node, {"status": {"allocatable": {"cpu": []}}}, "status.allocatable.cpu: wanted Quantity, found []"),
    ],
)
def test_a_value_of_an_impossible_type_is_named_with_its_object_and_field(kind, document, words: str) -> None:
    with pytest.raises(RecordError) as raised:
        read(kind, {"metadata": {"name": "orch-a-1"}, **document})
    assert words in str(raised.value)


def test_an_answer_that_is_no_object_is_told_as_such() -> None:
    with pytest.raises(RecordError, match='Node: wanted a JSON object, found "x"'):
        read(Node, "x")
