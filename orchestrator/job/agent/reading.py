"""Which of the checkpoints that a script was shown it reads, and whether it reads any before its first step."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Optional

from orchestrator.job.checkpoints import discover
from orchestrator.job.checkpoints.discover import Kind
from orchestrator.job.protocol.files import WORK
from orchestrator.job.protocol.records import Shown, ShownCheckpoint


class Reading:
    """Watches the files that this process opens, by Python's audit hook: there is no other that sees every `open`.

    `read` is the newest of the shown checkpoints that was read, None so far.
    """

    def __init__(self, root: Path, shown: Shown) -> None:
        self.read: Optional[ShownCheckpoint] = None
        self._units = {str(root / entry.path): entry for entry in shown.checkpoints}
        self._newest = shown.checkpoints[0] if shown.checkpoints else None

    def watch(self) -> None:
        """Starts to watch; a hook cannot be taken away again."""
        if self._units:
            sys.addaudithook(self._hook)

    def opened(self, path: str) -> None:
        """Notes that the file or directory `path` is read, for readers that do not go through `open`."""
        name = os.path.abspath(path)
        while name not in self._units:
            parent = os.path.dirname(name)
            if parent == name:
                return
            name = parent
        entry = self._units[name]
        if self.read is None or entry.step > self.read.step:
            self.read = entry

    def unread(self) -> Optional[ShownCheckpoint]:
        """The checkpoint that the script should have read by its first step and did not; None where all is well.

        Of those whose names say no step a script may know by itself which one is the right one.
        """
        if self._newest is None or self.read == self._newest:
            return None
        named = [entry for entry in self._units.values() if discover.step_in_name(Path(entry.path).name) is not None]
        wanted = max(named, key=lambda entry: entry.step, default=self._newest)
        return wanted if self.read is None or self.read.step < wanted.step else None

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or self.read == self._newest:
            return
        path, _, flags = arguments
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str) or not isinstance(flags, int):
            return
        if flags & os.O_ACCMODE != os.O_WRONLY and not flags & os.O_TRUNC:
            self.opened(path)


def name_of(entry: ShownCheckpoint) -> str:
    """The path as a script would write it."""
    tree, name = entry.path.split("/")[2], "/".join(entry.path.split("/")[3:])
    return name if tree == WORK else f"$ORCH_CHECKPOINT_DIR/{name}"


def sentence(root: Path, unread: ShownCheckpoint, begins: Optional[int]) -> str:
    """What the rank's error says. `begins`: the step at which the script has begun, where that is known."""
    start = "over at step 0" if not begins else f"at step {begins}"
    load = _LOADS.get(discover.kind_of(root / unread.path) or Kind.TORCH, _LOADS[Kind.TORCH])
    return (
        f"The script did not read {name_of(unread)} (step {unread.step}), the newest whole checkpoint, before its "
        f"first step: it would start {start}. Let it load that, as in {load}, and submit it again with --replace; or "
        "start over on purpose: orch resume --from-scratch. Where it does read it, and not by Python's open, set "
        "instrument: false."
    )


_LOADS = {
    Kind.TRAINER: 'trainer.train(resume_from_checkpoint=os.environ.get("ORCH_RESUME_FROM"))',
    Kind.DEEPSPEED: 'engine.load_checkpoint(os.environ["ORCH_RESUME_FROM"])',
    Kind.ACCELERATE: 'accelerator.load_state(os.environ["ORCH_RESUME_FROM"])',
    Kind.LIGHTNING: 'trainer.fit(model, ckpt_path=os.environ.get("ORCH_RESUME_FROM"))',
    Kind.DCP: 'torch.distributed.checkpoint.load(state, checkpoint_id=os.environ["ORCH_RESUME_FROM"])',
    Kind.TORCH: 'torch.load(os.environ["ORCH_RESUME_FROM"])',
}
