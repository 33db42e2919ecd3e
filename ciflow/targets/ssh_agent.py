"""ssh-agents on this machine, each by its socket: paramiko knows only the one that SSH_AUTH_SOCK names."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import paramiko

ANSWER = 60.0  # seconds: it may ask its user
PIECE = 16 * 1024
LONGEST = 256 * 1024  # bytes of a message, as OpenSSH has it


def agent_keys(path: str) -> tuple[paramiko.AgentKey, ...]:
    """The keys that the agent at `path` holds; none where there is no agent, or it doesn't answer."""
    if not path:
        return ()
    agent: Any = paramiko.agent.AgentSSH()
    try:
        agent._connect(_connected(path))  # as its subclass for SSH_AUTH_SOCK does
        return tuple(agent.get_keys())
    except (OSError, paramiko.SSHException):
        return ()


def _connected(path: str) -> socket.socket:
    """Closed when nobody holds it any more."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(ANSWER)
    made.connect(path)
    return made


class LentAgent:
    """What a command on a host asks of an agent, carried to the agent here, and its answers back."""

    def __init__(self, path: str, asking: paramiko.Channel) -> None:
        self._asking = asking
        self._path = path
        threading.Thread(target=self._carry, name="agent", daemon=True).start()

    def close(self) -> None:
        self._asking.close()

    def _carry(self) -> None:
        """A question is answered before the next is asked (draft-ietf-sshm-ssh-agent), so one thread does."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException), _connected(self._path) as agent:
            while question := _message(self._asking):
                agent.sendall(question)
                self._asking.sendall(_message(agent))
        self._asking.close()


def _message(end: paramiko.Channel | socket.socket) -> bytes:
    """A message with its length before it; b"" at the end."""
    head = _exactly(end, 4)
    size = int.from_bytes(head, "big")
    body = _exactly(end, size) if size <= LONGEST else b""
    return head + body if body else b""


def _exactly(end: paramiko.Channel | socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = end.recv(min(PIECE, size - len(data)))
        if not more:
            return b""
        data += more
    return data
