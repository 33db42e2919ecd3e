"""Logging in to a server that has shown a good host key: by keys and their certificates, then by the password."""

from __future__ import annotations

import base64
import copy
import functools
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import paramiko

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Unreachable
from ciflow.targets.connection import Connection
from ciflow.targets.known_hosts import fingerprint
from ciflow.targets.ssh_agent import agent_keys
from ciflow.targets.ssh_options import Route
from ciflow.targets.ssh_trust import too_short

OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
MAGIC = b"openssh-key-v1\0"
_READING = threading.Lock()  # of keys: whoever needs the same one waits for it instead of reading it as well
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
OF_A_CODE = re.compile(r"(?<![a-z])(otp|one[- ]?time|verification|code|token|passcode|pin)(?![a-z])", re.IGNORECASE)


def log_in(transport: paramiko.Transport, route: Route, connection: Connection) -> None:
    """A server may want several proofs, one after the other (sshd's AuthenticationMethods). Unreachable: it lets us in
    by none that we have, or asks what nothing here can answer."""
    login = _Login(transport, route, connection)
    if login.succeeds():
        return
    tried = f"; tried: {', '.join(login.tried)}" if login.tried else ": there is neither a key nor a password to try"
    raise Unreachable(
        f"{connection.name}: {route.user}@{route.address}:{route.port} refused the login{tried}",
        help="set ansible_ssh_private_key_file or ansible_user, or load the key into ssh-agent",
    )


@dataclass(slots=True)
class _Login:
    """One login. Each method gives what the server also wants ([]: nothing, we are in), or None where it is refused."""

    transport: paramiko.Transport
    route: Route
    connection: Connection
    tried: list[str] = field(default_factory=list)
    refused: bool = False  # the password: it goes there once, by whichever method, for others count failures

    def succeeds(self) -> bool:
        ways = {"publickey": self._by_keys, "password": self._by_password, "keyboard-interactive": self._by_questions}
        left, wanted = list(self.route.methods), list(self.route.methods)
        while method := next((one for one in left if one in wanted), ""):
            if not self.transport.is_active():
                return False
            wanted.remove(method)
            more = ways[method]()
            if more == []:
                return True
            if more:  # a proof was taken: those that were too early before may be next
                left.remove(method)
                wanted = [one for one in left if one in more]
        return False

    def _by_keys(self) -> list[str] | None:
        for label, key in _keys(self.route, self.connection, self.tried):
            try:
                more = self.transport.auth_publickey(self.route.user, key)
            except paramiko.BadAuthenticationType:
                self.tried.append("keys (the server takes none)")
                return None
            except paramiko.AuthenticationException as e:
                _heard(e)
                self.tried.append(label)
                if not self.transport.is_active():
                    return None
                continue
            return self._taken(label, more)
        return None

    def _by_password(self) -> list[str] | None:
        user, password = self.route.user, self.connection.password
        return self._by_secret("password", lambda: self.transport.auth_password(user, password, fallback=False))

    def _by_questions(self) -> list[str] | None:
        user, answering = self.route.user, _Answering(self.connection)
        label = "password (keyboard-interactive)"
        return self._by_secret(label, lambda: self.transport.auth_interactive(user, answering))

    def _by_secret(self, label: str, prove: Callable[[], list[str]]) -> list[str] | None:
        if not self.connection.password or self.refused:
            return None
        try:
            more = prove()
        except paramiko.BadAuthenticationType:
            return None
        except paramiko.AuthenticationException as e:
            _heard(e)
            self.refused = True
            self.tried.append(label)
            return None
        return self._taken(label, more)

    def _taken(self, label: str, more: list[str]) -> list[str]:
        if more:
            self.tried.append(f"{label} (taken; the server also wants {' or '.join(more)})")
        return more


def _heard(error: paramiko.AuthenticationException) -> None:
    """A server that says nothing has refused nothing."""
    if "timeout" in str(error).lower():
        raise TimeoutError("the login was not answered in time") from error


class _Answering:
    """Answers a server's questions: the first that may be for the password, once. Any other ends the login at once: a
    wrong answer would count as a failure, and the password is nothing to answer a question about a code with."""

    def __init__(self, connection: Connection) -> None:
        self._name = connection.name
        self._answers = [connection.password]

    def __call__(self, _title: str, _instructions: str, asked: Sequence[tuple[str, bool]]) -> list[str]:
        return [self._answer(question, echo) for question, echo in asked]

    def _answer(self, question: str, echo: bool) -> str:
        if self._answers and not echo and not OF_A_CODE.search(question):
            return self._answers.pop()
        shown = "".join(one if one.isprintable() else " " for one in question).strip()[:200]
        again = "" if self._answers else " after the password"
        raise Unreachable(
            f"{self._name}: the server asks {shown!r}{again}, which nothing here can answer",
            help="let this user in by a key or a certificate alone (AuthenticationMethods in a Match of sshd_config)",
        )


