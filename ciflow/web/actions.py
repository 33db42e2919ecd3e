"""What can be done from the page: the very functions of the commands, each with who it was and by which way."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import ExitCode, NoSuch, Refused
from ciflow.engine.control import Speaker, answer, check_heard, rollout_of, tell
from ciflow.engine.rollback import Asking, Done, rollback
from ciflow.engine.rolled import data_of, lines_of
from ciflow.store.place import Place
from ciflow.store.store import Store

T = TypeVar("T")
ACTORS = 16  # at once: a rollback whose host does not answer keeps nobody else waiting
VERBS = ("pause", "resume", "promote", "abort")


@dataclass(frozen=True, slots=True)
class Acting:
    """Each act runs in a thread of its own, with its own journal. Whoever asked may leave: it goes on to its end."""

    place: Place
    rolled_back: Callable[[Asking, Done], None]  # is told of each that is over
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(ACTORS, "actor"))

    async def roll_back(self, service: str, speaker: Speaker, said: Mapping[str, Any]) -> dict[str, Any]:
        words = _words(said, {"reason": str, "rehearse": bool})
        reason, rehearse = words.get("reason", ""), words.get("rehearse", False)
        asking = Asking(service, speaker.who, reason, rehearse, way=speaker.way)
        return await self._do(lambda: _rolled_back(asking, self.place, self.rolled_back))

    async def say(self, service: str, verb: str, speaker: Speaker, said: Mapping[str, Any]) -> dict[str, Any]:
        words = _words(said, {"run": str, "full": bool})
        if words.get("full") and verb != "promote":
            raise Refused(f"`full` is nothing to say to {verb}")
        return await self._do(lambda: _said(self.place, service, verb, speaker, words))

    async def answer(self, speaker: Speaker, said: Mapping[str, Any]) -> dict[str, Any]:
        words = _words(said, {"run": str, "play": str, "yes": bool, "reason": str})
        if missing := {"run", "play", "yes"} - {name for name, value in words.items() if value != ""}:
            raise Refused(f"an answer says {', '.join(sorted(missing))}, too", help="`/api/approvals` lists what waits")
        return await self._do(lambda: _answered(self.place, speaker, words))

    async def _do(self, act: Callable[[], T]) -> T:
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._threads, act))

    def close(self) -> None:
        """When what was begun has come to its end."""
        self._threads.shutdown(wait=True)


def body_of(body: bytes) -> Mapping[str, Any]:
    """Raises Refused for what is no JSON object."""
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError) as e:
        raise Refused("this is no JSON") from e
    if not isinstance(found, dict):
        raise Refused("an action is said in a JSON object")
    return found


def _words(said: Mapping[str, Any], known: Mapping[str, type]) -> dict[str, Any]:
    for name, value in said.items():
        if name not in known:
            raise Refused(f"`{name}` is nothing that is known here", help=f"known are {', '.join(known)}")
        if not isinstance(value, known[name]):
            raise Refused(f"`{name}` is no {'text' if known[name] is str else 'true or false'}")
    return dict(said)


def _rolled_back(asking: Asking, place: Place, over: Callable[[Asking, Done], None]) -> dict[str, Any]:
    with Store.open(place, read_only=True) as store:
        known = {str(event.data["service"]) for event in store.events(kinds=("routers",))}
    if asking.service not in known:  # a shell looks further: on hosts, and in clusters
        raise NoSuch(f"nothing was released as {asking.service} from here", help="`ciflow status` shows what was")
    done = rollback(asking, lambda: Store.open(place))
    threading.Thread(
        target=over, args=(asking, done), name="over"
    ).start()  # who waits for the answer waits for no more
    lines = lines_of(asking.service, done, rehearse=asking.rehearse)
    if done.result.decision.kind in ("cold", "lost"):
        again = (
            f"`ciflow rollback {asking.service}` in a shell deploys it again: that takes as long as a deployment does"
        )
        lines = [lines[0], again]
    told = [f"warning: {warning}" for warning in done.warnings]
    return {**data_of(done), "exit": int(done.result.code), "lines": [*told, *filter(None, lines)]}


def _said(place: Place, service: str, verb: str, speaker: Speaker, words: Mapping[str, Any]) -> dict[str, Any]:
    with Store.open(place) as store:
        run = rollout_of(store, service)
        if words.get("run", run) != run:
            raise NoSuch(f"{words['run']} is not what rolls {service} out any more: {run} is", help="look again")
        tell(store, run, verb, speaker, service, full=bool(words.get("full")))
        check_heard(store, run, verb, service)
    return {"run": run, "verb": verb, "exit": int(ExitCode.OK), "lines": [f"{verb}: said to {run}"]}


def _answered(place: Place, speaker: Speaker, words: Mapping[str, Any]) -> dict[str, Any]:
    yes = words["yes"]
    with Store.open(place) as store:
        done = answer(store, words["run"], speaker, words.get("reason", ""), yes=yes, play=words["play"])
    asked = done.asked
    lines = [f"{'approved' if yes else 'refused'}: {asked.data['prompt']}"]
    if done.resumable:
        lines.append(f"{asked.run} is {done.resumable}: `ciflow resume {asked.run}` goes on by it")
    return {"run": asked.run, "play": asked.play, "yes": yes, "exit": int(ExitCode.OK), "lines": lines}
