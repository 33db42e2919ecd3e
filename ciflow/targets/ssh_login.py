"""Logging in to a server that has shown a good host key: by keys and their certificates, then by the password."""

from __future__ import annotations

import base64
import copy
import functools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import paramiko

from ciflow.diagnostics import Unreachable
from ciflow.targets.connection import Connection
from ciflow.targets.known_hosts import fingerprint
from ciflow.targets.ssh_options import Route

OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
MAGIC = b"openssh-key-v1\0"
_READING = threading.Lock()  # of keys: whoever needs the same one waits for it instead of reading it as well
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


def log_in(transport: paramiko.Transport, route: Route, connection: Connection) -> None:
    """A server may want several proofs, one after the other (sshd's AuthenticationMethods)."""
    tried: list[str] = []
    if _by_keys(transport, route, connection, tried) or _by_password(transport, route, connection, tried):
        return
    raise Unreachable(
        f"{connection.name}: {route.user}@{route.address}:{route.port} refused the login"
        + (f"; tried: {', '.join(tried)}" if tried else ": there is neither a key nor a password to try"),
        help="set ansible_ssh_private_key_file or ansible_user, or load the key into ssh-agent",
    )


def _by_keys(transport: paramiko.Transport, route: Route, connection: Connection, tried: list[str]) -> bool:
    for label, key in _keys(route, connection, tried):
        try:
            more = transport.auth_publickey(route.user, key)
        except paramiko.BadAuthenticationType:
            tried.append("keys (the server takes none)")
            return False
        except paramiko.AuthenticationException as e:
            _heard(e)
            tried.append(label)
            if not transport.is_active():
                return False
            continue
        if more:
            tried.append(f"{label} (taken; the server also wants {' or '.join(more)})")
        return not more
    return False


def _by_password(transport: paramiko.Transport, route: Route, connection: Connection, tried: list[str]) -> bool:
    """As the method `password`, or as the answer to the question that `keyboard-interactive` asks."""
    if not connection.password or not transport.is_active():
        return False
    try:
        if not (more := transport.auth_password(route.user, connection.password, fallback=False)):
            return True
        tried.append(f"password (taken; the server also wants {' or '.join(more)})")
    except paramiko.BadAuthenticationType as refused:
        more = refused.allowed_types
    except paramiko.AuthenticationException as e:
        _heard(e)
        tried.append("password")
        return False
    if "keyboard-interactive" not in more:
        return False
    try:
        if not transport.auth_interactive(route.user, _answering(connection.password)):
            return True
    except paramiko.AuthenticationException as e:
        _heard(e)
        tried.append("password (keyboard-interactive)")
    return False


def _heard(error: paramiko.AuthenticationException) -> None:
    """A server that says nothing has refused nothing."""
    if "timeout" in str(error).lower():
        raise TimeoutError("the login was not answered in time") from error


class _answering:  # noqa: N801 - called as a function
    """Answers what is asked without an echo with the password, once: who asks again has refused it."""

    def __init__(self, password: str) -> None:
        self._answers = [password]

    def __call__(self, _title: str, _instructions: str, asked: Sequence[tuple[str, bool]]) -> list[str]:
        return ["" if echo or not self._answers else self._answers.pop() for _question, echo in asked]


def _keys(route: Route, connection: Connection, tried: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Keys to try: named ones; else, unless there is a password, the agent's and those of ~/.ssh."""
    yield from _key_files(route.keys, route.certificates, connection.passphrase, tried)
    if connection.password:
        return
    if not route.only_these_keys:
        for key in _agent_keys():
            yield f"agent key {fingerprint(key.asbytes())}", key
    if not route.keys:
        usual = tuple(str(Path.home() / ".ssh" / name) for name in DEFAULT_KEYS)
        yield from _key_files(usual, route.certificates, connection.passphrase, [])


def _key_files(
    paths: tuple[str, ...], certificates: tuple[str, ...], passphrase: str, tried: list[str]
) -> Iterator[tuple[str, paramiko.PKey]]:
    for path in paths:
        try:
            for certificate in (*certificates, f"{path}-cert.pub"):
                if (certified := _certified(path, certificate, passphrase)) is not None:
                    yield f"{path} with {certificate}", certified
            yield path, _key(path, passphrase)
        except FileNotFoundError:
            tried.append(f"{path} (is not there)")
        except paramiko.PasswordRequiredException:
            if (held := _held_by_agent(path)) is not None:
                yield f"{path} by ssh-agent", held
            else:
                words = "has a passphrase: set ansible_ssh_private_key_passphrase, or load it into ssh-agent"
                tried.append(f"{path} ({words})")
        except (OSError, paramiko.SSHException, ValueError, TypeError) as e:
            tried.append(f"{path} ({'its passphrase is another' if passphrase else e})")


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


def _certified(path: str, certificate: str, passphrase: str) -> paramiko.PKey | None:
    """The key as an authority vouches for it; None where the certificate is not there, or is another key's."""
    if not Path(certificate).is_file():
        return None
    key = _key(path, passphrase)
    try:
        key.load_certificate(certificate)
    except ValueError:
        return None
    blob = key.public_blob
    return key if blob is not None and key.asbytes()[-32:] in blob.key_blob else None


def _held_by_agent(path: str) -> paramiko.PKey | None:
    """The agent's key of which `path` is the locked file, as its public half beside it says."""
    public = Path(f"{path}.pub")
    words = public.read_text(errors="replace").split() if public.is_file() else []
    return next((key for key in _agent_keys() if len(words) > 1 and key.get_base64() == words[1]), None)


def _agent_keys() -> tuple[paramiko.PKey, ...]:
    try:
        return tuple(paramiko.Agent().get_keys())
    except (OSError, paramiko.SSHException):
        return ()