def _keys(route: Route, connection: Connection, tried: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Keys to try: named ones; else, unless there is a password, the agent's and those of ~/.ssh."""
    yield from _key_files(route, route.keys or (), connection.passphrase, tried)
    if connection.password:
        return
    if not route.only_these_keys:
        for key in agent_keys(route.agent):
            yield f"agent key {fingerprint(key.asbytes())}", key
    if route.keys is None:
        usual = tuple(str(Path.home() / ".ssh" / name) for name in DEFAULT_KEYS)
        yield from _key_files(route, usual, connection.passphrase, [])


def _key_files(
    route: Route, paths: tuple[str, ...], passphrase: str, tried: list[str]
) -> Iterator[tuple[str, paramiko.PKey]]:
    for path in paths:
        label = path
        try:
            key = _key(path, passphrase)
        except (OSError, paramiko.SSHException, ValueError, TypeError) as e:
            if (held := _held_by_agent(path, route.agent)) is None:
                tried.append(f"{path} ({_why_not(e, passphrase)})")
                continue
            key, label = held, f"{path} by ssh-agent"
        if too_short(key, route):
            tried.append(f"{label} (shorter than RequiredRSASize)")
            continue
        for certificate in (*route.certificates, f"{path}-cert.pub"):
            if _certifies(certificate, key):
                yield f"{label} with {certificate}", key
        key.public_blob = None
        yield label, key


def _why_not(error: Exception, passphrase: str) -> str:
    if isinstance(error, FileNotFoundError):
        return "is not there"
    if isinstance(error, paramiko.PasswordRequiredException):
        return "has a passphrase: set ansible_ssh_private_key_passphrase, or load it into ssh-agent"
    return "its passphrase is another" if passphrase else str(error)


def _key(path: str, passphrase: str) -> paramiko.PKey:
    """The key alone, without a certificate that lies beside it. One that is not locked needs no passphrase.

    It is read once while its file stays as it is: to check one of RSA, or to open one by its passphrase, takes a
    quarter of a second of computing, which every host that it is for would pay.
    """
    now = Path(path).stat()
    with _READING:
        key = copy.copy(_read(path, passphrase, now.st_ino, now.st_mtime_ns))
    key.public_blob = None
    return key


@functools.lru_cache(maxsize=16)
def _read(path: str, passphrase: str, _inode: int, _changed: int) -> paramiko.PKey:
    content = Path(path).read_bytes()
    read = _ed25519 if _kind(content) == "ssh-ed25519" else _by_cryptography
    try:
        return read(path, content, None)
    except (paramiko.PasswordRequiredException, TypeError) as e:  # TypeError: cryptography's own word for the same
        if not passphrase:
            raise paramiko.PasswordRequiredException from e
        return read(path, content, passphrase.encode("utf-8", "surrogateescape"))


def _ed25519(path: str, _content: bytes, passphrase: Any) -> paramiko.PKey:
    return paramiko.Ed25519Key.from_private_key_file(path, passphrase)  # bytes, whatever is declared


def _by_cryptography(_path: str, content: bytes, passphrase: bytes | None) -> paramiko.PKey:
    """paramiko's own reader reads them twice, misses one in four ECDSA keys of OpenSSH's format, and all of PKCS#8."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    load = load_ssh_private_key if OPENSSH in content else load_pem_private_key
    try:
        key = load(content, passphrase)
    except UnsupportedAlgorithm as e:
        raise ValueError(str(e)) from e
    if isinstance(key, rsa.RSAPrivateKey):
        return paramiko.RSAKey(key=key)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return paramiko.ECDSAKey(vals=(key, key.public_key()))
    raise ValueError("keys of its kind are read in OpenSSH's format only: ssh-keygen -p writes it so")


def _kind(content: bytes) -> str:
    """What a private key is of, by its public half, which no passphrase locks (PROTOCOL.key of OpenSSH); "" of another
    format."""
    data = base64.b64decode(content.partition(OPENSSH)[2].partition(b"-----END")[0])
    if not data.startswith(MAGIC):
        return ""
    message = paramiko.Message(data[len(MAGIC) :])
    for _ in ("cipher", "kdf", "its options"):
        message.get_string()
    message.get_int()  # the number of keys
    return paramiko.Message(message.get_string()).get_text()


def _certifies(certificate: str, key: paramiko.PKey) -> bool:
    """Whether an authority vouches for the key there; from then on the key shows it. Not where the certificate is not
    there, or is another key's."""
    key.public_blob = None
    if not Path(certificate).is_file():
        return False
    try:
        key.load_certificate(certificate)
    except ValueError:
        return False
    blob = key.public_blob
    return blob is not None and key.asbytes()[-32:] in blob.key_blob


def _held_by_agent(path: str, agent: str) -> paramiko.PKey | None:
    """The agent's key of which `path` is the public half, or has it beside it: the file itself may be locked, or not
    be here."""
    for public in (Path(path), Path(f"{path}.pub")):
        words = public.read_text(errors="replace").split() if agent and public.is_file() else []
        if len(words) > 1:
            held = (key for key in agent_keys(agent) if key.get_base64() == words[1])
            if (found := next(held, None)) is not None:
                return found
    return None
