"""Any router that two commands can turn and read: `set` makes it split as told, `read` prints the share in force.

The commands run on the router's host. `set` is told nothing but what the dial file says, while it holds a lock that
every writer of that file takes: one that was stopped before it and goes on later sets what the newest writer wrote.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Refused
from ciflow.encoding import loads
from ciflow.model import Exec, Mkdir, Operation, Watch
from ciflow.rollout.routers.counts import Counts, Sample, bad_before
from ciflow.rollout.routers.dial import WHOLE, Asked, Dial, RouterError, Slot, done
from ciflow.rollout.routers.filed import FiledRouter
from ciflow.rollout.routers.settings import absolute, not_sticky, only

SETTINGS = ("set", "read", "counts", "env", "timeout", "dir")
HEAD = 3  # lines of the dial file before its JSON: share and safe share of slot b in percent, and the live slot
SHOWN = 200  # bytes of an answer that is not understood
WHOLE_NUMBERS = tuple(one.name for one in fields(Counts) if one.name not in ("slower", "seen", "users"))


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """`router: {command: ..}`: shell's words, `counts` "" where there is none; `timeout` in seconds, of each."""

    dir: str
    set: str
    read: str
    counts: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 10.0
    edges: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class CommandRouter(FiledRouter):
    """See `dial.Router`."""

    settings: CommandSettings

    kind: ClassVar[str] = "command"
    what: ClassVar[str] = "the router of your commands"

    # --- start ------------------------------------------------------------------------------------------

    def prepare(self, first: Dial) -> Asked[Dial]:
        """Nothing is started: the commands must work. A router that has no dial yet is set to `first`."""
        folder = self.settings.dir
        done((yield self._change(Mkdir(path=folder, mode="0700"))), f"making {folder}", self.host)
        if (yield from self.laid(first)):
            yield from self.applied()
        yield from self.counts()
        return (yield from self.read())

    # --- the dial ---------------------------------------------------------------------------------------

    @property
    def dial_path(self) -> str:
        return f"{self.settings.dir}/dial"

    @property
    def safe_path(self) -> str:
        return f"{self.settings.dir}/safe"

    @property
    def log(self) -> str:
        return "it, or your commands,"

    @property
    def claim(self) -> str:
        return r'^\{"share":\d+,"token":{token},'

    def content(self, dial: Dial) -> bytes:
        head = (f"{dial.share / 100:g}", f"{dial.safe / 100:g}", dial.live or "-")
        return ("\n".join((*head, dial.to_json())) + "\n").encode()

    def parsed(self, content: bytes, where: str) -> Dial:
        try:
            return Dial.from_json(content.decode().split("\n", HEAD)[HEAD])
        except (ValueError, LookupError, TypeError) as error:
            raise RouterError(
                f"{where} is not a dial file of ciflow: {error!r}",
                help="Move it away; the next rollout or rollback writes a new one.",
            ) from error

    def in_force(self) -> Asked[Dial]:
        """The share by `read`; all else is what was written when it was set."""
        file = yield from self.file(self.dial_path)
        if file.dial is None:
            raise RouterError(
                f"{self.dial_path} on {self.host} holds no dial yet",
                help="A rollout puts one there before its first step.",
            )
        return replace(file.dial, share=(yield from self._share()))

    def _share(self) -> Asked[int]:
        text, _ = yield from self._said("read", self.settings.read)
        last = next((line.strip() for line in reversed(text.split("\n")) if line.strip()), "")
        try:
            share = round(float(last.rstrip("% ")) * 100)
        except ValueError:
            share = -1
        if 0 <= share <= WHOLE:
            return share
        raise RouterError(
            f"`read` of router command on {self.host} printed {last[:SHOWN]!r}, which is no share",
            help="Its last line must be the share of slot b in percent: 0, 0.01, 5, 100.",
        )

    def apply(self) -> tuple[Operation, ...]:
        folder, dial = shlex.quote(self.settings.dir), shlex.quote(self.dial_path)
        script = f"""exec 9< {folder} || exit 1
flock -w {self.settings.timeout:g} 9 || {{ echo "no lock on the dial" >&2; exit 1; }}
{{ read -r CIFLOW_SHARE && read -r CIFLOW_SAFE && read -r CIFLOW_LIVE; }} < {dial} || exit 1
export CIFLOW_SHARE CIFLOW_SAFE CIFLOW_LIVE
(exec 9<&-
{self.settings.set}
)"""
        return (Exec(shell=script, env=self._environment, timeout=2 * self.settings.timeout),)

    # --- counters ---------------------------------------------------------------------------------------

    @property
    def counted(self) -> bool:
        return bool(self.settings.counts)

    def counts(self, before: Sample | None = None) -> Asked[Sample]:  # noqa: ARG002 - the command's are whole
        """By the command `counts`; without it nothing is counted, and nothing is judged by it."""
        if not self.counted:
            _, at = yield from self._said("read", self.settings.read)
            return Sample(self.host, "", at, {"a": Counts(), "b": Counts()})
        text, at = yield from self._said("counts", self.settings.counts)
        try:
            data = loads(text)
            slots = {slot: _counts(data[slot], self.settings.edges) for slot in ("a", "b")}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RouterError(
                f"`counts` of router command on {self.host} printed {text[:SHOWN]!r}: {error!r}",
                help="It must print JSON as docs/routers.md, command, shows.",
            ) from error
        return Sample(self.host, str(data.get("identity", "")), at, slots)

    def errors(self, slot: str, more: int, since: Sample | None = None) -> tuple[Watch, ...]:
        if not self.counted:
            return ()
        read = Exec(shell=self.settings.counts, env=self._environment, timeout=self.settings.timeout)
        pattern = rf'"{slot}"\s*:\s*\{{(?:[^{{}}]|\{{[^{{}}]*\}})*?"bad"\s*:\s*(\d+)'
        return (Watch(read=read, pattern=pattern, limit=bad_before(since, slot) + more),)

    # --- how it is asked --------------------------------------------------------------------------------

    @property
    def _environment(self) -> Mapping[str, str]:
        return {**self.settings.env, "CIFLOW_SERVICE": self.service}

    def _said(self, what: str, command: str) -> Asked[tuple[str, float]]:
        reply = yield self._probe(Exec(shell=command, env=self._environment, timeout=self.settings.timeout))
        text = done(reply, f"asking by `{what}` of router command ({command})", self.host).stdout
        return text.decode("utf-8", "replace"), reply.started


