"""What is known of an unmodified script: its steps, its losses, what it saves. One for each rank."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

from orchestrator.job.protocol import files
from orchestrator.job.protocol.disk import append
from orchestrator.job.protocol.records import Note
from orchestrator.job.training.commit import commit
from orchestrator.job.training.control import Control
from orchestrator.job.training.environment import Environment
from orchestrator.job.training.records import Records
from orchestrator.job.training.session import Session

LOG_SECONDS = 2.0  # between two lines of metrics: to read a loss from a GPU waits for the GPU
# Who counts steps: where several do, the library nearest to the script is right.
OPTIMIZER, ENGINE, TRAINER = range(3)


class Observer:
    """`before_first_step` is called once, before the script's first optimizer step; `opened` with what it reads."""

    def __init__(
        self, environment: Environment, before_first_step: Callable[[], None], opened: Callable[[str], None]
    ) -> None:
        self.environment = environment
        self.opened = opened
        self._before_first_step: Optional[Callable[[], None]] = before_first_step
        self._records = Records(environment)
        self._control = Control()
        self._source = OPTIMIZER
        self._step = environment.resume_step
        self._steps: Optional[int] = None
        self._loss: Any = None
        self._logged = 0.0
        self._saving = 0
        self._noted: set[str] = set()
        self._unused: dict[str, str] = {}  # what is said of a library once it is used

    @property
    def silent(self) -> bool:
        """Whether the script has a Session of its own, which writes the records."""
        return Session.explicit

    def starts_step(self) -> None:
        """Before an optimizer step."""
        check, self._before_first_step = self._before_first_step, None
        if check is not None:
            check()

    def counts(self, source: int) -> bool:
        """Whether steps that `source` counts are those of the script."""
        self._source = max(self._source, source)
        return source == self._source and not self.silent

    def meets(self, module: str, text: str) -> None:
        """A library is instrumented, which is said when the script uses it: many import one that they do not use."""
        self._unused[module] = text

    def uses(self, module: str) -> None:
        """The script uses a library that is instrumented."""
        text = self._unused.pop(module, None)
        if text is not None:
            self.note(text)

    def took_step(
        self, source: int, step: Optional[int] = None, steps: Optional[int] = None, *, by: str = "torch"
    ) -> None:
        """After an optimizer step. `step`: its number from the beginning of the run, where `source` knows it."""
        if not self.counts(source):
            return
        self.uses(by)
        self._step, self._steps = (self._step + 1 if step is None else step), steps
        self._records.progress("training", self._step, self._steps)
        if time.monotonic() - self._logged >= LOG_SECONDS:
            self.log()

    def keeps_loss(self, loss: Any) -> None:
        """The newest loss, a tensor of one element, which is read only when it is logged."""
        detach = getattr(loss, "detach", None)
        self._loss = detach() if detach is not None else None

    def log(self) -> None:
        """Writes a line of metrics for the newest step. Before a save: it says the step of what is saved."""
        if self.silent or self.environment.rank != 0 or self._source == TRAINER:
            return
        self._logged = time.monotonic()
        loss = self._loss
        value = float(loss) if loss is not None and getattr(loss, "numel", lambda: 1)() == 1 else None
        self._records.metrics(self._step, value, None, None, None, say=False)

    @contextlib.contextmanager
    def saving(self) -> Iterator[bool]:
        """Around a library's save; whether it is the outermost one, which is what becomes a checkpoint."""
        self._saving += 1
        try:
            yield self._saving == 1
        finally:
            self._saving -= 1

    def commits(self, directory: str, step: Optional[int] = None, *, by: str, spared: Optional[str] = None) -> None:
        """Proves what all ranks have just saved in `directory`; every rank calls it. `spared` is not pruned.

        Raises TrainingError when a newer generation has taken over, or when a file cannot be read back.
        """
        self.log()
        self.uses(by)
        if self.silent or not os.path.isdir(directory):
            return
        if not self.is_protected(directory):
            self.note(
                f"the script saves in {directory}, outside of its working directory and of $ORCH_CHECKPOINT_DIR: orch "
                "neither verifies that nor shows it to the next generation; use a relative path"
            )
            return
        step = self._step if step is None else step
        commit(self._control, self.environment, os.path.abspath(directory), step, spared=spared)

    def is_protected(self, path: str) -> bool:
        """Whether `path` lies in one of the directories that the generation has of its own."""
        return Path(self.environment.generation_dir) in Path(os.path.abspath(path)).parents

    def note(self, text: str) -> None:
        """Has `orch events` say a sentence of this generation, once."""
        if self.environment.rank != 0 or text in self._noted:
            return
        self._noted.add(text)
        with contextlib.suppress(OSError):  # a full disk is judged elsewhere
            append(Path(self.environment.generation_dir) / files.NOTES, Note(text, time.time()))

    def failed(self, what: str) -> None:
        """An error of orch's own code is told, and the script goes on without it."""
        print(f"orch: {what} is left alone after an error of orch:", file=sys.stderr)
        traceback.print_exc()
        self.note(f"{what} is left alone: orch's own code failed there, see the log of rank 0")
