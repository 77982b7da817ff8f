"""OrchCallback: what a script with a Hugging Face Trainer adds to be stopped, saved and continued safely.

    trainer = Trainer(..., callbacks=[OrchCallback()])
    trainer.train(resume_from_checkpoint=os.environ.get("ORCH_RESUME_FROM"))

Outside orch it does nothing. Under orch, while `train` runs, checkpoints go to $ORCH_CHECKPOINT_DIR whatever
`output_dir` says; each becomes proven when all its files are on disk; orch alone deletes old ones.
"""

from __future__ import annotations

import os
from typing import Any, Optional

from transformers import TrainerCallback

from orchestrator.job.training.instrument.observer import TRAINER, Observer
from orchestrator.job.training.session import Session, peak_memory


class OrchCallback(TrainerCallback):
    """Saves by the job's checkpoint interval and when the agent asks to stop, commits, and keeps progress and metrics.

    `tokens_per_step` makes metrics count tokens; without it they do where the Trainer counts them itself
    (`include_num_input_tokens_seen`). With `say` it prints a line for each logged step; the Trainer prints its own.
    """

    saves_last = True  # a run is finished with a checkpoint

    def __init__(
        self, session: Optional[Session] = None, *, tokens_per_step: Optional[int] = None, say: bool = False
    ) -> None:
        self._session = session or Session.start()
        self._tokens_per_step = tokens_per_step
        self._say = say
        self._output_dir: Optional[str] = None
        self._leaving = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes over where checkpoints go and how many stay; the intervals are this start's, not the checkpoint's."""
        if not self._session.active:
            return
        self._output_dir, args.output_dir = args.output_dir, self._session.checkpoint_dir
        # The Trainer would delete by its own count: also checkpoints that a newer generation relies on.
        args.save_total_limit = None
        # trainer_state.json of the checkpoint has replaced these by what they were when it was saved.
        state.compute_steps(args, state.max_steps)
        self._session.records.start_counting(self._tokens(state))
        self._session.records.progress("training", state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Agrees with the other ranks whether to save now, and whether to leave after it."""
        if not self._session.active:
            return control
        step = state.global_step
        self._session.records.progress("training", step, state.max_steps)
        asked = self._session.agree(step)
        last = step >= state.max_steps
        save = asked or self._session.save_due or (last and self.saves_last)
        # At the last step there is nothing left to stop: it ends as it would have.
        self._leaving = asked and not last
        if save:
            control.should_save = True
            self._session.records.progress("saving", step)
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Writes the line of metrics of a logged step."""
        if not self._session.active or not logs or "loss" not in logs:
            return
        self._session.records.metrics(
            state.global_step,
            float(logs["loss"]),
            self._tokens(state),
            logs.get("learning_rate"),
            peak_memory(),
            say=self._say,
        )

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Commits what the Trainer has just saved; leaves when that was the answer to a request to stop."""
        if not self._session.active:
            return
        directory = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
        self._session.commit(directory, state.global_step)
        if self._leaving:
            self._session.stopped(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Gives the script its own output_dir back, for what it saves after training."""
        if self._output_dir is not None:
            args.output_dir = self._output_dir

    def _tokens(self, state: Any) -> Optional[int]:
        if self._tokens_per_step is not None:
            return int(state.global_step) * self._tokens_per_step
        seen = int(state.num_input_tokens_seen or 0)
        return seen or None


class ScriptCallback(OrchCallback):
    """The same for a script that knows nothing of orch: its output_dir, and what it deletes there, stay its own."""

    saves_last = False

    def __init__(self, observer: Observer) -> None:
        super().__init__(Session.start(explicit=False, seldom=True))
        self._observer = observer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes the intervals of this start, not those in the checkpoint's trainer_state.json."""
        state.compute_steps(args, state.max_steps)
        self._session.records.start_counting(self._tokens(state))
        self._session.records.progress("training", state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """As OrchCallback, on the observer's account."""
        self._observer.took_step(TRAINER, state.global_step, state.max_steps, by="transformers.trainer")
        return super().on_step_end(args, state, control, **kwargs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Commits what lies in one of the generation's own directories."""
        directory = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
        self._observer.commits(
            directory, state.global_step, by="transformers.trainer", spared=state.best_model_checkpoint
        )
        self._session.saved()
        if self._leaving:
            self._session.stopped(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Nothing was taken over."""
