"""Operations as scripts for a POSIX shell: what a host without Python is sent. Pure.

`lower` gives a generator as a module is one: it yields scripts, is sent what they came to, and returns the reply. The
functions that scripts call are those of agent.sh. What a shell can't do well is refused, never done nearly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from ciflow.diagnostics import Refused
from ciflow.model import Exec, Operation
from ciflow.targets import sh_files
from ciflow.targets.sh_words import (
    SMALL,
    Script,
    Stage,
    Steps,
    escape,
    is_name,
    pattern,
    place,
    quoted,
    reply_of,
    told,
)  # fmt: skip


def lower(operation: Operation, key: str, *, check: bool = False, sha256: str = "") -> Steps:
    """The scripts of an operation. `key`: a name for its temporary files; `sha256`: of content that comes apart.

    Refused (when it is first advanced): a shell can't do it.
    """
    maker = _LOWERED.get(type(operation).__name__)
    if maker is None:
        raise Refused(f"{type(operation).__name__} needs Python on the host, which is spoken to by its shell")
    return maker(operation, key, check, sha256)


def _exec(operation: Exec, _key: str, check: bool, _sha256: str) -> Steps:
    if bad := [name for name in operation.env if not is_name(name)]:
        raise Refused(f"the environment variable {bad[0]!r} is no name for a shell, and needs Python on the host")
    lines = [*_decided(operation)]
    if check:
        result = yield Script("\n".join([*lines, "say status '\"skipped\"'; say data.msg '\"check mode\"'"]))
        return reply_of(result)
    source = "/dev/null"
    if len(operation.stdin) > SMALL:
        yield Stage(operation.stdin)
        source = '"$staged"'
    elif operation.stdin:
        lines.append(f'printf %b {quoted(escape(operation.stdin))} >"$d/in" || die')
        source = '"$d/in"'
    result = yield Script("\n".join([*lines, *_launch(operation, source)]), journalled=True)
    return reply_of(result)


def _launch(operation: Exec, source: str) -> list[str]:
    argv = operation.argv or (operation.executable or "/bin/sh", "-c", operation.shell)
    path = quoted(operation.env["PATH"]) if "PATH" in operation.env else '"$PATH"'
    exports = [f"export {name}={quoted(value)}" for name, value in operation.env.items()]
    lines = []
    if operation.cwd:
        folder = place(operation.cwd)
        lines.append(f"[ -d {folder} ] || fail ENOENT {told(f'no directory {operation.cwd} to run in')}")
        exports.insert(0, f"cd {folder} || exit 126")
    wrong = f"cannot run {argv[0]}" if "/" in argv[0] else f"no program {argv[0]} in PATH"
    if not ("/" in argv[0] and not argv[0].startswith("/")):
        lines.append(f"find_program {quoted(argv[0])} {path} {told(wrong)}")
    lines.append("prepare() {\n:\n" + "\n".join(exports) + "\n}")
    lines.append(f"launch {operation.timeout:g} {source} {' '.join(map(quoted, argv))}")
    return [*lines, "say changed true"]


def _decided(operation: Exec) -> list[str]:
    """Lines that end the script where `creates` or `removes` say that nothing is to be done."""
    base = place(operation.cwd) + "/" if operation.cwd else '"$here"/'
    lines = []
    for name, wanted, there in (("creates", operation.creates, True), ("removes", operation.removes, False)):
        if not wanted:
            continue
        words = f"{wanted} {'exists' if there else 'does not exist'}"
        glob = place(wanted) if wanted.startswith("~") else ("" if wanted.startswith("/") else base) + pattern(wanted)
        lines += [
            "there=no",
            f'for one in {glob}; do if [ -e "$one" ] || [ -L "$one" ]; then there=yes; fi; done',
            f"[ $there = {'no' if there else 'yes'} ] || {{ say status '\"skipped\"'; say data.because {told(name)}; "
            f"say data.msg {told(words)}; exit 0; }}",
        ]
    return lines


_Maker: TypeAlias = Callable[[Any, str, bool, str], Steps]
_LOWERED: dict[str, _Maker] = {"Exec": _exec, **sh_files.LOWERED}
