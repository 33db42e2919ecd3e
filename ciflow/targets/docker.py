"""Docker as a target: the only file that knows the package `docker`.

A container is reached by an exec whose stdin and stdout are the pipe. Exit codes are none of its business: each
command's own is in the agent's journal, inside the container, so that no code of an exec is ever taken for one.
The daemon's own API (`ask_docker`) is answered here as well, one plain HTTP request of the Engine's API at a time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shlex
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ciflow.diagnostics import Gone, Lost, Refused, Unreachable
from ciflow.encoding import loads
from ciflow.model import Reply
from ciflow.targets.connection import Connection
from ciflow.targets.docker_daemon import Daemon, daemon_for
from ciflow.targets.readable import readable

try:
    import docker
    import requests
    from docker import auth
    from docker.errors import APIError, DockerException, NotFound
    from docker.tls import TLSConfig
    from docker.utils.build import tar
except ImportError as missing:
    raise Refused(
        "Docker is reached by the Python package `docker`, which is not installed", help="pip install ciflow[docker]"
    ) from missing

SEND_TIMEOUT = 30.0  # seconds
ANSWER_TIMEOUT = 60.0  # seconds that the daemon may take for a word, unless the request says otherwise
HEADER = struct.Struct(">BxxxL")  # of each piece of an exec's output: which stream, and how many bytes follow
AGAIN = (0.5, 1.0, 2.0, 4.0)  # seconds before each more try of a request that got no answer
GO = b"\n"
# The command begins only at our word: output that came in one packet with the daemon's "101 UPGRADED" would be lost
# in the HTTP client's buffer. The shell's `read` takes no byte more than its line (POSIX, read).
BEGIN = "IFS= read -r _ && exec /bin/sh -c "
NO_SHELL = "the image has no /bin/sh: take one that has a shell, or ssh, or run it as a service of its own"


# --- the daemon --------------------------------------------------------------------------------------------


class _Client(docker.APIClient):  # type: ignore[misc]
    """The SDK's client; the authority that it was given is not replaced by that of REQUESTS_CA_BUNDLE, as requests
    would have it."""

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        own = self.verify if verify is None else verify
        return super().merge_environment_settings(url, proxies, stream, own, cert)


@functools.lru_cache(maxsize=64)
def _client(daemon: Daemon) -> docker.APIClient:
    """A client that threads share. A daemon that doesn't answer is not remembered."""
    tls: Any = False
    if daemon.tls:
        pair = (daemon.cert, daemon.key) if daemon.cert else None
        tls = TLSConfig(client_cert=pair, ca_cert=daemon.ca or None, verify=daemon.verify)
    return _Client(base_url=daemon.url or None, version="auto", timeout=ANSWER_TIMEOUT, tls=tls)


@contextmanager
def _ours(daemon: Daemon) -> Iterator[docker.APIClient]:
    """The client; what the SDK raises becomes Unreachable, or Lost once a request had gone out."""
    where = daemon.url or "the default socket"
    try:
        client = _client(daemon)
    except (DockerException, requests.RequestException, OSError) as e:
        raise Unreachable(f"no Docker daemon answers at {where}: {_said(e)}", help=_advice(e)) from e
    try:
        yield client
    except requests.ConnectionError as e:
        if _never_sent(e):
            raise Unreachable(f"no Docker daemon answers at {where}: {_said(e)}", help=_advice(e)) from e
        raise Lost(f"the Docker daemon at {where} went away: {_said(e)}") from e
    except (requests.RequestException, OSError) as e:
        raise Lost(f"the Docker daemon at {where} did not answer: {_said(e)}") from e


def _causes(error: BaseException) -> Iterator[BaseException]:
    at: BaseException | None = error
    while at is not None:
        yield at
        nested = [one for one in at.args if isinstance(one, BaseException)] + [getattr(at, "reason", None)]
        at = at.__cause__ or at.__context__ or next((one for one in nested if isinstance(one, BaseException)), None)


def _never_sent(error: BaseException) -> bool:
    return any(isinstance(one, ConnectionRefusedError | FileNotFoundError | PermissionError) for one in _causes(error))


def _said(error: BaseException) -> str:
    plain = [one for one in _causes(error) if isinstance(one, OSError) and one.strerror]
    return str(plain[-1].strerror) if plain else str(error) or type(error).__name__


def _advice(error: BaseException) -> str:
    if any(isinstance(one, PermissionError) for one in _causes(error)):
        return "join the group docker, or name another daemon by DOCKER_HOST"
    return "start it, or name another by DOCKER_HOST, by DOCKER_CONTEXT, or by ansible_docker_docker_host"


# --- containers as hosts -----------------------------------------------------------------------------------


