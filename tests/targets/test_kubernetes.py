"""Clusters as they are on bad days: servers that refuse, forget and restart, pods that vanish, credentials that end."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ciflow.diagnostics import Unreachable
from ciflow.model import Exec, Reply
from ciflow.targets import Connection, kubernetes
from ciflow.targets.kube_api import ask_kubernetes
from ciflow.targets.kubernetes import Cluster
from ciflow.targets.told import Ended
from tests.engine.playing import Bench
from tests.parts import images
from tests.parts.kube import Kube
from tests.parts.pki import Authority
from tests.parts.process import wait_for
from tests.targets.parley import Parley

pytestmark = pytest.mark.slow
Said = tuple[int, dict[str, str], Any] | str  # an answer in place of the server's, or "lose": done, and not answered


@dataclass
class Moody:
    """An API server's front that is asked in plain HTTP, and for each request may be moody once."""

    cluster: Kube
    moods: list[tuple[str, str, Said]] = field(default_factory=list)  # method, part of the address, what happens
    heard: list[str] = field(default_factory=list)
    always: tuple[int, dict[str, str]] | None = None
    port: int = 0

    def mood(self, method: str, path: str) -> Said | None:
        if self.always:
            return (*self.always, {"message": "not now"})
        for one in self.moods:
            if one[0] == method and one[1] in path:
                self.moods.remove(one)
                return one[2]
        return None

    def ask(self, method: str, path: str, body: bytes | None, kind: str) -> tuple[int, dict[str, str], bytes]:
        pki = self.cluster.folder / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        request = urllib.request.Request(self.cluster.url + path, body, {"Content-Type": kind}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as reply:
                return reply.status, dict(reply.headers), reply.read()
        except urllib.error.HTTPError as refused:
            return refused.code, dict(refused.headers), refused.read()


@pytest.fixture
def moody(kube: Kube) -> Iterator[Moody]:
    front = Moody(kube)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.handle_one
            raise AttributeError(name)

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            front.heard.append(self.command)
            said = front.mood(self.command, self.path)
            if isinstance(said, tuple):
                status, headers, content = said[0], said[1], json.dumps(said[2]).encode() + b"\n"
            else:
                kind = self.headers.get("Content-Type") or ""
                status, headers, content = front.ask(self.command, self.path, body, kind)
                headers = {"Content-Type": headers.get("Content-Type", "")}
            if said == "lose":
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    front.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield front
    server.shutdown()
    server.server_close()


@pytest.fixture
def ask(moody: Moody, tmp_path: Path) -> Callable[..., Reply]:
    """`ask("apply", colour="red")`: one request about the ConfigMap of this test, through the moody front."""
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{moody.port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": ""}}],
        "current-context": "c",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    name = f"m{time.time_ns()}"

    def one(verb: str, colour: str = "", **words: Any) -> Reply:
        request: dict[str, Any] = {"verb": verb, "kubeconfig": str(path), "api_version": "v1", "kind": "ConfigMap"}
        request |= {"name": name, **words}
        if colour:
            request["object"] = {
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"colour": colour},
            }  # fmt: skip
        return ask_kubernetes(request, threading.Event())

    return one


@pytest.mark.fault(19)
def test_too_many_requests_are_asked_again_when_the_server_says(moody: Moody, ask: Callable[..., Reply]) -> None:
    moody.moods = [("PATCH", "configmaps", (429, {"Retry-After": "2"}, {"message": "slow down"}))]
    began = time.monotonic()
    reply = ask("apply", "red")
    assert reply.changed and reply.data["after"]["data"] == {"colour": "red"}
    assert time.monotonic() - began >= 2
    assert moody.heard.count("PATCH") == 2


@pytest.mark.fault(19)
def test_a_server_that_never_has_time_is_not_asked_for_ever(
    moody: Moody, ask: Callable[..., Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("apply", "red")
    monkeypatch.setattr(kubernetes, "PATIENCE", 2.5)
    moody.always = (429, {"Retry-After": "1"})
    began = time.monotonic()
    reply = ask("read")
    assert not reply.ok and reply.error == "not now"
    assert 1 <= time.monotonic() - began < 60


@pytest.mark.fault(19)
def test_an_object_is_read_before_a_refused_write_is_made_again(moody: Moody, ask: Callable[..., Reply]) -> None:
    moody.moods = [("PATCH", "configmaps", (500, {}, {"message": "etcd is busy"}))]
    assert ask("apply", "red").changed
    written = moody.heard[moody.heard.index("PATCH") :]
    assert written == ["PATCH", "GET", "PATCH"]


@pytest.mark.fault(19)
def test_a_write_whose_answer_was_lost_is_neither_lost_nor_taken_for_no_change(
    moody: Moody, ask: Callable[..., Reply]
) -> None:
    ask("apply", "red")
    moody.moods = [("PATCH", "configmaps", "lose")]
    reply = ask("apply", "blue")
    assert reply.changed and reply.data["after"]["data"] == {"colour": "blue"}
    assert reply.data["before"]["data"] == {"colour": "red"}
    moody.moods = [("DELETE", "configmaps", "lose")]
    assert ask("delete").changed
    assert ask("read").data == {"objects": []}


@pytest.mark.fault(20)
def test_a_write_that_met_another_is_made_again_on_what_is_there_now(moody: Moody, ask: Callable[..., Reply]) -> None:
    conflict = {"message": "the object has been modified", "reason": "Conflict", "code": 409}
    moody.moods = [("PATCH", "configmaps", (409, {}, conflict))]
    assert ask("apply", "red").ok
    assert moody.heard.count("PATCH") == 2


@pytest.mark.fault(21)
def test_a_watch_that_expires_makes_nothing_be_missed(moody: Moody, ask: Callable[..., Reply]) -> None:
    """410 Gone in the stream: what has happened meanwhile is read."""
    ask("apply", "red")
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
    moody.moods = [("GET", "watch=1", (200, {}, gone)), ("GET", "watch=1", (410, {}, gone["object"]))]
    threading.Timer(1.0, ask, ["delete"]).start()
    began = time.monotonic()
    assert ask("wait", absent=True, timeout=300).ok
    assert time.monotonic() - began < 150
    assert not moody.moods


@pytest.mark.fault(21)
def test_a_list_whose_time_is_over_is_begun_anew(moody: Moody, ask: Callable[..., Reply]) -> None:
    ask("apply", "red")
    first = {"items": [], "metadata": {"continue": "more"}}
    moody.moods = [("GET", "limit=500", (200, {}, first)), ("GET", "continue=more", (410, {}, {"message": "expired"}))]
    found = ask("read", name="").data["objects"]
    assert any(one["data"] == {"colour": "red"} for one in found if "data" in one)


# --- credentials -----------------------------------------------------------------------------------------


def kubeconfig(kube: Kube, path: Path, user: dict[str, Any]) -> str:
    config = json.loads(kube.kubeconfig.read_text())
    config["users"] = [{"name": "u", "user": user}]
    config["contexts"][0]["context"]["user"] = "u"
    path.write_text(json.dumps(config))
    return str(path)


def account_token(kube: Kube, name: str) -> str:
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    kube.ask("POST", accounts, {"metadata": {"name": name}})
    answer = kube.ask("POST", f"{accounts}/{name}/token", {"spec": {"expirationSeconds": 600}})
    return str(answer["status"]["token"])


@pytest.mark.fault(22)
def test_credentials_that_end_in_the_middle_are_fetched_anew(kube: Kube, tmp_path: Path) -> None:
    """By the exec plugin of the kubeconfig, which gives another token than before."""
    token, plugin = tmp_path / "token", tmp_path / "plugin"
    token.write_text(account_token(kube, "refresher"))
    plugin.write_text(
        "#!/bin/sh\n"
        'printf \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}\' '
        f'"$(cat {token})"\n'
    )
    plugin.chmod(0o755)
    said = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    good = token.read_text()
    token.write_text("expired-long-ago")
    cluster = Cluster(kubeconfig(kube, tmp_path / "config", {"exec": said}))
    me = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    with pytest.raises(Unreachable, match="token"):
        cluster.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=me)
    token.write_text(good)
    answer = cluster.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=me)
    assert answer.body["status"]["userInfo"]["username"] == "system:serviceaccount:default:refresher"


def test_a_plugin_that_fails_is_said_with_its_words(kube: Kube, tmp_path: Path) -> None:
    said = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/false", "interactiveMode": "Never"}
    with pytest.raises(Unreachable, match="process returned 1"):
        Cluster(kubeconfig(kube, tmp_path / "config", {"exec": said}))


def test_a_plugin_that_never_ends_is_not_waited_for_for_ever(
    kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "CREDENTIALS", 1.0)
    said = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sleep", "args": ["20"]}
    with pytest.raises(Unreachable, match="within 1 s"):
        Cluster(kubeconfig(kube, tmp_path / "config", {"exec": {**said, "interactiveMode": "Never"}}))


def test_a_client_certificate_that_has_expired_is_said_so(kube: Kube, tmp_path: Path) -> None:
    """Signed by the cluster's own authority, for a time that is over."""
    pki = kube.folder / "pki"
    files = {"client-certificate": str(pki / "expired.crt"), "client-key": str(pki / "expired.key")}
    with pytest.raises(Unreachable, match="expired on"):
        Cluster(kubeconfig(kube, tmp_path / "config", files)).request("GET", "/api/v1/pods")


def test_a_server_that_another_authority_vouches_for_is_refused(kube: Kube, tmp_path: Path) -> None:
    Authority(tmp_path / "other")
    config = json.loads(kube.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["certificate-authority"] = str(tmp_path / "other" / "ca.crt")
    (tmp_path / "config").write_text(json.dumps(config))
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"(?i)certificate"):
        Cluster(str(tmp_path / "config")).request("GET", "/api/v1/pods")
    assert time.monotonic() - began < 60


def test_a_context_that_is_not_there_is_named(kube: Kube) -> None:
    with pytest.raises(Unreachable, match="nowhere"):
        Cluster(str(kube.kubeconfig), "nowhere")


# --- pods ------------------------------------------------------------------------------------------------


def inventory(kube: Kube, pod: str) -> str:
    return f"{pod} ansible_connection=kubernetes.core.kubectl ansible_kubectl_kubeconfig={kube.kubeconfig}\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


LONG = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Long
      shell: "echo once >> {here}/out/log; WORK"
"""


def meanwhile(bench: Bench, act: Callable[[], object]) -> threading.Thread:
    """Act in the middle of the long task, and let it end after that."""

    def wait() -> None:
        try:
            wait_for(bench.wrote)
            act()
        finally:
            (bench.out / "go").touch()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize("part", ["apiserver", "kubelet"])
def test_a_restart_of_the_cluster_loses_no_task_and_repeats_none(kube: Kube, bench: Bench, part: str) -> None:
    name = f"restarted-{part}"
    kube.start_python(name, str(bench.folder))
    bench.hosts(inventory(kube, name))

    def restart() -> None:
        getattr(kube, f"stop_{part}")()
        getattr(kube, f"start_{part}")()

    thread = meanwhile(bench, restart)
    played = bench.play(LONG.replace("WORK", "until test -e {here}/out/go; do sleep 0.1; done; sleep 1; echo done"))
    thread.join()
    assert played.exit == 0, played.msg("Long")
    assert played.outcome("Long")["stdout"] == "done"
    assert bench.wrote() == ["once"]
    assert any("connecting again" in event.data["message"] for event in played.of("warning"))


@pytest.mark.parametrize("how", ["deleted", "evicted", "restarted", "replaced", "scaled"])
def test_a_pod_that_is_taken_away_in_the_middle_leaves_its_task_unknown(kube: Kube, bench: Bench, how: str) -> None:
    """Deleted; evicted as by who drains its node (policy/v1, Eviction); its container started again; another pod in its
    place, as a Deployment's rollout has it: that its journal knows nothing does not mean that nothing ran; or none."""
    pod = f"/api/v1/namespaces/default/pods/{how}"
    deployment = f"/apis/apps/v1/namespaces/default/deployments/{how}"
    if how in ("replaced", "scaled"):
        kube.deploy_python(how, str(bench.folder))
        said = f" ansible_timeout=3 ansible_kubectl_selector=app={how}\n"
        bench.hosts(inventory(kube, "any").replace("\n", said))
    else:
        kube.start_python(how, str(bench.folder))
        bench.hosts(inventory(kube, how))
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": how, "namespace": "default"}}
    another = {"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}}
    acts: dict[str, Callable[[], object]] = {
        "deleted": lambda: kube.ask("DELETE", pod, timeout_s=30.0),
        "evicted": lambda: kube.ask("POST", f"{pod}/eviction", eviction, timeout_s=30.0),
        "restarted": lambda: kill_first_process(kube.ask("GET", pod)["metadata"]["uid"]),
        "replaced": lambda: kube.ask("PATCH", deployment, another, timeout_s=30.0),
        "scaled": lambda: kube.ask("PATCH", deployment, {"spec": {"replicas": 0}}, timeout_s=30.0),
    }

    def take_away() -> None:
        wait_for(bench.wrote)
        acts[how]()

    thread = threading.Thread(target=take_away)
    thread.start()
    played = bench.play(LONG.replace("WORK", "sleep 100"))
    thread.join()
    assert (played.exit, played.status("Long")) == (4, "unknown")
    assert bench.wrote() == ["once"]
    if how in ("replaced", "scaled"):
        kube.ask("DELETE", deployment)


def kill_first_process(uid: str) -> None:
    """Of the one container of a pod: it ends, and is started again."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if uid in (folder / "cgroup").read_text() and (folder / "cmdline").read_bytes().startswith(
                b"sleep\x001000000"
            ):
                os.kill(int(folder.name), signal.SIGKILL)


def test_a_command_that_eats_all_memory_is_never_well(kube: Kube, bench: Bench) -> None:
    """The kernel ends it, or the container with it; then nobody can say."""
    kube.start_python("hungry", str(bench.folder), resources={"limits": {"memory": "64Mi"}})
    bench.hosts(inventory(kube, "hungry"))
    played = bench.play(LONG.replace("WORK", "python3 -c 'x=bytearray(300<<20)' && echo ate"))
    assert played.exit == 4
    assert played.status("Long") in ("failed", "unknown")


def test_an_exec_gives_all_of_both_streams_and_the_exit_code_that_comes_beside_them(kube: Kube) -> None:
    """The server tells the code on a channel of its own, which may be faster than the last of the output."""
    pod, size = kube.start_pod("talkative"), 3_000_000
    shell = "head -c SIZE /dev/zero | tr '\\0' a; head -c SIZE /dev/zero | tr '\\0' b >&2; exit 3"
    for number in (size, *[70_000] * 10):
        request = {"verb": "exec", "kubeconfig": str(kube.kubeconfig), "namespace": "default", "pod": pod,
                   "argv": ["sh", "-c", shell.replace("SIZE", str(number))], "timeout": 90}  # fmt: skip
        reply = ask_kubernetes(request, threading.Event())
        assert (reply.rc, len(reply.stdout), len(reply.stderr)) == (3, number, number)
        assert (set(reply.stdout), set(reply.stderr)) == (set(b"a"), set(b"b"))


def test_a_pod_is_found_by_its_labels_and_a_missing_one_is_named(kube: Kube) -> None:
    kube.start_python("labelled")
    found = Parley(kube.connection("web", selector="app=labelled")).ready()
    assert found(Exec(argv=("hostname",))).stdout == b"labelled\n"
    found.close()
    assert isinstance(why := Parley(kube.connection("nobody")).next(Ended).error, Unreachable)
    assert "there is no pod nobody in namespace default" in why.message and "selector" in why.help


def test_a_container_without_a_shell_is_refused_with_what_to_do(kube: Kube) -> None:
    mount = {"name": "bb", "from": "/bin/busybox", "mountPath": "/sleep", "readOnly": True}
    kube.start_pod("bare", images.PYTHON, command=["/sleep", "1000000"], volumeMounts=[mount])
    why = Parley(kube.connection("bare")).next(Ended).error
    assert isinstance(why, Unreachable)
    assert "there is no /bin/sh" in why.message and "container main" in why.message and "shell" in why.help


def test_in_a_pod_its_own_account_is_used(kube: Kube) -> None:
    """Without a kubeconfig; the API server listens on the node's loopback, so the pod has the node's network."""
    root = Path(__file__).resolve().parents[2]
    site = Path(pytest.__file__).resolve().parents[1]
    mounts = [
        {"name": f"m{number}", "from": str(path), "mountPath": str(path), "readOnly": True}
        for number, path in enumerate(dict.fromkeys((Path("/usr"), root, site)))
        if number != 2 or not site.is_relative_to(root)
    ]
    kube.start_pod("inside", images.PYTHON, volumeMounts=mounts, spec={"hostNetwork": True})
    code = (
        "from ciflow.targets.kubernetes import cluster; c = cluster('', '');"
        "a = c.request('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews',"
        " body={'apiVersion': 'authentication.k8s.io/v1', 'kind': 'SelfSubjectReview'});"
        "print(c.namespace, a.body['status']['userInfo']['username'])"
    )
    env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(kube.port)}
    env |= {"PYTHONPATH": f"{root}:{site}", "PYTHONDONTWRITEBYTECODE": "1"}
    inside = Parley(kube.connection("inside")).ready()
    reply = inside(Exec(argv=("python3", "-c", code), env=env))
    inside.close()
    assert reply.stdout == b"default system:serviceaccount:default:default\n", reply.stderr


def test_connections_are_told_apart_by_their_pods() -> None:
    one, other = (Connection(kind="kubernetes", name="a", options=(("pod", pod),)) for pod in ("x", "y"))
    assert one != other
