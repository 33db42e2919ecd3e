"""Every error has a place: spans, diagnostics, and the tree of ciflow's own exceptions.

CiflowError                  anything ciflow raises on purpose; `exit_code` says how the process ends
|- Invalid                   bad input: carries the placed diagnostics, all of them (exit 3)
|- NoSuch                    a run, service or module is asked for that is not there (exit 3)
|- TargetError               a target failed as a pipe, not as a task (exit 5)
|  |- Unreachable            no connection, refused login, unknown or changed host key
|  |  `- Gone                 the host is no more: a pod or container that was removed
|  |- Denied                 the host won't let us be whom a task asks for: a wrong password (exit 4)
|  `- Lost                   the connection ended in mid-operation; the host's journal knows the rest
|- Locked                    somebody else holds the lock or a greater token (exit 6)
|- StoreError                the journal on this machine can't be read or written (exit 1)
|- ArtifactError             an artifact can't be kept, found or fetched as it was (exit 4)
`- Refused                   a capability that is not built, or is unsafe here, said plainly (exit 3)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

from ciflow.dataclass import dataclass, field


class ExitCode(IntEnum):
    """How a ciflow process ends; the meaning of each number is a promise to scripts."""

    OK = 0
    INTERNAL = 1
    CHANGES_PENDING = 2
    INVALID = 3
    TASK_FAILED = 4
    UNREACHABLE = 5
    LOCKED = 6
    ROLLED_BACK = 7
    PAUSED = 8
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a source text. Lines and columns count from 1; `end_column` is exclusive."""

    file: str
    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


# Words beside a caret; a function where they take long to find: of thousands of faults twenty are shown.
Label = str | Callable[[], str]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `code` is `CF` and four digits, each documented; `related` is the chain that led here."""

    severity: str  # error | warning | hint
    code: str
    message: str
    span: Span | None = None
    beside: Label = ""
    help: str = ""
    related: tuple[tuple[str, Span | None], ...] = ()

    @property
    def label(self) -> str:
        """What is said beside the caret: "did you mean `tasks`?"."""
        return self.beside if isinstance(self.beside, str) else self.beside()

    @property
    def is_error(self) -> bool:
        return self.severity == "error"


class CiflowError(Exception):
    """Base of all errors raised on purpose. `help` says what to do next."""

    exit_code = ExitCode.INTERNAL

    def __init__(self, message: str, *, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class Invalid(CiflowError):
    """Bad input: every fault found, placed. `sources` maps a file to its text for the snippets.

    `undefined`: it is that a template reads a name which is not defined, so that what it makes is undefined too.
    """

    exit_code = ExitCode.INVALID

    def __init__(
        self, diagnostics: Sequence[Diagnostic], sources: dict[str, str] | None = None, *, undefined: bool = False
    ) -> None:
        super().__init__("\n".join(d.message for d in diagnostics))
        self.diagnostics = tuple(diagnostics)
        self.sources = sources or {}
        self.undefined = undefined


class NoSuch(CiflowError):
    """Something was asked for by a name that nothing has."""

    exit_code = ExitCode.INVALID


class TargetError(CiflowError):
    """A target failed as a pipe."""

    exit_code = ExitCode.UNREACHABLE


class Unreachable(TargetError):
    """No connection could be made: the reason in plain words, and what to do."""


class Gone(Unreachable):
    """The host itself is no more, and its journal with it: what it had in hand nobody can say any more."""


class Lost(TargetError):
    """The connection ended while operations were under way."""


class Broken(Unreachable):
    """What answers there is no agent of ours, or one that has gone mad: asking again would bring the same."""


class Denied(TargetError):
    """The host answers, and does not let us be whom a task asks for: that task fails there."""

    exit_code = ExitCode.TASK_FAILED


class Locked(CiflowError):
    """Somebody else holds what this run needs; says who, since when, and the way out."""

    exit_code = ExitCode.LOCKED


class Superseded(Locked):
    """A host has given the project to another `run`, with a `token` not smaller than ours."""

    def __init__(self, message: str, token: int, run: str = "", *, help: str = "") -> None:
        super().__init__(message, help=help)
        self.token = token
        self.run = run


class StoreError(CiflowError):
    """The journal can't be opened, read or written; nothing was done after the failure."""


class ArtifactError(CiflowError):
    """The place where artifacts are kept doesn't answer, lacks one, or gave other bytes than were asked for."""

    exit_code = ExitCode.TASK_FAILED


class Refused(CiflowError):
    """Not built, or not safe here. Never a silent approximation."""

    exit_code = ExitCode.INVALID


@dataclass(slots=True)
class Findings:
    """Collects diagnostics so that a checker reports all of them, not the first."""

    items: list[Diagnostic] = field(default_factory=list)

    def error(self, code: str, message: str, span: Span | None, *, label: Label = "", help: str = "") -> None:
        self.items.append(Diagnostic("error", code, message, span, label, help))

    def warning(self, code: str, message: str, span: Span | None, *, label: Label = "", help: str = "") -> None:
        self.items.append(Diagnostic("warning", code, message, span, label, help))

    def hint(self, code: str, message: str, span: Span | None, *, label: Label = "", help: str = "") -> None:
        self.items.append(Diagnostic("hint", code, message, span, label, help))

    def failed_since(self, mark: int) -> bool:
        """Whether an error came after the first `mark` findings (`len(items)` of then)."""
        return any(one.is_error for one in self.items[mark:])

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.items if d.is_error)
