"""A Kubernetes API server, as its clients must treat it: the one owner of the package `kubernetes` and of what that
brings along to talk HTTP and websockets (urllib3, websocket-client).

Every request has a time limit. What the server refuses for now (429, 5xx) is asked again within bounds, and after as
long as it says (Retry-After, RFC 9110 10.2.3); credentials that it takes no more are read anew, once a request.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import urlencode, urlsplit

from ciflow.dataclass import dataclass
from ciflow.diagnostics import CiflowError, Lost, Refused, Unreachable
from ciflow.encoding import loads
from ciflow.targets.kube_stream import Stream
from ciflow.targets.kubeconfig import Plain, plain

CONNECT = 10.0  # seconds to connect
READ = 30.0  # seconds without a word
CREDENTIALS = 60.0  # seconds that a program may take to give credentials
PATIENCE = 60.0  # seconds that a request may be asked again in all
LONGEST_WAIT = 30.0  # seconds that a server may ask us to wait at a time
BACKOFF = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
LATER = (429, 500, 502, 503, 504)
MISSING = "the package `kubernetes` is not installed"
NEEDED = "`ciflow doctor --rbac PLAYBOOK` prints the role that is needed"
T = TypeVar("T")
Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the server: its status, its JSON (None when it has none), and when to ask again (seconds)."""

    status: int
    body: Any
    retry_after: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def message(self) -> str:
        """What the server says of it, in its own words."""
        said = self.body.get("message") if isinstance(self.body, Mapping) else None
        return str(said or f"HTTP {self.status}")


class NotSent(Unreachable):
    """Nothing of the request can have reached the server."""


def cluster(kubeconfig: str, context: str) -> Cluster:
    """The cluster that a kubeconfig's context means ("": the usual one), shared by all that ask it."""
    path = kubeconfig or os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")  # noqa: PTH111
    inside = not kubeconfig and not os.path.exists(path) and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))  # noqa: PTH110
    return _shared("" if inside else path, context)


@functools.cache
def _shared(kubeconfig: str, context: str) -> Cluster:
    return Cluster(kubeconfig, context)


