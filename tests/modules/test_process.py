"""Programs that go on without the controller, on a real host: this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ciflow.modules.process import _TAIL_BYTES
from tests.modules.host import Host, this_machine
from tests.parts.process import wait_for

SERVER = """
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = sys.argv[2].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Version", sys.argv[2])
        self.end_headers()
        self.wfile.write(body)
print("listening", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def started(host: Host) -> Iterator[list[dict[str, Any]]]:
    """Processes that a test has started, stopped at its end whatever became of it."""
    names: list[dict[str, Any]] = []
    yield names
    for args in names:
        host.task(args.get("verb", "process"), {"name": args["name"], "state": "stopped"})


def says(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
        return str(answer.read().decode())


def server(name: str, port: int, word: str) -> dict[str, Any]:
    argv = [sys.executable, "-c", SERVER, str(port), word]
    return {"name": name, "argv": argv, "health": {"url": f"http://127.0.0.1:{port}/", "timeout": 90.0}}


def test_a_process_is_started_once_replaced_by_another_and_stopped(host: Host, port: int, started: list[Any]) -> None:
    args = server("page", port, "one")
    started.append(args)
    first, again = host.task("process", args), host.task("process", args)
    assert not first.failed, first.msg
    assert (first.changed, again.changed) == (True, False), "a live one with the same program is left alone"
    assert first.data["pid"] == again.data["pid"]
    other = host.task("process", server("page", port, "two"))
    assert (other.changed, says(port)) == (True, "two")
    assert Path(other.data["log"]).read_text().startswith("listening")
    assert host.task("process", {"name": "page", "state": "stopped"}).changed
    assert not host.task("process", {"name": "page", "state": "stopped"}).changed
    with pytest.raises(OSError):
        says(port)


def test_a_process_outlives_its_controller_and_is_restarted_when_it_dies(
    host: Host, port: int, started: list[Any]
) -> None:
    args = server("lasting", port, "here")
    started.append(args)
    with this_machine() as controller:
        begun = controller.task("process", args)
        assert not begun.failed, begun.msg
        pid = begun.data["pid"]
    assert says(port) == "here", "the controller that started it has gone"
    os.kill(pid, signal.SIGKILL)

    def restarted() -> bool:
        state = host.task("process", {"name": "lasting", "state": "status"}).data
        return bool(state.get("restarts")) and state.get("pid") not in (0, pid)

    wait_for(restarted)
    assert host.task("process", {**args, "state": "started"}).data["pid"] != pid


def test_a_process_that_dies_at_once_says_why(host: Host, port: int, started: list[Any]) -> None:
    broken = "import sys; print('x' * 9000); sys.exit('no such backend: shield')"
    args = {"name": "broken", "argv": [sys.executable, "-c", broken], "health": {"port": port, "timeout": 600.0}}
    started.append(args)
    outcome = host.task("process", args)
    assert outcome.failed
    assert "died while starting (exit code 1)" in outcome.msg
    assert outcome.msg.endswith("no such backend: shield")
    assert len(outcome.msg) < _TAIL_BYTES + 500


def test_a_load_runs_by_itself_and_tells_what_came_back(host: Host, port: int, started: list[Any]) -> None:
    page = server("loaded", port, "1.2")
    wish = {"name": "users", "url": f"http://127.0.0.1:{port}/", "rate": 50.0, "version_header": "X-Version"}
    wish |= {"python": sys.executable}
    started += [{"name": "users", "verb": "load"}, page]
    host.task("process", page)
    first, again = host.task("load", wish), host.task("load", wish)
    assert not first.failed, first.msg
    assert (first.changed, again.changed) == (True, False)

    def served() -> int:
        return int(host.task("load", {"name": "users", "state": "report"}).data["served"])

    wait_for(lambda: served() > 20)
    before = served()
    ended = host.task("load", {"name": "users", "state": "stopped"})
    assert ended.changed
    assert ended.data["served"] >= before
    assert (ended.data["failures"], ended.data["state"]) == (0, "ended")
    assert ended.data["by_version"] == {"1.2": {"served": ended.data["served"]}}
    assert json.loads(Path(first.data["report"]).read_text())["served"] == ended.data["served"]
