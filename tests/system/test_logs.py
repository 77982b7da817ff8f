"""Log records: how a line looks, what it belongs to, and what never gets into one."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orchestrator.clusters.kubernetes.api import Api
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.clusters.transport import LocalTransport, SshTransport
from orchestrator.job.protocol.operations.commands import CommandResult, RunCommand
from orchestrator.job.remote import wire
from orchestrator.system import logs
from tests import log

SECRET = "hf_notforlogs0123456789"
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture(autouse=True)
def _without_a_log_afterwards() -> Iterator[None]:
    with log.cleared():
        yield


def test_a_line_has_its_time_level_run_and_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_stderr("info")
    with logs.about(cluster="hpc"), logs.about(run="tiny"):
        logging.getLogger("orchestrator.controller.tick").warning("it does not answer")
    logging.getLogger("orchestrator.controller.tick").info("over")
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"{STAMP} WARNING run=tiny cluster=hpc it does not answer", first)
    assert re.fullmatch(rf"{STAMP} INFO over", second)


def test_a_line_of_json_has_the_traceback_of_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_stderr("info", "json")
    try:
        dict[str, int]()["step"]
    except KeyError as error:
        logging.getLogger("orchestrator.x").exception("a bug in orch: %s", error)  # noqa: TRY401 - as the controller does
    [line] = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["level"], found["logger"], found["message"]) == ("ERROR", "orchestrator.x", "a bug in orch: 'step'")
    assert found["traceback"].endswith("KeyError: 'step'")


def test_records_of_other_packages_and_of_lower_levels_go_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_stderr("info")
    logging.getLogger("kubernetes.client.rest").debug("response body: %s", SECRET)
    logging.getLogger("orchestrator.x").debug("detail")
    assert capsys.readouterr().err == ""


def test_a_log_file_is_rotated(tmp_path: Path) -> None:
    logs.to_file(tmp_path / "controller.log", "info", max_bytes=2000)
    for number in range(200):
        logging.getLogger("orchestrator.x").info("line %d", number)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "controller.log",
        *(f"controller.log.{number}" for number in range(1, logs.KEPT + 1)),
    ]


def test_a_schedulers_command_is_one_line_without_its_output_and_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.to_stderr("debug")
    monkeypatch.setenv("HF_TOKEN", SECRET)
    LocalTransport().call(RunCommand(("sh", "-c", "env; exit 3")))
    [line] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"{STAMP} DEBUG sh -c 'env; exit 3': exit status 3 in \d+ ms", line)


def test_a_call_of_ssh_is_one_line_and_the_command_there_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = wire.reply([CommandResult(0, stdout=SECRET, seconds=0.25)])
    program = tmp_path / "ssh"
    program.write_text(
        f"#!/bin/sh\ncase $* in *-G*) echo controlpath none; exit;; esac\ncat >/dev/null\ncat <<'E'\n{answer}\nE\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    logs.to_stderr("debug", "json")
    with logs.about(cluster="hpc"):
        SshTransport("login1").call(RunCommand(("squeue", "--me")))
    shown = capsys.readouterr().err
    first, second = map(json.loads, shown.splitlines())
    assert (first["cluster"], first["call"], first["status"]) == ("hpc", "ssh login1: RunCommand", "exit status 0")
    assert (second["call"], second["duration_ms"], second["status"]) == ("squeue --me", 250.0, "exit status 0")
    assert SECRET not in shown


class _Server(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"data": {"token": SECRET}}).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name of its parent's
        """Say nothing on stderr."""


def test_a_request_to_kubernetes_is_one_line_without_body_and_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        config = tmp_path / "kubeconfig"
        config.write_text(
            json.dumps(
                {
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                    "clusters": [{"name": "k", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                    "users": [{"name": "u", "user": {"token": SECRET}}],
                }
            )
        )
        api = Api("gke", KubernetesProfile(kind="kubernetes", kubeconfig=str(config)))
        logs.to_stderr("debug")
        api.create("/api/v1/namespaces/default/secrets", {"stringData": {"token": SECRET}})
    finally:
        server.shutdown()
        server.server_close()
    [line] = capsys.readouterr().err.splitlines()
    where = re.escape(f"http://127.0.0.1:{server.server_port}/api/v1/namespaces/default/secrets")
    assert re.fullmatch(rf"{STAMP} DEBUG cluster=gke POST {where}: HTTP status 201 in \d+ ms", line)


def test_nobody_pays_for_calls_that_nobody_logs(capsys: pytest.CaptureFixture[str]) -> None:
    logs.call("orchestrator.x", "squeue", time.monotonic(), "exit status 0")
    assert capsys.readouterr().err == ""