class Cluster:
    """One API server and our credentials there, as the kubeconfig says ("": as the pod's account that we are in).
    Methods may be called from any thread."""

    def __init__(self, kubeconfig: str, context: str = "") -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._lock = threading.Lock()
        self._age = 0  # how often the credentials were read anew
        found = _in_time(lambda: _configured(kubeconfig, context))
        self._configuration, self._http, self.namespace = found

    @property
    def name(self) -> str:
        return str(self._configuration.host)

    def unaccepted(self) -> str:
        """Why the server may not take our credentials, as far as that can be seen from here."""
        path = self._configuration.cert_file
        if not path:
            return "the token of the kubeconfig is not accepted"
        from cryptography import x509

        with open(path, "rb") as file:  # noqa: PTH123
            until = x509.load_pem_x509_certificate(file.read()).not_valid_after_utc
        over = until.timestamp() < time.time()
        return f"the client certificate has expired on {until:%Y-%m-%d}" if over else "its certificate is not accepted"

    def request(
        self,
        method: str,
        path: str,
        query: Query = (),
        body: Any = None,
        *,
        kind: str = "application/json",
        again: bool = True,
        stop: threading.Event | None = None,
    ) -> Answer:
        """The server's answer, whatever its status. `again`: it may be asked twice, so it is asked again when no
        answer came. Unreachable: nobody answers; Lost: it was asked once, and nobody knows how that ended."""
        until = time.monotonic() + PATIENCE
        renewed = False
        for wait in itertools.chain(BACKOFF, itertools.repeat(BACKOFF[-1])):
            age = self._age
            answer: Answer | None = None
            lost: Unreachable | None = None
            try:
                answer = self._once(method, path, query, body, kind)
            except NotSent as error:
                lost = error
            except Lost as error:
                if not again:
                    raise
                lost = Unreachable(error.message)
            if answer is not None and answer.status == 401:
                if renewed:
                    raise Unreachable(f"{self.name}: {self.unaccepted()}")
                renewed = True
                self._renew(age)
                continue
            if answer is not None and (answer.status not in LATER or (answer.status != 429 and not again)):
                return answer
            pause = max(wait, min(answer.retry_after, LONGEST_WAIT)) if answer is not None else wait
            over = time.monotonic() + pause > until or (stop is not None and stop.wait(0))
            if over and answer is not None:
                return answer
            if over and lost is not None:
                raise lost
            (stop or threading.Event()).wait(pause)
        raise AssertionError("the time is over at some time")

    def watch(self, path: str, query: Query, timeout: float) -> Iterator[Mapping[str, Any]]:
        """Events as they come, for about `timeout` seconds. It may end at any time: read again, then watch again."""
        limit = str(max(1, int(timeout)))
        rest = b""
        with contextlib.suppress(ValueError):
            for piece in self.pieces(path, [*query, ("watch", "1"), ("timeoutSeconds", limit)], timeout):
                *lines, rest = (rest + piece).split(b"\n")
                yield from map(loads, filter(None, lines))

    def pieces(self, path: str, query: Query, timeout: float) -> Iterator[bytes]:
        """What comes, as it comes; nothing where the server refuses. It may end at any time, and does after `timeout`
        seconds without a word."""
        import urllib3

        try:
            response = self._send("GET", path, query, None, "", timeout)
            with contextlib.closing(response):
                if response.status == 200:
                    yield from response.stream(amt=None)
        except (urllib3.exceptions.HTTPError, CiflowError):
            return

    def stream(self, path: str, query: Query, timeout: float = CONNECT) -> Stream:
        """Open the streams of an exec. Unreachable: it was not begun; Lost: nobody can say whether it was."""
        age = self._age
        for renewed in (False, True):
            url = self._configuration.host.replace("http", "ws", 1) + path + "?" + urlencode(query)
            status, said, opened = Stream.open(url, self._authorization(), self._tls(), self._proxy(), timeout)
            if opened is not None:
                return opened
            if status != 401 or renewed:
                break
            self._renew(age)
        error = Unreachable if status else Lost
        said = self.unaccepted() if status == 401 else said
        raise error(f"{self.name}: {said}", help=NEEDED if status == 403 else "")

    # --- private -----------------------------------------------------------------------------------------

    def _once(self, method: str, path: str, query: Query, body: Any, kind: str) -> Answer:
        import urllib3

        response = self._send(method, path, query, body, kind, READ)
        try:
            data = response.data
        except urllib3.exceptions.HTTPError as e:
            raise Lost(f"{self.name}: {_plain(e)}") from e
        try:
            content = loads(data) if data else None
        except ValueError:
            content = {"message": data.decode("utf-8", "replace")[:2000].strip()}
        after = response.headers.get("Retry-After", "0")
        return Answer(response.status, content, float(after) if after.isdecimal() else 0.0)

    def _send(self, method: str, path: str, query: Query, body: Any, kind: str, read: float) -> Any:
        import urllib3

        headers = {"Accept": "application/json", "User-Agent": "ciflow", **self._authorization()}
        if body is not None:
            headers["Content-Type"] = kind
        url = self._configuration.host + path + ("?" + urlencode(query) if query else "")
        timeout = urllib3.Timeout(connect=CONNECT, read=read + 5.0)
        content = None if body is None else json.dumps(body).encode()
        try:
            return self._http.request(
                method, url, body=content, headers=headers, timeout=timeout, retries=False, preload_content=False
            )
        except urllib3.exceptions.SSLError as e:
            raise Unreachable(f"{self.name}: {_plain(e)}", help="mind the certificates of the kubeconfig") from e
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as e:
            raise NotSent(f"{self.name}: {_plain(e)}", help="is the API server up, and is it this one?") from e
        except urllib3.exceptions.HTTPError as e:
            raise Lost(f"{self.name}: {_plain(e)}") from e

    def _authorization(self) -> dict[str, str]:
        """The header that says who asks; a token that is about to expire is fetched anew by the package."""

        def settle() -> Mapping[str, Any]:
            with self._lock:
                known: Mapping[str, Any] = self._configuration.auth_settings()
                return known

        settings = _in_time(settle)
        return {str(one["key"]): str(one["value"]) for one in settings.values() if one["in"] == "header"}

    def _renew(self, age: int) -> None:
        """Read the credentials anew, unless somebody else has done so meanwhile."""
        with self._lock:
            if self._age == age:
                found = _in_time(lambda: _configured(self._kubeconfig, self._context))
                self._configuration, self._http, self.namespace = found
                self._age += 1

    def _tls(self) -> dict[str, Any]:
        import ssl

        known = self._configuration
        if not known.verify_ssl:
            found: dict[str, Any] = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
        else:
            found = {"cert_reqs": ssl.CERT_REQUIRED, **({"ca_certs": known.ssl_ca_cert} if known.ssl_ca_cert else {})}
        named = {"certfile": known.cert_file, "keyfile": known.key_file, "server_hostname": known.tls_server_name}
        return found | {name: value for name, value in named.items() if value}

    def _proxy(self) -> dict[str, Any]:
        if not self._configuration.proxy:
            return {}
        parts = urlsplit(self._configuration.proxy)
        return {"http_proxy_host": parts.hostname, "http_proxy_port": parts.port, "proxy_type": "http"}