class DockerPipe:
    """The connection that an exec was taken over by. stdout and stderr come as one, as in a terminal."""

    def __init__(self, held: Any, name: str) -> None:
        self._held = held  # the SDK's object, which holds the connection open as well
        self._socket: socket.socket = getattr(held, "_sock", held)
        self._socket.settimeout(SEND_TIMEOUT)
        self._name = name
        self._raw = b""
        self._first = b""

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as e:
            raise Lost(f"{self._name}: the connection to its container ended: {e}") from e

    def receive(self, timeout: float) -> bytes | None:
        """None also when no more than a part of a piece has come. Unreachable: there is no shell to run anything."""
        try:
            if not self._waits(timeout):
                return None
            more = self._socket.recv(256 * 1024)
        except (OSError, ValueError):  # closed by our side meanwhile
            return b""
        if not more:
            if self._first.startswith(b"OCI runtime exec failed"):
                raise Unreachable(f"{self._name}: {self._first.decode('utf-8', 'replace').strip()}", help=NO_SHELL)
            return b""
        self._raw += more
        data = self._pieces()
        self._first = self._first or data[:400]
        return data or None

    def _waits(self, timeout: float) -> bool:
        pending = getattr(self._socket, "pending", None)  # TLS: decrypted already, so poll would not see it
        return bool((pending and pending()) or readable(self._socket, timeout))

    def _pieces(self) -> bytes:
        at, found = 0, []
        while len(self._raw) - at >= HEADER.size:
            _, size = HEADER.unpack_from(self._raw, at)
            end = at + HEADER.size + size
            if len(self._raw) < end:
                break
            found.append(self._raw[at + HEADER.size : end])
            at = end
        self._raw = self._raw[at:]
        return b"".join(found)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the other end went first, or it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it
        self._held.close()
        self._socket.close()


def open_docker(connection: Connection, command: str) -> DockerPipe:
    """Run `command` by the container's /bin/sh, as the connection's user (else the image's). Unreachable says why not:
    of a container that has ended also when, with which code, and whether it ran out of memory; Gone, where nothing
    will start it again by itself."""
    name, container = connection.name, connection.address or connection.name
    said = dict(connection.options)
    with _ours(daemon_for(said, None)) as client:
        try:
            made = client.exec_create(
                container,
                ["/bin/sh", "-c", BEGIN + shlex.quote(command)],
                stdin=True,
                user=connection.user,
                workdir=said.get("workdir") or None,
                privileged=said.get("privileged", "").lower() in ("true", "yes", "1"),
            )
            pipe = DockerPipe(client.exec_start(made["Id"], socket=True), name)
        except NotFound as e:
            raise Gone(f"{name}: there is no container {container}", help="docker ps -a") from e
        except APIError as e:
            raise _not_running(client, name, container) or Unreachable(f"{name}: {e.explanation or e}") from e
    pipe.send(GO)
    return pipe


def _not_running(client: docker.APIClient, name: str, container: str) -> Unreachable | None:
    """What the daemon knows of a container that takes no exec; None where it runs."""
    try:
        found = client.inspect_container(container)
    except NotFound:
        return Gone(f"{name}: there is no container {container}", help="docker ps -a")
    except DockerException:
        return None
    state, restarts = found["State"], (found["HostConfig"].get("RestartPolicy") or {}).get("Name") not in ("", "no")
    if state.get("Paused"):
        return Unreachable(f"{name}: the container {container} is paused")
    if state.get("Running"):
        return None
    ended = f"ended at {state['FinishedAt']} with exit code {state['ExitCode']}" if state.get("FinishedAt") else ""
    memory = ", killed for want of memory" if state.get("OOMKilled") else ""
    error = Unreachable if restarts or state.get("Status") == "created" else Gone
    return error(f"{name}: the container {container} is {state.get('Status', 'not running')}: it {ended}{memory}")


