"""Random histories: whatever the order of claims, saves, commits, prunes, damage and late writers, the laws hold."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.job.checkpoints import choose, claiming, generations, journal, retention
from orchestrator.job.checkpoints.verify import verify
from orchestrator.job.protocol.records import Claim
from tests.job.checkpoints import history


class Histories(RuleBasedStateMachine):
    """Generations live on as zombies: each of them may save, commit and prune long after it was overtaken."""

    actors = Bundle("actors")

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.root = Path(self._directory.name)
        self.step = 0
        self.attempt = 1
        self.claims: dict[int, Claim] = {}
        self.in_time: set[str] = set()  # commits that were made before the next claim
        self.announced: list[str] = []  # deletions of stopped processes, still to come
        self.damaged: set[str] = set()

    def teardown(self) -> None:
        self._directory.cleanup()

    @property
    def newest(self) -> int:
        return max(self.claims, default=0)

    @rule(target=actors)
    def claim(self) -> int:
        try:
            made = history.claim(self.root, attempt=self.attempt, max_failures=10_000)
        except claiming.Refused:
            self.attempt += 1
            with pytest.raises(claiming.Refused, match="none of them is proven"):
                history.claim(self.root, attempt=self.attempt, max_failures=10_000)
            made = history.claim(self.root, attempt=self.attempt, from_scratch=True, max_failures=10_000)
        self.claims[made.generation] = made
        for entry in made.sealed:
            assert entry.path in self.in_time, "only what was committed before the claim is sealed"
            assert entry.path not in self.damaged
            assert verify(self.root / entry.path).proven or entry.path in self.announced
        assert made.resume is None or made.resume.path == made.sealed[0].path
        return made.generation

    @rule(actor=actors, commit=st.booleans())
    def save(self, actor: int, *, commit: bool) -> None:
        self.step += 10
        path = (history.commit if commit else history.save)(self.root, actor, self.step)
        if commit and actor == self.newest:
            self.in_time.add(path.relative_to(self.root).as_posix())

    @rule(actor=actors, keep=st.integers(0, 3))
    def prune(self, actor: int, keep: int) -> None:
        before = self._proven()
        retention.prune(self.root, actor, keep)
        after = self._proven()
        assert bool(after) == bool(before), "the last proven one is never pruned"
        assert after[: max(keep, 1)] == before[: max(keep, 1)], "the newest few stay"

    @rule(actor=actors, keep=st.integers(1, 2))
    def stop_in_the_middle_of_a_prune(self, actor: int, keep: int) -> None:
        """The plan of a process that is stopped between its last look at the fence and its announcement."""
        claim = generations.read_claim(self.root, actor)
        assert claim is not None
        paths = retention.plan(retention.survey(self.root, claim), generation=actor, keep=keep)
        if paths and journal.announce(self.root, actor, paths):
            self.announced.extend(paths)

    @precondition(lambda self: self.announced)
    @rule()
    def wake_and_delete(self) -> None:
        path = self.root / self.announced.pop()
        if path.exists():
            retention.delete(path)

    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        candidates = [candidate.path for candidate in choose.counted(self.root)]
        if candidates:
            path = data.draw(st.sampled_from(candidates))
            (self.root / path / "latest").write_text("damaged")
            self.damaged.add(path)

    @invariant()
    def what_is_chosen_is_proven_and_sealed_or_own(self) -> None:
        choice = choose.choose(self.root)
        if choice.chosen is None:
            return
        newest = generations.newest_claim(self.root)
        assert newest is not None
        sealed = {entry.path for entry in newest.sealed}
        own = choice.chosen.path.startswith(f"generations/{newest.generation:06d}/")
        assert own or choice.chosen.path in sealed
        assert choice.chosen.path in self.in_time
        assert verify(self.root / choice.chosen.path).proven

    @invariant()
    def what_a_claim_sealed_is_there_until_its_own_generation_prunes_it(self) -> None:
        newest = generations.newest_claim(self.root)
        if newest is None:
            return
        gone = journal.announced(self.root, newest.generation)
        for entry in newest.sealed:
            assert entry.path in gone or (self.root / entry.path).is_dir()

    def _proven(self) -> list[str]:
        found = [candidate.path for candidate in choose.counted(self.root)]
        return [path for path in found if verify(self.root / path, contents=False).proven]


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