def _in_time(work: Callable[[], T]) -> T:
    """What `work` comes to. It may run a program that gives credentials, for which the package knows no time limit."""
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # raised where it is waited for
            done.put((None, error))

    threading.Thread(target=run, name="credentials", daemon=True).start()
    try:
        result, error = done.get(timeout=CREDENTIALS)
    except queue.Empty:
        text = f"no credentials came within {CREDENTIALS:g} s"
        raise Unreachable(text, help="mind the `exec` of the kubeconfig") from None
    if error is not None:
        raise error
    return cast(T, result)


def _configured(path: str, context: str) -> tuple[Any, Any, str]:
    """Configuration, connections and own namespace: of the kubeconfig, or without one, of the pod that we are in."""
    known = plain(path, context) if path else None
    if known is not None:
        return known, _connections(known), known.namespace or "default"
    try:
        import kubernetes.client.rest
        import kubernetes.config
    except ImportError as e:
        raise Refused(MISSING, help="pip install 'ciflow[kubernetes]'") from e

    client: Any = kubernetes.client
    config: Any = kubernetes.config
    found = client.Configuration()
    if path and not any(os.path.exists(one) for one in path.split(":")):  # noqa: PTH110
        raise Unreachable(f"there is no kubeconfig {path}", help="name one: `kubeconfig`, KUBECONFIG or ~/.kube/config")
    with _heard() as said:
        try:
            if not path:
                config.load_incluster_config(client_configuration=found)
                namespace = _read("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
            else:
                config.load_kube_config(config_file=path, context=context or None, client_configuration=found)
                namespace = _namespace(config.list_kube_config_contexts(path), context)
        except (config.ConfigException, OSError, ValueError, TypeError, KeyError) as e:
            raise Unreachable(f"{path}: {e}", help="`kubectl config view` shows what it says") from e
    if said:
        raise Unreachable(f"{path}: {' '.join(said)}", help="the program that gives the credentials failed")
    return found, client.rest.RESTClientObject(found).pool_manager, namespace or "default"


def _connections(known: Plain) -> Any:
    """As the package makes them."""
    try:
        import urllib3
    except ImportError as e:
        raise Refused(MISSING, help="pip install 'ciflow[kubernetes]'") from e

    options: dict[str, Any] = {"cert_reqs": "CERT_REQUIRED" if known.verify_ssl else "CERT_NONE"}
    named = {"ca_certs": known.ssl_ca_cert, "cert_file": known.cert_file, "key_file": known.key_file}
    named["server_hostname"] = known.tls_server_name
    if not known.verify_ssl:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # who wrote the kubeconfig has said so
        options["assert_hostname"] = False
    options |= {name: value for name, value in named.items() if value}
    return urllib3.PoolManager(num_pools=4, maxsize=16, **options)


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """What the package has to complain of an exec plugin: it writes that to the log and goes on without credentials."""
    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                said.append(record.getMessage())

    ear = Ear()
    logging.getLogger().addHandler(ear)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(ear)


def _namespace(contexts: tuple[list[Mapping[str, Any]], Mapping[str, Any]], context: str) -> str:
    chosen = next((one for one in contexts[0] if one["name"] == context), contexts[1])
    return str(chosen["context"].get("namespace") or "")


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read().strip()


def _plain(error: Exception) -> str:
    """urllib3's words without the address of its own object before them."""
    return str(error.args[-1] if error.args else error).rpartition(">: ")[2]
