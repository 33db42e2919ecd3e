"""A task's arguments, rendered: those of `assert` and `debug` are conditions and names, which are not.

`validate_argument_spec` is given the variables that it is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang.schema import coerce
from ciflow.lang.scope import MISSING, OMIT, Scope, opened
from ciflow.lang.template import evaluate, render
from ciflow.model import Task, Template


def arguments(task: Task, scope: Scope) -> dict[str, Any]:
    """A task's arguments, rendered. Raises Invalid, placed."""
    if task.module == "assert":
        args = dict(task.args)
        if isinstance(whole := render(args.get(""), scope), Mapping):
            args = {**args, **whole}
            del args[""]
        that = args.pop("that", ())
        conditions = that if isinstance(that, list | tuple) else (that,)
        if not conditions:
            raise Invalid([Diagnostic("error", "CF0103", "`assert` needs `that`", task.span)])
        decided = list(_decided(conditions, scope))
        return {**coerce("assert", render(args, scope), task.spans), "that": decided}
    if task.module == "debug" and "var" in task.args:
        name = str(getattr(task.args["var"], "source", task.args["var"]))
        rest = render({k: v for k, v in task.args.items() if k != "var"}, scope)
        return {**coerce("debug", rest, task.spans), "var": name, "value": _shown(task.args["var"], scope)}
    rendered = render(task.args, scope)
    if task.module == "validate_argument_spec":
        args = coerce(task.module, rendered, task.spans)
        given = {**_specified(args["argument_spec"], scope), **args["provided_arguments"]}
        return {**args, "provided_arguments": given}
    return dict(coerce(task.module, rendered, task.spans, checked=rendered is task.args))


def _decided(conditions: Iterable[Any], scope: Scope) -> Iterator[tuple[str, bool]]:
    """Each condition's text and whether it holds, up to the first that doesn't: those after it may depend on it.

    A condition that gives a list stands for all in it, which must be booleans like any.
    """
    for condition in conditions:
        whole = isinstance(condition, Template) and not condition.expression
        given = render(condition, scope) if whole else None
        held = evaluate(tuple(given) if isinstance(given, list) else (condition,), scope)
        yield str(getattr(condition, "source", condition)), held
        if not held:
            return


def _specified(options: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """The variables of the names that a specification has."""
    found = {name: scope.find(name) for name in options if isinstance(name, str)}
    return {name: opened(value) for name, value in found.items() if value is not MISSING and value is not OMIT}


def _shown(var: Any, scope: Scope) -> Any:
    """What `debug: var=` shows: an undefined variable is said to be so, not a failure, as in Ansible."""
    try:
        return render(var, scope)
    except Invalid as error:
        if any(fault.code != "CF0210" for fault in error.diagnostics):
            raise
        return "VARIABLE IS NOT DEFINED!"
