"""torch's compiler, which takes half as long to load as all the rest of a rank's start."""

from __future__ import annotations

from typing import Any, Callable, Mapping


def leave_out(ds_config: Mapping[str, Any]) -> None:
    """Keeps DeepSpeed from loading it for a job without Muon, only to learn that the job's optimizer is not Muon.

    Its ZeRO stages import Muon to ask that, and Muon's functions are compiled as soon as they are defined: that loads
    torch._inductor, 5 s of a core. Where Muon trains nothing is changed. Whatever else compiles does not come by here.
    """
    optimizer = ds_config.get("optimizer") or {}
    if str(optimizer.get("type", "")).lower() == "muon":
        return
    from deepspeed.runtime import compiler

    compiler.compile = _leave


def _leave() -> Callable[[Any], Any]:
    return lambda function: function
