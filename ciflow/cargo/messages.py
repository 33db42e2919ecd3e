"""`cargo build --message-format=json`: what was made, and what the compiler said.

Format: the Cargo book, "External tools", and the rustc book, "JSON output". The stream is one JSON object a
line; lines that are none (a build script or a test printing on its own) are kept apart, not judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.cargo.errors import ToolOutputError
from ciflow.dataclass import dataclass


@dataclass(frozen=True)
class Place:
    """Lines and columns count from 1; `file` is relative to the workspace for its own crates."""

    file: str
    line: int
    column: int


@dataclass(frozen=True)
class CompilerMessage:
    """`level` is `error`, `warning`, `error: internal compiler error`, ..; `code` is `E0308` or a lint's name."""

    level: str
    text: str
    code: str | None
    place: Place | None
    package_id: str
    rendered: str

    @property
    def is_error(self) -> bool:
        return self.level.startswith("error")


@dataclass(frozen=True)
class Artifact:
    """One target of one package; `executable` is None for what cannot be run. `fresh` means taken from the cache."""

    package_id: str
    name: str
    kinds: tuple[str, ...]
    files: tuple[str, ...]
    executable: str | None
    fresh: bool
    test: bool
    features: tuple[str, ...]


@dataclass(frozen=True)
class BuildReport:
    """`success` is None when the stream ended before cargo did: killed, never to be read as success."""

    artifacts: tuple[Artifact, ...]
    messages: tuple[CompilerMessage, ...]
    success: bool | None
    other_lines: tuple[str, ...]

    @property
    def errors(self) -> tuple[CompilerMessage, ...]:
        """Errors in the order the compiler found them, each once though several targets share the file."""
        found = {(m.text, m.code, m.place): m for m in reversed(self.messages) if m.is_error and not _summary(m)}
        return tuple(reversed(found.values()))

    @property
    def warnings(self) -> tuple[CompilerMessage, ...]:
        found = {(m.text, m.code, m.place): m for m in reversed(self.messages) if m.level == "warning" and m.place}
        return tuple(reversed(found.values()))

    def executables(self, *, tests: bool = False) -> dict[str, str]:
        """Path by name of the programs that were built: binaries, or test harnesses."""
        chosen = (a for a in self.artifacts if a.executable and a.test == tests and "custom-build" not in a.kinds)
        return {a.name: a.executable for a in chosen if a.executable}

    def files(self) -> tuple[Artifact, ...]:
        """Artifacts that can be delivered, by kind; no build scripts, no test harnesses."""
        return tuple(a for a in self.artifacts if not a.test and "custom-build" not in a.kinds)


def _summary(message: CompilerMessage) -> bool:
    return message.place is None and message.code is None and message.text.startswith("aborting due to")


def parse(text: str) -> BuildReport:
    """Read the whole standard output.

    Raises:
        ToolOutputError: a message of cargo lacks a field that the format promises.
    """
    artifacts: list[Artifact] = []
    messages: list[CompilerMessage] = []
    other: list[str] = []
    success: bool | None = None
    for line in text.splitlines():
        message = _message(line)
        try:
            match message.get("reason"):
                case "compiler-artifact":
                    artifacts.append(_artifact(message))
                case "compiler-message":
                    messages.append(_compiler_message(message))
                case "build-finished":
                    success = bool(message["success"])
                case None if line.strip():
                    other.append(line)
        except (KeyError, TypeError, AttributeError) as e:
            raise ToolOutputError(f"a {message['reason']} of cargo lacks or misplaces {e}") from e
    return BuildReport(tuple(artifacts), tuple(messages), success, tuple(other))


def _message(line: str) -> Mapping[str, Any]:
    """A message of cargo, or an empty mapping; a program's own JSON has no `reason`."""
    if not line.startswith("{"):
        return {}
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) and isinstance(value.get("reason"), str) else {}


def _artifact(message: Mapping[str, Any]) -> Artifact:
    target = message["target"]
    return Artifact(
        package_id=message["package_id"],
        name=target["name"],
        kinds=tuple(target["kind"]),
        files=tuple(message["filenames"]),
        executable=message["executable"],
        fresh=message["fresh"],
        test=message["profile"]["test"],
        features=tuple(message["features"]),
    )


def _compiler_message(message: Mapping[str, Any]) -> CompilerMessage:
    said = message["message"]
    return CompilerMessage(
        level=said["level"],
        text=said["message"],
        code=said["code"]["code"] if said["code"] else None,
        place=next(_places(said["spans"]), None),
        package_id=message["package_id"],
        rendered=said["rendered"] or said["message"],
    )


def _places(spans: list[Mapping[str, Any]]) -> Iterator[Place]:
    for span in spans:
        if span["is_primary"]:
            yield Place(span["file_name"], span["line_start"], span["column_start"])