def _counts(data: Mapping[str, Any], edges: tuple[float, ...]) -> Counts:
    strange = sorted(set(data) - {*WHOLE_NUMBERS, "slower"})
    if strange:
        raise ValueError(f"no counter is called {', '.join(strange)}")
    slower = {float(edge): int(n) for edge, n in data.get("slower", {}).items()}
    lacking = [edge for edge in edges if edge not in slower]
    if lacking:
        raise ValueError(f"no count of requests slower than {', '.join(f'{edge:g}' for edge in lacking)} s")
    numbers: dict[str, Any] = {name: int(data.get(name, 0)) for name in WHOLE_NUMBERS}
    return Counts(slower=slower, **{**numbers, "requests": int(data["requests"]), "bad": int(data["bad"])})


def build(
    settings: Mapping[str, Any], service: str, slots: Mapping[str, Slot], host: str, edges: tuple[float, ...], by: str
) -> CommandRouter:
    """From `router: {command: {set: .., read: ..}}`; each command is a text for the shell or a list of words."""
    not_sticky("command", by, "which only knows shares")
    only("command", settings, SETTINGS, ("set", "read"))
    absolute("command", settings, "dir")
    env = settings.get("env") or {}
    if not isinstance(env, Mapping):
        raise Refused(f"env of router command must be a mapping of names to texts, not {env!r}")
    values = CommandSettings(
        dir=str(settings.get("dir", f"/var/lib/ciflow/command/{service}")).rstrip("/"),
        set=_words(settings, "set"),
        read=_words(settings, "read"),
        counts=_words(settings, "counts"),
        env={str(name): str(value) for name, value in env.items()},
        timeout=float(settings.get("timeout", 10.0)),
        edges=edges,
    )
    return CommandRouter(service, host, slots, values)


def _words(settings: Mapping[str, Any], name: str) -> str:
    command = settings.get(name, "")
    return command if isinstance(command, str) else shlex.join(str(word) for word in command)
