"""`debugger:` stops at a task for a person, who looks, changes its arguments or variables, and runs it again.

Commands are Ansible's. What was changed and run again is recorded: a resumed run does it alike, and asks only what
nobody has answered.
"""

from __future__ import annotations

import ast
import pprint
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import CiflowError, Invalid, Span
from ciflow.engine.keys import Key
from ciflow.engine.result import Result
from ciflow.lang.names import templates_in
from ciflow.lang.schema import coerce, module_schema
from ciflow.lang.scope import MISSING, Need, NeedFacts, Scope
from ciflow.lang.template import render
from ciflow.model import Task, Template

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane

_SET = re.compile(r"""(task\.args|task_vars)\[(['"])(.+?)\2\]\s*=\s*(.+)""")
_STATUS = {"on_failed": ("failed", "unknown"), "on_unreachable": ("unreachable",), "on_skipped": ("skipped",)}
_HELP = """p EXPRESSION             show what it is: task, task.args, result, host, task_vars['x'], or any expression
task.args['x'] = VALUE   give the task another argument; VALUE is a literal: 'text', 5, true, ['a', 'b']
task_vars['x'] = VALUE   give it another variable
r                        run it again
c                        go on with the result that it has
q                        end the run here; `ciflow resume` goes on"""


class Quit(Exception):
    """Somebody ended the play from the debugger."""


def stops(word: str, result: Result) -> bool:
    """Whether `debugger: WORD` stops at this result; one that is ignored is no failure."""
    return word == "always" or result.status in _STATUS.get(word, ())


class Debugger:
    """One host's stay at one task. `key` is where it stands in the run."""

    def __init__(self, lane: Lane, task: Task, key: Key) -> None:
        self._lane = lane
        self._task = task
        self._key = key
        self._number = 0

    async def next(self, result: Result) -> Task | None:
        """The task to run now, as it was changed; None to go on with this result. Raises Quit."""
        while True:
            line = await self._line()
            if line is None:
                return None
            word, _, rest = line.partition(" ")
            if word in ("r", "redo"):
                self._record(line)
                return self._task
            if word in ("c", "continue"):
                if not result.bad:
                    self._record(line)
                return None
            if word in ("q", "quit"):
                raise Quit
            if found := _SET.fullmatch(line):
                self._set(line, *found.group(1, 3, 4))
            elif word in ("p", "print") and rest:
                self._say(self._shown(rest.strip(), result))
            elif word in ("u", "update_task"):
                self._say("nothing to do: `r` renders the arguments anew")
            else:
                self._say(_HELP)

    # --- private -----------------------------------------------------------------------------------------

    async def _line(self) -> str | None:
        """What was typed, now or before a kill; None where nobody is there to type."""
        known = self._lane.run.recorder.known(self._place)
        if known is not MISSING:
            return str(known)
        person = self._lane.run.person
        if person is None:
            return None
        self._lane.run.recorder.commit()  # so that the failure stands above the question
        return (await person.ask(f"[{self._lane.host.name}] TASK: {self._lane.called(self._task)} (debug)> ")).strip()

    @property
    def _place(self) -> str:
        return f"{self._key}|debug{self._number}"

    def _record(self, line: str) -> None:
        """Sealed: an argument may be a secret, and nobody can tell."""
        self._lane.run.recorder.rendered(self._place, lambda: line, secret=True)
        self._number += 1

    def _set(self, line: str, what: str, name: str, text: str) -> None:
        try:
            value = ast.literal_eval({"true": "True", "false": "False", "null": "None"}.get(text, text))
            if what == "task_vars":
                self._task = replace(self._task, params=(*self._task.params, {name: value}))
            else:
                self._task = replace(self._task, args=self._args(name, value))
        except (ValueError, SyntaxError):
            self._say(f"{text} is no literal, such as 'text', 5, true or ['a', 'b']")
        except Invalid as error:
            self._say(error.message)
        else:
            self._record(line)

    def _args(self, name: str, value: Any) -> dict[str, Any]:
        """The arguments with this one changed. Raises Invalid for one that the module can't take."""
        name = (module_schema(self._task.module).free_form or name) if name == "_raw_params" else name
        args = {**self._task.args, name: value}
        if not any(templates_in(args)):
            coerce(self._task.module, args, self._task.spans)
        return args

    def _shown(self, text: str, result: Result) -> str:
        scope = self._lane.scope(self._task)
        if text in ("vars", "task_vars"):
            return ", ".join(sorted(scope.names()))
        try:
            value = render(Template(text, Span("debugger"), expression=True), self._seen(scope, result))
        except (CiflowError, Need, NeedFacts) as error:
            return str(error)
        return pprint.pformat(_plain(value), width=100)

    def _seen(self, scope: Scope, result: Result) -> Scope:
        """What `p` can look at; of a task with `no_log` neither arguments nor result."""
        task = self._task
        hidden = {"censored": "hidden by no_log"} if render(task.no_log, scope) is not False else None
        values, args = hidden or dict(result.values), hidden or _plain(task.args)
        called = {"name": self._lane.called(task), "action": task.module, "args": args}
        seen = {"task": called, "result": {**values, "_result": values}, "host": self._lane.host.name}
        return scope.child({**seen, "task_vars": scope.get("vars")})

    def _say(self, text: str) -> None:
        person = self._lane.run.person
        if person is not None:
            person.say(self._lane.run.mask.text(text))


def _plain(value: Any) -> Any:
    """Templates as they were written."""
    if isinstance(value, Template):
        return value.source
    if isinstance(value, Mapping):
        return {key: _plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(below) for below in value]
    return value
