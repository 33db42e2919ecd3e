"""The host's own tools (apt-get, useradd, systemctl, ..): asked what is so, then told what is to be otherwise."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Change, Context, Exec, Outcome, Reply, Step
from ciflow.modules.replies import failure, predicted, text, well

# What a tool says is read, so it must speak the language that is expected.
_PLAIN = {"LANG": "C", "LANGUAGE": "C", "LC_ALL": "C"}
# Administration tools are found whoever logged in: su and sudo don't always leave these folders on the path.
_FIND = 'PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" exec "$@"'
_FIND_FIRST = 'PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"\nsection() { printf \'\\n@@%s\\n\' "$1"; }\n'
_SECTION = r"(?m)^@@(\w+)\n"


def tool(argv: Sequence[str], context: Context, *, stdin: str = "", env: Mapping[str, str] | None = None) -> Exec:
    """One call of a tool, in plain C locale, wherever a tool of the system lies."""
    return _exec(("/bin/sh", "-c", _FIND, "sh", *argv), context, stdin, env)


def questions(script: str, words: Sequence[str], context: Context, env: Mapping[str, str] | None = None) -> Exec:
    """A shell script that asks several things at once: `section NAME` begins an answer that `sections` gives back.

    `words` are $1 and what follows, so that no value is ever part of a script's text.
    """
    return _exec(("/bin/sh", "-c", _FIND_FIRST + script.strip() + "\n", "sh", *words), context, "", env)


def _exec(argv: tuple[str, ...], context: Context, stdin: str, env: Mapping[str, str] | None) -> Exec:
    return Exec(
        argv=argv,
        stdin=stdin.encode("utf-8", "surrogateescape"),
        env={**context.environment, **_PLAIN, **(env or {})},
        timeout=context.timeout,
    )


def sections(output: bytes) -> dict[str, str]:
    """The answers of `questions`, by name. A line `@@name` opens one; the newline before it belongs to neither."""
    parts = re.split(_SECTION, text(output))
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {name: body.removesuffix("\n") for name, body in pairs}


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of some calls in a row. `outcome` is there when one of them went wrong: no later one was made."""

    stdout: str = ""
    stderr: str = ""
    changed: bool = False  # a call was made, or would have been
    predicted: bool = False
    outcome: Outcome | None = None

    @property
    def said(self) -> dict[str, Any]:
        """`stdout stderr` and their lines, as far as there was anything, as Ansible registers them."""
        return output_data(self.stdout, self.stderr, always=False)


def run_all(calls: Iterable[tuple[str, Exec]], data: Mapping[str, Any]) -> Generator[Step, Reply, Ran]:
    """Make calls (what it is in words, the call) one after the other until one goes wrong."""
    stdout, stderr, foreseen, called = "", "", False, False
    for what, call in calls:
        reply, called = (yield Change(call)), True
        stdout, stderr = stdout + text(reply.stdout), stderr + text(reply.stderr)
        foreseen = foreseen or predicted(reply)
        if not well(reply) and not predicted(reply):
            return Ran(stdout, stderr, called, foreseen, broken(reply, what, data))
    return Ran(stdout, stderr, called, foreseen)


def broken(reply: Reply, what: str, data: Mapping[str, Any] | None = None) -> Outcome:
    """The outcome of a call that went wrong, with all that it said."""
    said = text(reply.stderr).strip() or text(reply.stdout).strip()
    more = {**(data or {}), "rc": reply.rc, **output_data(text(reply.stdout), text(reply.stderr))}
    if reply.status != "done" or reply.error or not said:
        return failure(reply, more, what)
    return Outcome(failed=True, msg=f"{what}: {said}", data=more)


def output_data(stdout: str, stderr: str, *, always: bool = True) -> dict[str, Any]:
    """Both streams of a call and their lines, under Ansible's names."""
    data: dict[str, Any] = {}
    for name, said in (("stdout", stdout), ("stderr", stderr)):
        if said or always:
            data |= {name: said, f"{name}_lines": said.splitlines()}
    return data
