"""What is known of an unmodified script: its steps, its losses, what it saves. One for each rank."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional, TypeVar

from orchestrator.job.protocol import files
from orchestrator.job.protocol.disk import append
from orchestrator.job.protocol.records import Note
from orchestrator.job.training.commit import commit
from orchestrator.job.training.control import Alone, Control
from orchestrator.job.training.environment import Environment
from orchestrator.job.training.records import Records
from orchestrator.job.training.session import Session

Method = TypeVar("Method", bound=Callable[..., Any])
LOG_SECONDS = 2.0  # between two lines of metrics: to read a loss from a GPU waits for the GPU
# Who counts steps: where several do, the library nearest to the script is right.
OPTIMIZER, ENGINE, TRAINER = range(3)


def _harmless(method: Method) -> Method:
    """The method, whose failure never reaches the script: it is told, and the observer sees nothing from then on."""

    @functools.wraps(method)
    def guarded(self: Observer, *args: Any, **kwargs: Any) -> Any:
        if self.blind:
            return None
        try:
            return method(self, *args, **kwargs)
        except Exception:  # noqa: BLE001 - a bug here must not end a script that runs without it
            self.blind = True
            self.failed("the script")
            return None

    return guarded  # type: ignore[return-value]  # known - it takes what the method takes


class Observer:
    """`before_first_step` is called once, before the script's first optimizer step; `opened` with what it reads."""

    def __init__(
        self, environment: Environment, before_first_step: Callable[[], None], opened: Callable[[str], None]
    ) -> None:
        self.environment = environment
        self.blind = False  # after a failure of its own
        self._opened = opened
        self._before_first_step: Optional[Callable[[], None]] = before_first_step
        self._records = Records(environment)
        self._control = Control()
        self._source = OPTIMIZER
        self._step = environment.resume_step
        self._steps: Optional[int] = None
        self._loss: Any = None
        self._loss_of = OPTIMIZER  # the best source of losses so far
        self._logged = 0.0
        self._logged_step: Optional[int] = None
        self._saves = threading.local()  # how deep in a save each thread is: some libraries write in threads
        self._noted: set[str] = set()
        self._unused: dict[str, str] = {}  # what is said of a library once it is used
        self._pending: Optional[tuple[str, int]] = None  # to commit once the other ranks are past their save

    @property
    def silent(self) -> bool:
        """Whether the script has a Session of its own, which writes the records."""
        return Session.explicit

    @_harmless
    def opened(self, path: Any) -> None:
        """A file is read by other means than Python's `open`."""
        if isinstance(path, (str, os.PathLike)):
            self._opened(os.fspath(path))

    def finishes(self) -> None:
        """After the script: its last save and its last step. Raises TrainingError as `starts_step` does."""
        self._commit_pending()
        if self._before_first_step is None and not self.silent:
            self._records.progress("done", self._step, self._steps)

    def _commit_pending(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            commit(Alone(), self.environment, *pending)

    def starts_step(self) -> None:
        """Before an optimizer step. Raises TrainingError when a newer generation has taken over."""
        self._commit_pending()
        if self._before_first_step is not None:
            self._starts_first_step(self._before_first_step)

    @_harmless
    def _starts_first_step(self, check: Callable[[], None]) -> None:
        self._before_first_step = None
        check()

    def counts(self, source: int) -> bool:
        """Whether steps that `source` counts are those of the script."""
        self._source = max(self._source, source)
        return source == self._source and not self.silent

    def meets(self, module: str, text: str) -> None:
        """A library is instrumented, which is said when the script uses it: many import one that they do not use."""
        self._unused[module] = text

    @_harmless
    def uses(self, module: str) -> None:
        """The script uses a library that is instrumented."""
        text = self._unused.pop(module, None)
        if text is not None:
            self.note(text)

    @_harmless
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

    @_harmless
    def keeps_loss(self, loss: Any, source: int = ENGINE) -> None:
        """The newest loss, a tensor of one element, which is read only when it is logged."""
        # A library scales the loss that it is given before it calls `backward` of the tensor.
        detach = getattr(loss, "detach", None)
        if detach is not None and source >= self._loss_of:
            self._loss, self._loss_of = detach(), source

    @_harmless
    def log(self) -> None:
        """Writes a line of metrics for the newest step. Before a save: it says the step of what is saved."""
        if self.silent or self.environment.rank != 0 or self._source == TRAINER or self._step == self._logged_step:
            return
        self._logged_step = self._step
        self._logged = time.monotonic()
        loss = self._loss
        value = float(loss) if loss is not None and getattr(loss, "numel", lambda: 1)() == 1 else None
        self._records.metrics(self._step, value, None, None, None, say=False)

    @contextlib.contextmanager
    def saving(self) -> Iterator[bool]:
        """Around a library's save; whether it is the outermost one, which is what becomes a checkpoint."""
        depth = getattr(self._saves, "depth", 0)
        self._saves.depth = depth + 1
        try:
            yield depth == 0
        finally:
            self._saves.depth = depth

    def commits(
        self,
        directory: str,
        step: Optional[int] = None,
        *,
        by: str,
        spared: Optional[str] = None,
        together: bool = True,
    ) -> None:
        """Proves what all ranks have just saved in `directory`. `spared` is not pruned.

        Every rank calls it, unless they are not `together`: then rank 0 may be the only one, and commits it alone
        at its next step, for which the gradients of all ranks, which are past the save, were needed.

        Raises TrainingError when a newer generation has taken over, or when a file cannot be read back.
        """
        self.log()
        self.uses(by)
        if self.silent:
            return
        if threading.current_thread() is not threading.main_thread():
            return  # the ranks' threads agree on no order; its structure says whether it is whole
        # Rank 0 says what is there: a network file system may not show it to the other nodes yet.
        if not (self._control.share(os.path.isdir(directory)) if together else os.path.isdir(directory)):
            return
        if not self.is_protected(directory):
            self.tell(
                f"the script saves in {directory}, outside of its working directory and of $ORCH_CHECKPOINT_DIR: orch "
                "neither verifies that nor shows it to the next generation; use a relative path"
            )
            return
        step, path = self._step if step is None else step, os.path.abspath(directory)
        if together:
            commit(self._control, self.environment, path, step, spared=spared)
        elif self._control.rank == 0:
            self._pending = path, step

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

    def tell(self, text: str) -> None:
        """The same, in the script's own log, too."""
        if self.environment.rank == 0 and text not in self._noted:
            print(f"orch: {text}", file=sys.stderr, flush=True)
        self.note(text)

    def failed(self, what: str) -> None:
        """An error of orch's own code is told, and the script goes on without it."""
        print(f"orch: {what} is left alone after an error of orch:", file=sys.stderr)
        traceback.print_exc()
        self.note(f"{what} is left alone: orch's own code failed there, see the log of rank 0")
