"""`container`: a container of Docker's as a task says it, made anew only where it differs."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.model import Context, Hold, Outcome, Probe, Reply, Step, Steps
from ciflow.modules.container_options import Difference, body, differences, endpoint, shown, updated, wished
from ciflow.modules.dockerd import (
    Failed,
    answer,
    digests,
    do,
    granted,
    in_registry,
    look,
    missing,
    part,
    pull,
    reference,
    request,
    status,
)
from ciflow.modules.replies import text, well

_BETWEEN = 0.5  # seconds between two looks at a container that is waited for
_TAIL = 50  # lines of its output that a failure shows


Asking = Generator[Step, Reply, Any]


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Looks first, decides what has to be done, and does it; check mode ends after the decision."""
    try:
        return (yield from _Container(args, context).go())
    except Failed as failed:
        return failed.outcome
    except ValueError as error:
        return Outcome(failed=True, msg=str(error))


@dataclass(slots=True)
class _Container:
    """One task about one container."""

    args: Mapping[str, Any]
    context: Context
    wish: Mapping[str, Any] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)  # what was done, or would be, in words

    @property
    def name(self) -> str:
        return str(self.args["name"])

    @property
    def path(self) -> str:
        return f"/containers/{part(self.name)}"

    def go(self) -> Steps:
        self.wish = wished(self.args)
        found = yield from self._inspect()
        if self.args["state"] == "absent":
            return (yield from self._absent(found))
        if not self.args.get("image") and found is None:
            return Outcome(failed=True, msg=f"there is no container {self.name}, and no `image` to make it of")
        image = yield from self._image()
        what = self._differences(found, image)
        remake = found is not None and (self.args["recreate"] or (bool(what) and updated(what) is None))
        before = found
        if remake:
            yield from self._remove(found)
            found = None
        if found is None:
            yield from self._create()
        elif what:
            yield from self._change("POST", "/update", "update", body=updated(what))
        yield from self._networks(found)
        yield from self._state(found)
        return (yield from self._end(before, what))

    # --- what is there -----------------------------------------------------------------------------------

    def _inspect(self) -> Asking:
        reply = yield look(self.args, f"{self.path}/json")
        if missing(reply):
            return None
        return granted(reply, f"look at {self.name}")

    def _image(self) -> Asking:
        """The image's inspection, brought from its registry where that is asked for or it is not here."""
        image = self.args.get("image")
        if not image:
            return {}
        named = image if image.startswith("sha256:") else reference(image)
        reply = yield look(self.args, f"/images/{part(named)}/json")
        here = answer(reply) if well(reply) else None
        if not well(reply) and not missing(reply):
            granted(reply, f"look at the image {named}")
        if here is None and self.args["pull"] == "never":
            raise Failed(Outcome(failed=True, msg=f"the image {named} is not here, and `pull` is never"))
        moved = self.args["pull"] == "always" and here is not None
        if here is None or (moved and (yield from in_registry(self.args, named)) not in digests(here)):
            here = yield from self._pull(named, here)
        return here or {}

    def _pull(self, image: str, here: Mapping[str, Any] | None) -> Asking:
        """The image as it is afterwards; in check mode as it is now."""
        reply = yield pull(self.args, image, self.args.get("platform", ""))
        if self.context.check:
            self.done.append(f"pull {image}")
            return here
        granted(reply, f"pull {image}")
        found = granted((yield look(self.args, f"/images/{part(image)}/json")), f"look at the image {image}")
        if here is None or found["Id"] != here["Id"]:
            self.done.append(f"pull {image}")
        return found

    def _differences(self, found: Mapping[str, Any] | None, image: Mapping[str, Any]) -> list[Difference]:
        if found is None:
            return []
        comparisons = self.args["comparisons"]
        what = differences(self.wish, found, image, comparisons)
        if image and image["Id"] != found["Image"] and comparisons.get("image") != "ignore":
            what.insert(0, Difference("image", found["Config"]["Image"], self.args["image"]))
        return what

    # --- what is done ------------------------------------------------------------------------------------

    def _change(self, method: str, path: str, word: str, fine: tuple[int, ...] = (), **more: Any) -> Asking:
        """One change of the container; `fine` are bad statuses that say that it is so already."""
        reply = yield do(self.args, method, f"{self.path}{path}", **more)
        if self.context.check or status(reply) != 304:
            self.done.append(word)
        if not self.context.check and status(reply) not in fine:
            granted(reply, f"{word} {self.name}")

    def _create(self) -> Asking:
        networks = tuple(self.args.get("networks") or ())
        made = body(self.wish, str(self.args["image"]), networks)
        query = {"name": self.name, **({"platform": self.args["platform"]} if self.args.get("platform") else {})}
        reply = yield do(self.args, "POST", "/containers/create", query=query, body=made)
        self.done.append("create")
        if self.context.check:
            return
        if status(reply) == 409:  # made by a request of ours whose answer was lost, or by somebody else just now
            there = yield from self._inspect()
            if there is not None and not differences(self.wish, there, {}, self.args["comparisons"]):
                return
        granted(reply, f"create {self.name}")

    def _remove(self, found: Mapping[str, Any] | None) -> Asking:
        """It is asked to end first, unless it may be killed."""
        if found and found["State"].get("Running") and not self.args["force_kill"]:
            yield from self._change("POST", "/stop", "stop", (404,), **self._patience())
        volumes = {"v": not self.args["keep_volumes"], "force": True}
        yield from self._change("DELETE", "", "remove", (404, 409), query=volumes)
        if not self.context.check:
            yield from self._gone()

    def _gone(self) -> Asking:
        """409 says that a removal is under way, as of one that removes itself when it ends."""
        for _ in range(60):
            if (yield from self._inspect()) is None:
                return
            yield Hold(_BETWEEN, why=f"{self.name} is being removed")
        raise Failed(Outcome(failed=True, msg=f"{self.name} is still there after its removal"))

    def _patience(self) -> dict[str, Any]:
        """How long it may take to end by itself; the daemon answers only after that."""
        seconds = self.args.get("stop_timeout")
        if seconds is None:
            return {"timeout": self.args["timeout"] + 10}
        return {"query": {"t": round(seconds)}, "timeout": self.args["timeout"] + seconds}

    def _networks(self, found: Mapping[str, Any] | None) -> Asking:
        """Join those asked for, and with `purge_networks` leave all others. A new container is in the first already."""
        wanted = list(self.args.get("networks") or ())
        if found is None and "network_mode" not in self.wish:
            wanted = wanted[1:]
        there = set(((found or {}).get("NetworkSettings") or {}).get("Networks") or {})
        for network in wanted:
            if network["name"] not in there:
                joined = {"Container": self.name, "EndpointConfig": endpoint(network)}
                yield from self._network(network["name"], "connect", joined)
        if self.args["purge_networks"] and found is not None:
            for name in sorted(there - {network["name"] for network in self.args.get("networks") or ()}):
                yield from self._network(name, "disconnect", {"Container": self.name})

    def _network(self, name: str, word: str, body: Mapping[str, Any]) -> Asking:
        reply = yield do(self.args, "POST", f"/networks/{part(name)}/{word}", body=body)
        self.done.append(f"{word} network {name}")
        if not self.context.check and status(reply) != 403:  # 403: it is in there already
            granted(reply, f"{word} {self.name} and the network {name}")

    # --- running or not ----------------------------------------------------------------------------------

    def _state(self, found: Mapping[str, Any] | None) -> Asking:
        running = bool(found and found["State"].get("Running"))
        paused = bool(found and found["State"].get("Paused"))
        match self.args["state"]:
            case "stopped" if running:
                yield from self._change("POST", "/stop", "stop", (304,), **self._patience())
            case "started" | "healthy" if paused:
                yield from self._change("POST", "/unpause", "unpause")
            case "started" | "healthy" if running and self.args["restart"]:
                yield from self._change("POST", "/restart", "restart", **self._patience())
            case "started" | "healthy" if not running:
                yield from self._change("POST", "/start", "start", (304,))

    def _absent(self, found: Mapping[str, Any] | None) -> Steps:
        if found is None:
            return Outcome(data={"name": self.name})
        yield from self._remove(found)
        return Outcome(changed=True, msg=self._words(), data={"name": self.name})

    # --- what it came to ---------------------------------------------------------------------------------

    def _end(self, before: Mapping[str, Any] | None, what: list[Difference]) -> Steps:
        data: dict[str, Any] = {"name": self.name, "actions": list(self.done)}
        data["differences"] = [{"option": one.option, "before": one.before, "after": one.after} for one in what]
        diff = None
        if self.context.diff and self.done:
            was = f"exists: {str(before is not None).lower()}\n"
            diff = (was + shown(what, "before"), "exists: true\n" + shown(what, "after"))
        msg = self._words()
        if what:
            msg += f"; {', '.join(one.option for one in what)} differed"
        changed = bool(self.done)
        if self.context.check:
            return Outcome(changed=changed, msg=msg, data=data, diff=diff)
        if self.args["state"] == "healthy":
            yield from self._until_healthy()
        if not self.args["detach"] and "start" in self.done:
            return (yield from self._attended(data))
        data["container"] = yield from self._inspect()
        return Outcome(changed=changed, msg=msg, data=data, diff=diff)

    def _words(self) -> str:
        if not self.done:
            return "nothing to do"
        return ("would: " if self.context.check else "done: ") + ", ".join(self.done)

    def _until_healthy(self) -> Asking:
        waited, limit = 0.0, float(self.args["healthy_wait_timeout"])
        while True:
            found = yield from self._inspect()
            state = (found or {}).get("State") or {}
            health = state.get("Health")
            if health and health.get("Status") == "healthy":
                return
            why = _not_healthy(self.name, found)
            if why or waited >= limit:
                said = (health or {}).get("Log") or [{}]
                why = why or f"{self.name} was not healthy within {limit:g} s: {said[-1].get('Output', '').strip()}"
                msg = yield from self._with_output(why)
                raise Failed(Outcome(failed=True, msg=msg, data={"container": found}))
            yield Hold(_BETWEEN, why=f"{self.name} is {(health or {}).get('Status', 'starting')}")
            waited += _BETWEEN

    def _attended(self, data: dict[str, Any]) -> Steps:
        """`detach: false`: the task is what the container does, and ends with it."""
        while True:
            found = yield from self._inspect()
            state = (found or {}).get("State") or {}
            if not state.get("Running") and state.get("Status") not in ("created", "restarting"):
                break
            yield Hold(_BETWEEN, why=f"{self.name} is running")
        if found is None:
            msg = f"nobody can say how {self.name} ended: it has been removed"
            return Outcome(failed=True, unknown=True, msg=msg, data=data)
        out, err = yield from self._output("all")
        data |= {"container": found, "rc": state["ExitCode"], "stdout": out, "stderr": err}
        if self.args["cleanup"]:
            yield from self._remove(found)
        bad = state["ExitCode"] != 0
        reason = "killed for want of memory" if state.get("OOMKilled") else f"exit code {state['ExitCode']}"
        return Outcome(changed=True, failed=bad, msg=f"{self.name} ended: {reason}" if bad else "", data=data)

    def _output(self, lines: str) -> Asking:
        query = {"stdout": True, "stderr": True, "tail": lines}
        reply = yield Probe(request(self.args, "GET", f"{self.path}/logs", query=query, framed=True))
        return text(reply.stdout), text(reply.stderr)

    def _with_output(self, message: str) -> Asking:
        out, err = yield from self._output(str(_TAIL))
        said = (out + err).strip()
        return f"{message}\n{said}" if said else message


def _not_healthy(name: str, found: Mapping[str, Any] | None) -> str:
    """Why waiting is in vain; "" where it may yet become healthy."""
    state = (found or {}).get("State") or {}
    if found is None:
        return f"{name} is gone"
    if not state.get("Running") and not state.get("Restarting"):
        return f"{name} ended with exit code {state.get('ExitCode')}"
    if not state.get("Health"):
        return f"{name} has no health check: give it `healthcheck`, or wait for `started`"
    return ""
