"""The colour of each phase, and what a person can do next about each way a run is or ended."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.job.protocol.cause import Cause
from orchestrator.views.table import Row

ROLES: Mapping[str, str] = {
    "pending": "dim", "queued": "dim", "starting": "busy", "running": "busy", "stopping": "warn", "stopped": "warn",
    "succeeded": "good", "failed": "bad", "cancelled": "warn", "unknown": "warn",
}  # fmt: skip
ENDED = frozenset({"stopped", "succeeded", "failed", "cancelled"})
QUIET = frozenset({"", *(cause.value for cause in Cause if not cause.row.shown)})

_BY_PHASE: Mapping[str, str] = {
    "pending": "orch wait {name}",
    "queued": "orch wait {name}",
    "starting": "orch logs {name} -f",
    "running": "orch logs {name} -f",
    "stopping": "orch wait {name}",
    "stopped": "orch resume {name}",
    "succeeded": "the trained model is in {checkpoint_dir}/model; a script's own results are where it put them",
    "failed": "orch logs {name}, then orch resume {name}",
    "cancelled": "orch resume {name}",
    "unknown": "orch events {name}; it continues by itself when the cluster answers again",
}
_BY_CAUSE: Mapping[str, str] = {
    "no_proven_checkpoint": "orch checkpoints {name} --verify shows what is wrong with them;"
    " restore one and orch resume {name}, or start again with orch resume {name} --from-scratch",
    "cuda_oom": "lower training.micro_batch, raise deepspeed.zero or turn on training.gradient_checkpointing,"
    " then submit it under another name",
    "host_oom": "ask for more host memory or offload less, then orch resume {name}",
    "shared_memory": "make /dev/shm larger on the nodes, then orch resume {name}",
    "disk_full": "free space where {checkpoint_dir} is, then orch resume {name}",
    "secret_missing": "set the secret (its variable in this shell, or its file), then orch resume {name}",
    "refused": "fix what is named above, then orch resume {name}",
    "stuck": "fix what is named above, then orch resume {name}",
    "user_error": "orch logs {name}; fix the script, then orch resume {name} --code",
    "operator_build": "orch logs {name} shows why DeepSpeed could not compile an operator; then orch resume {name}",
    "world_size": "ask for as many ranks as the checkpoint was saved with, or start again with"
    " orch resume {name} --from-scratch",
    "shape": "the model changed since the checkpoint: undo that, or submit it under another name",
    "configuration": "fix the job file, then submit it under another name",
    "data": "fix data in the job file, or the data, then submit it under another name",
    "model": "fix model in the job file, or the model, then submit it under another name",
    "preflight": "fix what is named above, then orch resume {name}",
    "owned": "choose another checkpoint.dir, then submit again",
    "loss_scale": "use bf16 or a lower learning rate, or orch resume {name} --from an older step",
}


def next_step(run: Row) -> str:
    """What to do next, by cause where a cause asks for it, else by phase."""
    phase, cause = str(run["phase"]), str(run["cause"])
    if phase in ENDED and phase != "succeeded" and cause in _BY_CAUSE:
        template = _BY_CAUSE[cause]
    else:
        template = _BY_PHASE.get(phase, "orch events {name}")
    return template.format(name=run["name"], checkpoint_dir=run["checkpoint_dir"])
