"""The operations by name, and how a list of calls is performed."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from orchestrator.site import agents, attempts, commands, records, slurm, texts

Operation = Callable[[Mapping[str, Any]], Any]

OPERATIONS: Mapping[str, Operation] = {
    "run": commands.run,
    "place": attempts.place,
    "ask": attempts.ask,
    "forget": attempts.forget,
    "look": records.look,
    "meet": agents.meet,
    "chosen": agents.chosen,
    "check": agents.check,
    "start": agents.start,
    "slots": agents.slots,
    "tell": agents.tell,
    "kill": agents.kill,
    "logs": texts.logs,
    "checkpoints": texts.checkpoints,
    "slurm.submit": slurm.submit,
}


def perform(calls: Sequence[Any]) -> list[Any]:
    """Performs calls (operation, request) in their order. An answer is {"value": ...} or {"error": "words"}."""
    return [_perform(operation, request) for operation, request in calls]


def _perform(operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"value": OPERATIONS[operation](request)}
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return {"error": f"{place}{error.strerror or error}"}
