"""Values that are wanted at once, where nothing may be waited for: before the run, and in between its steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from ciflow.diagnostics import Diagnostic, Invalid, Span
from ciflow.lang.files import Files
from ciflow.lang.scope import Need, NeedFacts, Scope
from ciflow.lang.template import keyword
from ciflow.model import Exec, Reply

T = TypeVar("T")


def answered(make: Callable[[Scope], T], scope: Scope, files: Files) -> T:
    """What `make` renders, when of all lookups only `env` has an answer. Raises Need and NeedFacts for others."""
    answers = dict(scope.answers)
    while True:
        try:
            return make(Scope(scope.layers, scope.render, answers, facts_known=scope.facts_known, vault=scope.vault))
        except Need as need:
            argv = need.operation.argv if isinstance(need.operation, Exec) else ()
            if argv[:1] != ("printenv",) or need.key in answers:
                raise
            found = files.variable(argv[1])
            answers[need.key] = Reply(rc=int(found is None), stdout=os.fsencode(f"{found or ''}\n"))


def at_once(value: Any, scope: Scope, files: Files, default: Any = None) -> Any:
    """A keyword's value, rendered at once. Raises Invalid, placed, for what would have to be waited for."""
    return made_at_once(lambda scope: keyword(value, scope, default), scope, files, getattr(value, "span", None))


def made_at_once(make: Callable[[Scope], T], scope: Scope, files: Files, span: Span | None) -> T:
    """What `make` renders at once of the text at `span`. Raises Invalid."""
    try:
        return answered(make, scope, files)
    except (Need, NeedFacts) as wanted:
        text = "this must be known at once; facts that were not read and lookups other than `env` are not"
        help = "give it by `-e`, `lookup('env', ..)`, or, in a task, a variable that `set_fact` has made before"
        raise Invalid([Diagnostic("error", "CF0101", text, span, help=help)], files.sources()) from wanted
