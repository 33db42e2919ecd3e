"""The example for Kubernetes, on a real cluster: released twice and taken back, while people are there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.parts import gateway, images, process
from tests.parts.kube import AUDITED, Kube, Refused
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

    def ciflow(*argv: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-m", "ciflow", *argv], env=env, capture_output=True, text=True, timeout=180, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def release(version: str, *more: str) -> None:
        known = ("-e", f"@{tmp_path}/vars.json", "-e", f"version={version}", *more)
        ciflow("apply", str(EXAMPLE / "release.yml"), *known)

    with ExitStack() as stack:
        gateway.define(kube, gateway.GATEWAY)
        argv = gateway.traefik_argv(tmp_path / "traefik", "gateway-api", port, process.free_port(), SPACE)
        edge = [thing for thing in gateway.route("gateway-api", "shop", port) if thing["kind"] != "HTTPRoute"]
        gateway.put_all(kube, SPACE, [*edge, yaml.safe_load((EXAMPLE / "route.yml").read_text())])
        ready = lambda: process.answers("127.0.0.1", port)  # noqa: E731
        stack.enter_context(process.run("traefik", argv, tmp_path, ready, env={"KUBECONFIG": str(kube.kubeconfig)}))
        role = json.loads(ciflow("doctor", "--rbac", str(EXAMPLE / "release.yml"), "--json"))["roles"][0]
        env["KUBECONFIG"] = str(as_account(kube, role, tmp_path))
        release("1.0")
        process.wait_for(lambda: get(port) == (200, "1.0"))
        with Users(port, rate=100, clients=4) as users:
            release("1.1")
            process.wait_for(lambda: {get(port) for _ in range(10)} == {(200, "1.1")})
            ciflow("rollback", "shop")
            process.wait_for(lambda: {get(port) for _ in range(10)} == {(200, "1.0")})
            old = live_slot(kube)
            release("1.2", "-e", "warm=2s")
            process.wait_for(lambda: not exists(kube, f"apis/apps/v1/namespaces/{SPACE}/deployments/shop-{old}"))
        assert users.failures == [] and {status for status, _ in users.seen} == {200}
        assert {version for _, version in users.seen} == {"1.0", "1.1", "1.2"}
        scalers = f"apis/autoscaling/v2/namespaces/{SPACE}/horizontalpodautoscalers"
        assert not exists(kube, f"{scalers}/shop-{old}") and live_slot(kube) != old
        given = {(r["apiGroups"][0], r["resources"][0], v) for r in role["rules"] for v in r["verbs"]}
        asked = asked_for(kube)
        assert asked <= given
        for group, resource, verb in given - asked:  # what a good day on this cluster does not show
            assert verb in ("create", "delete", "list", "watch"), (group, resource, verb)


def as_account(kube: Kube, role: dict[str, Any], folder: Path) -> Path:
    """A kubeconfig of an account that has this role and no other."""
    rbac, name = f"apis/rbac.authorization.k8s.io/v1/namespaces/{SPACE}", {"metadata": {"name": AUDITED}}
    accounts = f"/api/v1/namespaces/{SPACE}/serviceaccounts"
    kube.ask("POST", accounts, name)
    kube.ask("POST", f"/{rbac}/roles", role)
    who = {"kind": "ServiceAccount", "name": AUDITED, "namespace": SPACE}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]}
    kube.ask("POST", f"/{rbac}/rolebindings", {**name, "subjects": [who], "roleRef": ref})
    token = kube.ask("POST", f"{accounts}/{AUDITED}/token", {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    path = folder / "least.kubeconfig"
    path.write_text(
        re.sub(r'"user": \{"client-[^}]*\}', f'"user": {{"token": "{token}"}}', kube.kubeconfig.read_text())
    )
    return path


def asked_for(kube: Kube) -> set[tuple[str, str, str]]:
    """What that account has asked for, by the server's own audit: (group, resource, verb)."""
    found = set()
    for line in (kube.folder / "audit.log").read_text().splitlines():
        event = json.loads(line)
        if "objectRef" in event:
            assert event["responseStatus"]["code"] != 403, event
            found.add((event["objectRef"].get("apiGroup", ""), event["objectRef"]["resource"], event["verb"]))
    return found


def live_slot(kube: Kube) -> str:
    route = kube.ask("GET", f"/apis/gateway.networking.k8s.io/v1/namespaces/{SPACE}/httproutes/shop")
    return str(json.loads(route["metadata"]["annotations"]["dial.ciflow/shop"])["live"])


def exists(kube: Kube, path: str) -> bool:
    try:
        kube.ask("GET", f"/{path}")
    except Refused:
        return False
    return True
