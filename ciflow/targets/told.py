"""What a session tells the engine, through its `inbox`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from ciflow.dataclass import dataclass
from ciflow.diagnostics import CiflowError
from ciflow.model import Reply


@dataclass(frozen=True, slots=True)
class Ready:
    """The agent answers. `hello` has user, uid, home, python, pid, journal (its identity: keep the run's first one,
    for `ask`), token, and warning (not empty: there is no journal, lost operations will be unknown)."""

    session: object
    hello: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    session: object
    key: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class Output:
    """Output of an Exec while it runs: `stream` is stdout or stderr. The reply has it again, whole or abridged."""

    session: object
    key: str
    stream: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """What the host's journal says: done (with the reply), running (an Answer follows), absent, or unknown."""

    session: object
    key: str
    state: str
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event of a session. `error` is None after `close`; Unreachable: it never was ready; Lost: the
    connection broke; Locked: a run with a greater token holds the project there."""

    session: object
    error: CiflowError | None = None


SessionEvent: TypeAlias = Ready | Answer | Output | Asked | Ended
