"""`command`: run a program with its arguments, without a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ciflow.model import Context, Exec, Outcome, Steps
from ciflow.modules.execute import execute, stdin

_QUOTING = frozenset("'\"\\")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """`cmd` is split as a POSIX shell would split it, `argv` taken as it is; then `$NAME` and `~` are expanded."""
    try:
        words = [str(word) for word in args["argv"]] if args.get("argv") else split(args["cmd"])
    except ValueError as error:
        return Outcome(failed=True, msg=f"cmd: {error}", data={"cmd": args["cmd"], "rc": None})
    if not words:
        return Outcome(failed=True, msg="no command given", data={"rc": 256})
    operation = Exec(
        argv=expanded(words) if args["expand_argument_vars"] else tuple(words),
        stdin=stdin(args),
        cwd=args.get("chdir", ""),
        env=context.environment,
        timeout=context.timeout,
        creates=args.get("creates", ""),
        removes=args.get("removes", ""),
    )
    return (yield from execute(operation, words, context, strip=args["strip_empty_ends"]))


def split(text: str) -> list[str]:
    """As a POSIX shell splits words, whose rules only quotes, backslashes and other blanks than spaces call for."""
    if text.isascii() and text.isprintable() and _QUOTING.isdisjoint(text):
        return text.split()
    return shlex.split(text)


def expanded(words: Sequence[str]) -> tuple[str, ...]:
    """The argv that gives the program `words` with the host's variables and home put in.

    Only where a word asks for it, a shell does the expanding: every other character is quoted, and a variable that
    is not set stays as written, as Python's os.path.expandvars (which Ansible uses) has it.
    """
    if not any(_VARIABLE.search(word) or word.startswith("~") for word in words):
        return tuple(words)
    return ("/bin/sh", "-c", "exec " + " ".join(_shell_word(word) for word in words))


def _shell_word(word: str) -> str:
    home, slash, rest = word.partition("/") if re.match(r"~[\w.-]*(/|$)", word) else ("", "", word)
    out, end = home + slash, 0
    for found in _VARIABLE.finditer(rest):
        plain = rest[end : found.start()]
        out += (shlex.quote(plain) if plain else "") + _shell_variable(found[1] or found[2], found[0])
        end = found.end()
    tail = rest[end:]
    return out + (shlex.quote(tail) if tail or not out else "")


def _shell_variable(name: str, written: str) -> str:
    if name[0].isdigit():
        return shlex.quote(written)
    literal = written.replace("$", "\\$").replace("}", "\\}")
    return f'"${{{name}-{literal}}}"'
