"""Each real part does what tests rely on it for; a part that this machine lacks is skipped by name."""

import errno
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko
import pytest

from tests.conftest import Start, skipping
from tests.parts import envoy, haproxy, images, process, prometheus, sshd, wire
from tests.parts.accounts import Accounts
from tests.parts.docker import Docker
from tests.parts.http import Upstream, always, every, get
from tests.parts.kube import Kube
from tests.targets.test_contract import assert_ends


def test_a_free_port_is_given_to_one_test_process_only_and_never_by_the_kernel() -> None:
    code = "from tests.parts.process import free_port\nprint(*(free_port() for _ in range(50)))"
    argv = [sys.executable, "-c", code]
    asking = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    ports = [int(word) for one in asking for word in one.communicate()[0].split()]
    assert len(set(ports)) == len(ports) == 200
    lowest, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert max(ports) < int(lowest)


def test_openssh_lets_root_in_by_key_and_knows_its_host_key(ssh_hosts: list[sshd.Sshd]) -> None:
    assert [host.address for host in ssh_hosts] == ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
    for host in ssh_hosts:
        done = host.ssh("id -un")
        assert (done.returncode, done.stdout) == (0, "root\n"), done.stderr


def test_a_server_ended_by_its_pid_takes_its_connections_along_and_comes_back_on_its_port(sshd: sshd.Sshd) -> None:
    client = connect(sshd)
    session = client.get_transport()
    assert session is not None
    sshd.stop()
    process.wait_for(lambda: not session.is_active())
    client.close()
    sshd.start()
    assert sshd.ssh("true").returncode == 0


def test_a_password_lets_a_second_user_in_and_a_wrong_one_does_not(
    start: Start, people: Accounts, tmp_path: Path
) -> None:
    user, taken = people.clerk, {"PasswordAuthentication": "yes"}
    host = start(sshd.sshd(tmp_path / "h", user=user, settings=taken, inside=people.inside()))
    for password, allowed in ((user.password, True), ("wrong", False)):
        client = paramiko.SSHClient()
        client.load_host_keys(str(host.known_hosts))
        with client:
            try:
                client.connect(host.address, host.port, user.name, password, look_for_keys=False, allow_agent=False)
                entered = True
            except paramiko.AuthenticationException:
                entered = False
        assert entered is allowed


def test_max_startups_turns_away_the_connection_too_many(start: Start, tmp_path: Path) -> None:
    host = start(sshd.sshd(tmp_path / "h", settings={"MaxStartups": "1"}))
    with socket.create_connection((host.address, host.port)) as first:
        assert first.recv(4) == b"SSH-"
        with socket.create_connection((host.address, host.port)) as second:
            assert second.recv(100).startswith(b"Exceeded MaxStartups")


def test_haproxy_moves_traffic_by_its_runtime_socket(start: Start, upstreams: tuple[Upstream, Upstream]) -> None:
    a, b = upstreams
    folder, port = start(process.short_folder("haproxy")), process.free_port()
    config = f"""
global
  stats socket {folder}/admin.sock mode 600 level admin
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
listen shop
  bind 127.0.0.1:{port}
  server a {a.address} weight 100
  server b {b.address} weight 0
"""
    start(haproxy.haproxy(folder, config, [("127.0.0.1", port)]))
    assert {get(f"http://127.0.0.1:{port}/").body for _ in range(10)} == {"a"}
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(f"{folder}/admin.sock")
        admin.sendall(b"set server shop/b weight 100; set server shop/a weight 0\n")
        admin.recv(1000)
    assert {get(f"http://127.0.0.1:{port}/").body for _ in range(10)} == {"b"}


def test_haproxy_says_what_is_wrong_with_its_configuration(start: Start, tmp_path: Path) -> None:
    with pytest.raises(process.NotReady, match="unknown keyword 'bogus'"):
        start(haproxy.haproxy(tmp_path, "bogus\n", []))


def test_envoy_serves_an_upstream(start: Start, tmp_path: Path, upstreams: tuple[Upstream, Upstream]) -> None:
    a, _ = upstreams
    admin, port = process.free_port(), process.free_port()
    start(envoy.envoy(tmp_path, envoy_bootstrap(admin, port, a.port), admin))
    assert get(f"http://127.0.0.1:{port}/").body == "a"


def test_docker_runs_a_command_in_busybox_and_in_the_machines_python(docker: Docker) -> None:
    with docker.container() as plain, docker.container(images.PYTHON) as python:
        assert docker.cli("exec", plain, "sh", "-c", "echo $PATH") == "/bin"
        assert docker.cli("exec", python, "python3", "-c", "print(6 * 7)") == "42"


def test_the_registry_gives_an_image_back_by_its_digest(docker: Docker, registry: str) -> None:
    name = f"{registry}/tool"
    docker.cli("tag", images.BUSYBOX, f"{name}:1")
    pushed = docker.cli("push", f"{name}:1")
    digest = pushed.rpartition("digest: ")[2].split()[0]
    docker.cli("rmi", f"{name}:1")
    docker.cli("pull", f"{name}@{digest}")
    assert digest in docker.cli("images", "--digests", name)
    docker.cli("rmi", f"{name}@{digest}")