def list_containers(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Running containers as hosts, by name. `filters` are those of `docker ps` (a name and its values), `all` has those
    that don't run as well; the rest says which daemon. Refused: it doesn't answer."""
    filters = {name: value if isinstance(value, list) else [value] for name, value in settings["filters"].items()}
    request = {"path": "/containers/json", "query": {"filters": filters, "all": settings["all"]}, "daemon": settings}
    reply = ask_docker(request, threading.Event())
    if not reply.ok:
        raise Refused(reply.error)
    reached = {f"ansible_docker_{key}": settings[key] for key in ("docker_host", "context") if settings.get(key)}
    hosts = {}
    for one in reply.data["json"]:
        name = str(one["Names"][0]).removeprefix("/") if one["Names"] else str(one["Id"])[:12]
        about = {"docker_image": one["Image"], "docker_labels": one["Labels"] or {}, "docker_state": one["State"]}
        about["docker_networks"] = sorted(one["NetworkSettings"]["Networks"])
        hosts[name] = {"ansible_connection": "docker", "ansible_host": one["Id"], **reached, **about}
    return hosts


# --- the API -----------------------------------------------------------------------------------------------


def ask_docker(request: Mapping[str, Any], stop: threading.Event) -> Reply:
    """One request of the Engine's API (https://docs.docker.com/reference/api/engine/).

    `method`, `path` (below the version), `query`, `body`; `daemon` and `host`: see `daemon_for`; `auth`, the name of a
    registry whose credentials of ~/.docker/config.json and its helpers go along ("*": all, for a build); `context`, a
    folder that is sent as a tar archive without what its .dockerignore names (`dockerfile`: its path in there);
    `timeout` in seconds between two words of the answer.
    Data {status, json}. With `pieces` (pull, push, build, load) `json` is the list of what was told on the way, bare
    progress left out, and one that tells an error makes the reply bad, though HTTP says 200. `framed` is for a
    container's output, which becomes the reply's stdout and stderr.
    A daemon that goes away before it has answered is asked again for a while, as after its upgrade: whoever asks here
    asks for what may be asked twice. If it doesn't come back, the reply is unknown.
    """
    daemon = daemon_for(request.get("daemon") or {}, request.get("host"))
    lost = ""
    for pause in (*AGAIN, None):
        try:
            with _ours(daemon) as client:
                return _asked(client, request, stop)
        except Lost as e:
            lost = e.message
        except Unreachable as e:
            if not lost:
                return Reply(ok=False, errno="ECONNREFUSED", error=f"{e.message} ({e.help})")
        if pause is None or stop.wait(pause):
            break
    return Reply(status="unknown", ok=False, error=lost)


def _asked(client: docker.APIClient, request: Mapping[str, Any], stop: threading.Event) -> Reply:
    headers = _credentials(str(request["auth"])) if request.get("auth") else {}
    content: Any = None
    if request.get("context"):
        headers["Content-Type"] = "application/x-tar"
        content = _archive(Path(request["context"]), str(request.get("dockerfile") or "Dockerfile"))
    answer = client.request(
        request.get("method", "GET"),
        f"{client.base_url}/v{client.api_version}{request['path']}",
        params={key: _parameter(value) for key, value in (request.get("query") or {}).items()},
        headers=headers,
        json=request.get("body"),
        data=content,
        stream=True,
        timeout=float(request.get("timeout") or ANSWER_TIMEOUT),
    )
    with answer:
        if answer.ok and request.get("framed"):
            return _framed(answer)
        return _pieces(answer, stop) if answer.ok and request.get("pieces") else _whole(answer)


def _framed(answer: requests.Response) -> Reply:
    """Output of a container: in pieces of its two streams, or as it is where it has a terminal."""
    raw, data = answer.content, {"status": answer.status_code}
    streams = {1: b"", 2: b""}
    at = 0
    while at < len(raw):
        which, size = HEADER.unpack_from(raw, at) if len(raw) - at >= HEADER.size else (255, 0)
        if which not in (0, 1, 2):
            return Reply(stdout=raw, data=data)
        streams[max(which, 1)] += raw[at + HEADER.size : at + HEADER.size + size]
        at += HEADER.size + size
    return Reply(stdout=streams[1], stderr=streams[2], data=data)


def _whole(answer: requests.Response) -> Reply:
    try:
        said = answer.json() if "json" in answer.headers.get("Content-Type", "") and answer.content else None
    except ValueError as e:
        raise Lost(f"the Docker daemon's answer broke off: {e}") from e
    data = {"status": answer.status_code, "json": said}
    if answer.ok:
        return Reply(data=data)
    error = said.get("message", "") if isinstance(said, dict) else answer.text
    return Reply(ok=False, error=error.strip() or f"HTTP {answer.status_code}", data=data)


def _pieces(answer: requests.Response, stop: threading.Event) -> Reply:
    told: list[Any] = []
    for line in answer.iter_lines():
        if stop.is_set():
            return Reply(status="unknown", ok=False, error="it was given up before it had ended")
        one = loads(line) if line.strip() else {}
        if one and not one.get("progressDetail"):
            told.append(one)
    errors = [str(one["error"]) for one in told if one.get("error")]
    data = {"status": answer.status_code, "json": told}
    return Reply(ok=not errors, error="; ".join(errors), data=data)


def _parameter(value: Any) -> str:
    """A query's value as the Engine reads it: true and false in small letters, lists and mappings as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _credentials(registry: str) -> dict[str, str]:
    """The header by which the daemon logs in to a registry. Refused: a credential helper does not give it."""
    try:
        known = auth.load_config()
        if registry == "*":
            every = known.get_all_credentials()
            return {"X-Registry-Config": auth.encode_header(every).decode()} if every else {}
        found = known.resolve_authconfig(None if registry == "docker.io" else registry)
    except (DockerException, OSError, ValueError) as e:
        raise Refused(f"the credentials for {registry} can't be read: {e}", help="see ~/.docker/config.json") from e
    return {"X-Registry-Auth": auth.encode_header(found or {}).decode()}  # an empty one, too, or there is no push


def _archive(folder: Path, dockerfile: str) -> Any:
    """The folder as a tar archive, in a temporary file."""
    ignore = folder / ".dockerignore"
    lines = ignore.read_text().splitlines() if ignore.is_file() else []
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return tar(str(folder), exclude=patterns, dockerfile=(dockerfile, None))
