"""A watch only makes the next look come sooner: whatever becomes of it, looks give the same answers, and soon."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from orchestrator.clusters.kubernetes.answers import PodObject, read
from orchestrator.clusters.kubernetes.api import Api
from orchestrator.clusters.kubernetes.backend import KubernetesBackend
from orchestrator.clusters.kubernetes.pod_watch import PAUSE, PodWatch
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.model.cluster import Profile
from orchestrator.model.run import Observation, Phase, Question, Submission

LABELS = {"app.kubernetes.io/managed-by": "orch", "orch/run": "one", "orch/run-id": "0123456789ab", "orch/attempt": "1"}
POD = {
    "metadata": {
        "name": "orch-one-1-node-0-0-abcde", "uid": "4f", "creationTimestamp": "2026-11-26T20:00:00Z",
        "labels": {**LABELS, "batch.kubernetes.io/job-completion-index": "0"},
    },
    "spec": {"containers": [{"name": "node"}], "nodeName": "node-1"},
    "status": {"phase": "Running", "containerStatuses": [{"name": "node", "state": {"running": {}}}]},
}  # fmt: skip
JOB = {"metadata": {"name": "orch-one-1", "uid": "4e", "labels": LABELS}, "status": {}}
SUBMISSION = Submission(
    run="one", run_id="0123456789ab", attempt=1, cluster="k8s", digest="", dir="/shared/runs/one",
    checkpoint_dir="", bundle_file="", nodes=1, handle="jobset/orch-one-1",
)  # fmt: skip
GONE = {"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old resource version"}
CHANGE = json.dumps({"type": "MODIFIED", "object": POD}).encode() + b"\n"


class Handler(BaseHTTPRequestHandler):
    """Lists one job and one pod that runs; a watch is what the server's `watch` makes of it."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if query.get("watch"):
            self.server.watched += 1
            self.close_connection = True
            self.server.watch(self)
        elif path.endswith("/log"):
            self.answer(b"2026-11-26T20:00:01.5Z alive\n")
        else:
            kind = path.rpartition("/")[2]
            items = [*{"pods": [POD], "jobsets": [JOB]}.get(kind, []), *self.server.more.get(kind, ())]
            self.answer(json.dumps({"metadata": {"resourceVersion": "7"}, "items": items}).encode())

    def answer(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def begin(self) -> None:
        """A stream, which ends when the connection does."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        """Not on the tests' own output."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    watch: Callable[[Handler], None]
    watched = 0
    more: Mapping[str, list[Any]] = {}

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ended = threading.Event()


def is_not_answered(handler: Handler) -> None:
    handler.server.ended.wait()


def says_nothing(handler: Handler) -> None:
    handler.begin()
    handler.server.ended.wait()


def ends_at_once(handler: Handler) -> None:
    handler.begin()


def is_refused_as_too_old(handler: Handler) -> None:
    handler.answer(json.dumps(GONE).encode(), 410)


def says_that_it_is_too_old(handler: Handler) -> None:
    handler.begin()
    handler.wfile.write(json.dumps({"type": "ERROR", "object": GONE}, separators=(",", ":")).encode() + b"\n")


def repeats_itself(handler: Handler) -> None:
    handler.begin()
    for _ in range(1000):
        handler.wfile.write(CHANGE)
    handler.wfile.flush()
    handler.server.ended.wait()


def is_cut_in_the_middle(handler: Handler) -> None:
    handler.begin()
    handler.wfile.write(CHANGE + CHANGE[:40])


def says_nonsense(handler: Handler) -> None:
    handler.begin()
    handler.wfile.write(b"<html>\n\xff\x00\n")


def goes_on_in_chunks(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(f"{len(CHANGE):x}\r\n".encode() + CHANGE + b"\r\n")
    handler.server.ended.wait()


WATCHES = (
    is_not_answered, says_nothing, ends_at_once, is_refused_as_too_old, says_that_it_is_too_old, repeats_itself,
    is_cut_in_the_middle, says_nonsense, goes_on_in_chunks,
)  # fmt: skip
FAILED = (is_refused_as_too_old, says_that_it_is_too_old)
CHANGED = (repeats_itself, is_cut_in_the_middle, goes_on_in_chunks)


@contextmanager
def serving(watch: Callable[[Handler], None], directory: Path) -> Iterator[tuple[Server, Profile]]:
    server = Server()
    server.watch = watch
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "one",
        "clusters": [{"name": "one", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "one", "user": {}}],
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one", "namespace": "train"}}],
    }  # fmt: skip
    path = directory / f"kubeconfig-{server.server_port}"
    path.write_text(json.dumps(config))
    try:
        yield server, KubernetesProfile(kind="kubernetes", kubeconfig=str(path), job_kind="jobset")
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def looks(profile: Profile, home: Path) -> list[Observation]:
    backend = KubernetesBackend("k8s", profile, home)
    return [backend.observe([Question(submission=SUBMISSION)])["one"] for _ in range(6)]


@pytest.mark.parametrize("watch", WATCHES, ids=lambda watch: watch.__name__)
def test_looks_give_the_same_answers_whatever_becomes_of_the_watch(
    watch: Callable[[Handler], None], tmp_path: Path
) -> None:
    with serving(watch, tmp_path) as (server, profile):
        found = looks(profile, tmp_path / "home")  # one that waited for a watch would do so until the test's time is up
        until(lambda: server.watched > 0)
    assert {one.phase for one in found} == {Phase.STARTING}
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("watch", WATCHES, ids=lambda watch: watch.__name__)
def test_a_watch_rings_at_changes_and_rests_after_it_has_failed(
    watch: Callable[[Handler], None], tmp_path: Path
) -> None:
    pauses: list[float] = []
    with serving(watch, tmp_path) as (server, profile):
        pods = PodWatch(Api("k8s", profile), pauses.append)
        pods.watch_from("7")
        assert server.watched == 0  # who looks once and goes needs none
        pods.watch_from("7")
        until(lambda: server.watched == 1)
        if watch in CHANGED:
            until(lambda: pods.is_set)
            pods.begin()
        elif watch in FAILED:
            until(lambda: pauses == [PAUSE])
            assert not pods.is_set


def test_nothing_is_asked_on_the_connection_of_a_stream_that_was_given_up(tmp_path: Path) -> None:
    with serving(goes_on_in_chunks, tmp_path) as (_, profile):
        api = Api("k8s", profile)
        for lines in api.lines(api.core("pods"), (("watch", "true"),), seconds=60):
            assert lines == [CHANGE.rstrip()]
            break
        assert api.list(PodObject, api.core("pods")).items == (read(PodObject, POD),)


@pytest.mark.parametrize("kind", ["pods", "jobsets"])
def test_an_object_of_an_impossible_shape_is_reported_with_its_run_and_hides_no_other(
    kind: str, tmp_path: Path
) -> None:
    two = Submission(
        run="two", run_id="ba9876543210", attempt=1, cluster="k8s", digest="", dir="/shared/runs/two",
        checkpoint_dir="", bundle_file="", nodes=1, handle="jobset/orch-two-1",
    )  # fmt: skip
    labels = {**LABELS, "orch/run": "two", "orch/run-id": "ba9876543210"}
    broken = {"metadata": {"name": "orch-two-1", "labels": labels}, "status": {"conditions": 7}}
    with serving(ends_at_once, tmp_path) as (server, profile):
        server.more = {kind: [broken]}
        backend = KubernetesBackend("k8s", profile, tmp_path / "home")
        seen = backend.observe([Question(submission=SUBMISSION), Question(submission=two)])
    assert seen["one"].phase is Phase.STARTING
    assert seen["two"].phase is Phase.UNKNOWN
    assert "orch-two-1: status.conditions: wanted a list, found 7" in seen["two"].because


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)