@pytest.mark.slow
def test_kubernetes_runs_a_real_pod_and_keeps_its_log_and_exit_code(kube: Kube) -> None:
    container = {"name": "c", "image": images.BUSYBOX, "imagePullPolicy": "Never"}
    container["command"] = ["sh", "-c", "echo hello from $(hostname); exit 3"]  # type: ignore[assignment]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "self-test"}}
    pods = "/api/v1/namespaces/default/pods"
    kube.ask("POST", pods, {**pod, "spec": {"restartPolicy": "Never", "containers": [container]}})
    ended = kube.wait_for_phase("self-test", "Failed")
    assert ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert kube.ask("GET", f"{pods}/self-test/log") == "hello from self-test\n"
    kube.ask("DELETE", f"{pods}/self-test")


@pytest.mark.slow
def test_prometheus_scrapes_what_it_is_told(start: Start, tmp_path: Path, upstreams: tuple[Upstream, Upstream]) -> None:
    a, _ = upstreams
    server = start(prometheus.prometheus(tmp_path, {"shop": [a.address]}))
    query = f"{server.url}/api/v1/query?query=scrape_samples_scraped"
    process.wait_for(lambda: '"job":"shop"' in get(query).body)


def test_a_full_disk_is_full(tiny_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left") as full:
        (tiny_disk / "big").write_bytes(bytes(300 * 1024))
    assert full.value.errno == errno.ENOSPC


def test_an_upstream_fails_in_the_share_it_is_told_and_takes_its_time(upstreams: tuple[Upstream, Upstream]) -> None:
    a, b = upstreams
    a.answer = every(4, 503)
    assert [get(a.url).status for _ in range(8)] == [200, 200, 200, 503, 200, 200, 200, 503]
    b.answer = always(200, 0.2)
    assert get(b.url).latency_s >= 0.2
    assert (a.served, b.served) == (8, 1)


def test_the_wire_adds_its_delay_to_every_round_trip_but_not_to_every_byte(start: Start) -> None:
    proxy = start(wire.wire(start(echo()), round_trip_s=0.1))
    with socket.create_connection((proxy.address, proxy.port)) as client:
        began = time.monotonic()
        for _ in range(3):
            client.sendall(b"ping")
            assert client.recv(4, socket.MSG_WAITALL) == b"ping"
        assert time.monotonic() - began >= 0.3
        began = time.monotonic()
        client.sendall(bytes(1_000_000))
        assert len(client.recv(1_000_000, socket.MSG_WAITALL)) == 1_000_000
        assert 0.1 <= time.monotonic() - began < 60  # each of its many pieces would add a tenth of a second


def test_the_wire_delivers_what_came_before_a_cut_and_nothing_after_it(start: Start) -> None:
    proxy = start(wire.wire(start(echo())))
    proxy.breaks.append(wire.Break("cut", at=10))
    proxy.halve = True
    with socket.create_connection((proxy.address, proxy.port)) as client:
        client.sendall(b"0123456789abcdef")
        assert client.recv(100, socket.MSG_WAITALL) == b"0123456789"
    with socket.create_connection((proxy.address, proxy.port)) as client:
        client.sendall(b"0123456789abcdef")
        assert client.recv(16, socket.MSG_WAITALL) == b"0123456789abcdef"


def test_the_wire_resets_at_a_byte_and_stalls_in_silence(start: Start) -> None:
    proxy = start(wire.wire(start(echo())))
    proxy.breaks.append(wire.Break("reset", at=2, toward="server"))
    with socket.create_connection((proxy.address, proxy.port)) as client:
        client.sendall(b"0123")
        with pytest.raises(ConnectionResetError):
            client.recv(100, socket.MSG_WAITALL)
    with socket.create_connection((proxy.address, proxy.port)) as client:
        client.sendall(b"ok")
        assert client.recv(2, socket.MSG_WAITALL) == b"ok"
        proxy.end_all("stall")
        client.sendall(b"lost")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(4)


def test_what_a_program_started_is_gone_after_its_end_whatever_session_it_moved_to(tmp_path: Path) -> None:
    running = process.start("shell", ["sh", "-c", "setsid sleep 60 & echo $!; wait"], tmp_path)
    process.wait_until(lambda: len(process.descendants(running.pid)) == 1, running)
    [child] = process.descendants(running.pid)
    process.end(running)
    assert_ends(child)


@pytest.fixture(scope="module")
def missing() -> None:
    process.find("no-such-daemon", "no-such-daemon")


def test_a_test_whose_part_is_missing_is_skipped_by_its_name(request: pytest.FixtureRequest) -> None:
    for _ in range(2):  # a fixture that failed is not tried again
        with pytest.raises(pytest.skip.Exception, match=r"^no-such-daemon is not installed: make parts$"), skipping():
            request.getfixturevalue("missing")


def connect(host: sshd.Sshd) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    client.load_host_keys(str(host.known_hosts))
    client.connect(host.address, host.port, "root", key_filename=str(host.key), look_for_keys=False)
    return client


@contextmanager
def echo() -> Iterator[tuple[str, int]]:
    """A TCP server that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client, suppress(ConnectionError):
            while data := client.recv(65536):
                client.sendall(data)

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with server:
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)


def envoy_bootstrap(admin: int, port: int, upstream: int) -> dict[str, object]:
    """One listener, one route, one cluster."""

    def at(number: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    route = {"match": {"prefix": "/"}, "route": {"cluster": "a"}}
    filters = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{filters}.http.router.v3.Router"}}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": at(upstream)}}]}
    cluster = {"name": "a", "type": "STATIC", "load_assignment": {"cluster_name": "a", "endpoints": [endpoint]}}
    listener = {"name": "in", "address": at(port), "filter_chains": [chain]}
    return {"admin": {"address": at(admin)}, "static_resources": {"listeners": [listener], "clusters": [cluster]}}
