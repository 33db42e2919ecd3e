"""What a person at the terminal is asked: variables of `vars_prompt`, before anything runs; and who is asked at all."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang.at_once import at_once
from ciflow.lang.load import Loaded
from ciflow.lang.scope import Layer, Level, Scope
from ciflow.lang.shacrypt import sha_crypt
from ciflow.lang.template import render
from ciflow.model import Play, Playbook, Prompt

SALT = string.ascii_letters + string.digits + "./"


class Person(Protocol):
    """Somebody at this process's terminal. Questions are asked one at a time, and can be cancelled."""

    async def ask(self, question: str, *, secret: bool = False) -> str: ...

    def ask_first(self, question: str, *, secret: bool = False) -> str:
        """The same where no loop runs yet."""

    def say(self, text: str) -> None: ...


Answers = Mapping[str, Mapping[str, str]]  # by the play's id, then by name


def unanswered(loaded: Loaded) -> Iterator[tuple[Play, Prompt]]:
    """What has to be asked: `-e` answers for every play."""
    for play in loaded.playbook.plays:
        yield from ((play, prompt) for prompt in play.prompts if prompt.name not in loaded.extra)


def ask(loaded: Loaded, person: Person | None) -> Answers:
    """What is typed, by play. Without a person, or where nothing is typed, `default` counts; Invalid without one."""
    found: dict[str, dict[str, str]] = {}
    missing: list[Diagnostic] = []
    for play, prompt in unanswered(loaded):
        rendered = partial(at_once, scope=_scope(loaded, play, found.get(play.id, {})), files=loaded.files)
        answer = _typed(prompt, rendered, person) if person is not None else ""
        if not answer and prompt.default is not None:
            answer = str(rendered(prompt.default))
        elif person is None:
            missing.append(_missing(prompt))
        found.setdefault(play.id, {})[prompt.name] = _kept(prompt, answer)
    if missing:
        raise Invalid(missing, loaded.files.sources())
    return found


def answered(playbook: Playbook, answers: Answers) -> Playbook:
    """The playbook with its answers as variables. What nobody has asked for yet is its default, or empty."""
    plays = []
    for play in playbook.plays:
        usual = {prompt.name: "" if prompt.default is None else prompt.default for prompt in play.prompts}
        plays.append(replace(play, answers={**usual, **answers.get(play.id, {})}) if usual else play)
    return replace(playbook, plays=tuple(plays))


def secrets_of(playbook: Playbook, answers: Answers) -> Iterator[str]:
    """Answers that were typed unseen: they are shown nowhere later either."""
    for play in playbook.plays:
        known = answers.get(play.id, {})
        yield from (known[prompt.name] for prompt in play.prompts if prompt.private and known.get(prompt.name))


def _typed(prompt: Prompt, rendered: Callable[[Any], Any], person: Person) -> str:
    text = str(rendered(prompt.text) or f"input for {prompt.name}")
    default = "" if prompt.default is None else f" [{rendered(prompt.default)}]"
    question = f"{text}{default}: "
    while True:
        answer = person.ask_first(question, secret=prompt.private)
        if not prompt.confirm or person.ask_first(f"confirm {question}", secret=prompt.private) == answer:
            return answer
        person.say("***** VALUES ENTERED DO NOT MATCH ****")


def _scope(loaded: Loaded, play: Play, answers: Mapping[str, str]) -> Scope:
    return Scope(
        (
            Layer(Level.EXTRA_VARS, loaded.extra),
            Layer(Level.VARS_PROMPT, answers, data=True),
            Layer(Level.PLAY_VARS, play.vars),
            Layer(Level.PLAY_VARS, loaded.playbook.vars),
        ),
        render,
    )


def _kept(prompt: Prompt, answer: str) -> str:
    """The answer, or its hash where `encrypt` says so. The salt may be random: what it gave is recorded."""
    if not prompt.encrypt:
        return answer
    salt = prompt.salt or "".join(secrets.choice(SALT) for _ in range(prompt.salt_size))
    return sha_crypt(answer, salt, prompt.encrypt)


def _missing(prompt: Prompt) -> Diagnostic:
    text = f"`{prompt.name}` is asked for, and there is no terminal to ask at"
    return Diagnostic("error", "CF0206", text, prompt.span, help=f"give it with `-e {prompt.name}=..`, or a `default`")
