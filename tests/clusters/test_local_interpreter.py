"""The interpreter of a profile is asked before agents start with it, and not while they live."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.clusters import open_backend
from orchestrator.errors import ClusterError
from orchestrator.model.cluster import Profile
from tests.clusters.conftest import Place

LONG = "import time\nwhile True: time.sleep(0.1)\n"


def test_an_attempt_that_lives_is_adopted_whatever_became_of_its_interpreter(orch_home: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    place = Place(open_backend("local", Profile(kind="local", device="cpu", python=str(python)), orch_home), tmp_path)
    submission, bundle = place.attempt(LONG)
    try:
        handle = place.backend.submit(submission, bundle, {})
        place.until(replace(submission, handle=handle), lambda _: len(place.agents(submission)) == 2)
        python.write_text("#!/bin/sh\nexit 3\n")
        assert place.backend.submit(submission, bundle, {}) == handle
        assert len(place.agents(submission)) == 2
    finally:
        place.kill(submission)
        place.close()
    with pytest.raises(ClusterError, match="does not run Python"):
        place.backend.submit(place.attempt(LONG, number=2)[0], bundle, {})
