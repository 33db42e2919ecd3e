"""The example for Kubernetes, on a real cluster: released twice and taken back, while people are there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.parts import gateway, images, process
from tests.parts.kube import Kube
from tests.rollout.rig import Users, get

EXAMPLE = Path(__file__).parents[2] / "examples" / "kubernetes"
SPACE = "shop"
PROGRAM = """
import http.server, os
class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("X-Slot", os.environ["VERSION"])
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8080), Shop).serve_forever()
"""


@pytest.mark.slow
@pytest.mark.xdist_group("kube")
def test_it_is_released_twice_and_taken_back_and_no_request_fails(kube: Kube, tmp_path: Path) -> None:
    port = process.free_port()
    words = {"image": images.GUARD, "guard_image": images.GUARD, "command": ["python3", "-c", PROGRAM], "pause": "1s"}
    (tmp_path / "vars.json").write_text(json.dumps(words))
    env = {**os.environ, "HOME": str(tmp_path), "CIFLOW_STATE": str(tmp_path / "state")}
    env["KUBECONFIG"] = str(kube.kubeconfig)

    def ciflow(*argv: str) -> None:
        ended = subprocess.run(
            [sys.executable, "-m", "ciflow", *argv], env=env, capture_output=True, text=True, timeout=180, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def release(version: str) -> None:
        ciflow("apply", str(EXAMPLE / "release.yml"), "-e", f"@{tmp_path}/vars.json", "-e", f"version={version}")

    with ExitStack() as stack:
        try:
            gateway.define(kube, gateway.GATEWAY)
            argv = gateway.traefik_argv(tmp_path / "traefik", "gateway-api", port, process.free_port())
        except process.MissingPart as missing:
            pytest.skip(str(missing))
        edge = [thing for thing in gateway.route("gateway-api", "shop", port) if thing["kind"] != "HTTPRoute"]
        gateway.put_all(kube, SPACE, [*edge, yaml.safe_load((EXAMPLE / "route.yml").read_text())])
        ready = lambda: process.answers("127.0.0.1", port)  # noqa: E731
        stack.enter_context(process.run("traefik", argv, tmp_path, ready, env={"KUBECONFIG": str(kube.kubeconfig)}))
        release("1.0")
        gateway.wait_for(lambda: get(port) == (200, "1.0"))
        with Users(port, rate=100, clients=4) as users:
            release("1.1")
            gateway.wait_for(lambda: {get(port) for _ in range(10)} == {(200, "1.1")})
            ciflow("rollback", "shop")
            gateway.wait_for(lambda: {get(port) for _ in range(10)} == {(200, "1.0")})
        assert users.failures == [] and {status for status, _ in users.seen} == {200}
        assert {version for _, version in users.seen} == {"1.0", "1.1"}
