"""The example service: it builds without a registry, and its switch makes a build faulty for traffic alone."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ciflow.cargo import messages

SHIELD = Path(__file__).parents[2] / "examples" / "shield"


def cargo_build(target: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["cargo", "build", "--locked", "--offline", "--message-format=json"]
    # No wrapper: a compiler cache that is set up for the user's own builds is no part of this test.
    env = os.environ | {"CARGO_TARGET_DIR": str(target), "RUSTC_WRAPPER": "", **variables}
    return subprocess.run(command, cwd=SHIELD, env=env, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cargo") is None:
        pytest.skip("cargo builds the example")
    return tmp_path_factory.mktemp("shield")


@pytest.fixture(scope="module")
def builds(target: Path) -> dict[str, Path]:
    """The server with each fault; one target directory, so that only the server is built three times."""
    made: dict[str, Path] = {}
    for fault in ("none", "errors", "slow"):
        done = cargo_build(target, SHIELD_FAULT=fault, SHIELD_VERSION=f"9.0.0-{fault}")
        assert done.returncode == 0, done.stderr
        built = messages.parse(done.stdout).executables()["shield-server"]
        made[fault] = Path(shutil.copy(built, target / f"server-{fault}"))
    return made


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[str]
    port: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)


@contextmanager
def running(program: Path) -> Iterator[Server]:
    process = subprocess.Popen([program, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rstrip().rpartition(":")[2])
        yield Server(process, port)
    finally:
        process.kill()
        process.communicate()


def get(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()


def test_a_good_build_answers_every_page(builds: dict[str, Path]) -> None:
    with running(builds["none"]) as server:
        client = server.connect()
        assert get(client, "/healthz") == (200, b"ok")
        assert json.loads(get(client, "/version")[1]) == {"version": "9.0.0-none", "fault": "none"}
        assert {get(client, "/") for _ in range(500)} == {(200, b"shield 9.0.0-none\n")}


def test_a_build_with_errors_is_healthy_and_fails_one_request_in_five(builds: dict[str, Path]) -> None:
    with running(builds["errors"]) as server:
        client = server.connect()
        assert {get(client, "/healthz")[0] for _ in range(200)} == {200}
        assert json.loads(get(client, "/version")[1])["fault"] == "errors"
        failed = [get(client, "/")[0] for _ in range(2000)].count(500)
        assert 320 <= failed <= 480  # 400 expected, standard deviation 18


def test_a_slow_build_is_healthy_and_delays_one_request_in_five(builds: dict[str, Path]) -> None:
    def took(path: str) -> float:
        since = time.monotonic()
        assert get(client, path)[0] == 200
        return time.monotonic() - since

    with running(builds["slow"]) as server:
        client = server.connect()
        assert min(took("/healthz") for _ in range(40)) < 0.1
        delayed = [took("/") >= 0.1 for _ in range(100)]
        assert any(delayed) and not all(delayed)  # 20 expected; none, once in five thousand million times


def test_sigterm_finishes_the_request_in_hand(builds: dict[str, Path]) -> None:
    with running(builds["slow"]) as server:
        clients = [server.connect() for _ in range(20)]
        for client in clients:
            client.request("GET", "/healthz")
            assert client.getresponse().read() == b"ok"
        for client in clients:
            client.request("GET", "/")
        while unread(server.port):
            time.sleep(0.005)
        server.process.send_signal(signal.SIGTERM)
        assert [client.getresponse().status for client in clients] == [200] * 20
        assert server.process.wait(timeout=60) == 0


def unread(port: int) -> bool:
    """Whether a request waits at that port for its program to read it."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(line[1].endswith(f":{port:04X}") and not line[4].endswith(":00000000") for line in lines)


def test_a_taken_port_is_said_plainly(builds: dict[str, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([builds["none"], "--port", port], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr


def test_an_unknown_fault_does_not_build(builds: dict[str, Path], target: Path) -> None:
    assert builds
    done = cargo_build(target, SHIELD_FAULT="sometimes")
    assert done.returncode != 0
    assert 'SHIELD_FAULT is one of ["none", "errors", "slow"], not "sometimes"' in done.stderr
