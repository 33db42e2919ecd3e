"""How a rollout lets time pass: interval by interval, renewing what it holds, and listening to people meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ciflow.model import Hold, Note, Reply
from ciflow.rollout.asking import Asking
from ciflow.rollout.dials import WATCHED_ERRORS, Dials
from ciflow.rollout.judge import Interval, Panel
from ciflow.rollout.notes import Notes
from ciflow.rollout.routers.dial import WHOLE, Asked, Router
from ciflow.rollout.spec import Spec, TurnBack
from ciflow.rollout.tally import Deltas, Tally, interval_data, observed


class Waiting:
    """What of a rollout's state has to do with time: its dials, where it is, and how long it has held."""

    def __init__(self, spec: Spec, routers: Sequence[Router]) -> None:
        self.spec = spec
        self.dials = Dials(spec, routers)
        self.notes = Notes(spec, self.dials)
        self.tally = Tally()
        self.asking = Asking(spec.gates, spec.dead_man)
        self.panel = Panel.begin(spec.gates)
        self._sick = ""  # what people were last told of stable
        self.state = "deploying"
        self.why = ""  # it is in that state
        self.step = 0
        self.far = 0  # the level that it has told, or waits to tell, the others of its release
        self.elapsed = 0.0  # seconds held since the first turn, or since somebody resumed a pause
        self.now = spec.now
        self._full = False  # somebody said `promote --full`

    def _wait(self, why: str, weight: int, meet: int = 0) -> Asked[tuple[Reply, str]]:
        """Let one interval pass: what came of it, and what somebody said. A resumed run first looks at the routers."""
        self.far = max(self.far, meet)
        reply = yield Hold(self.spec.interval, why=why, meet=meet)
        self.elapsed += reply.duration
        self._tick(reply)
        if reply.data.get("resumed"):
            yield from self._again(weight)
        if reply.data.get("left"):
            yield from self._leave(str(reply.data["left"]), weight)
        said = self._said(reply)
        if said == "pause":
            said = yield from self._wait_for_resume(str(reply.data.get("by", "somebody")), weight)
        return reply, said

    def _said(self, reply: Reply) -> str:
        if reply.data.get("turned_back"):
            raise TurnBack(str(reply.data["turned_back"]))
        said = str(reply.data.get("command", ""))
        if said == "abort":
            raise TurnBack(f"aborted by {reply.data.get('by', 'somebody')}")
        self._full = self._full or (said == "promote" and bool(reply.data.get("full")))
        return said

    def _wait_for_resume(self, by: str, weight: int) -> Asked[str]:
        """Paused by a person while this controller lives: it goes on renewing, and judges nothing."""
        before, aside = self.state, self.panel  # whose evidence of the pause is for people only
        yield from self._count()
        yield from self._enter("paused", f"paused by {by}", weight)
        while True:
            reply = yield Hold(self.spec.interval, why=f"paused by {by}; `ciflow resume` goes on")
            self._tick(reply)
            if reply.data.get("resumed"):
                yield from self._again(weight)
            if reply.data.get("left"):
                yield from self._leave(str(reply.data["left"]), weight)
                return "resume"
            said = self._said(reply)
            yield from self._keep(weight)
            aside = yield from self._look_on(aside, weight, reply)
            if said in ("resume", "promote"):
                yield from self._enter(before, "resumed", weight)
                return said

    def _look_on(self, panel: Panel, weight: int, reply: Reply) -> Asked[Panel]:
        """Paused: nothing is judged, but people see what is counted, and hear of a stable version that fails."""
        deltas = yield from self._count()
        if deltas is None or reply.data.get("resumed") or not self.dials.live:
            return panel
        yield Note("interval", interval_data(deltas, self.dials.candidate, self.dials.live, self.step, weight))
        panel = panel.observe(self._interval(deltas, self.step, weight, reply.duration))
        yield from self._tell_of_stable(panel)
        return panel

    def _tell_of_stable(self, panel: Panel) -> Asked[None]:
        """What gates say of a candidate is worth little while the version beside it fails: people hear when that begins
        and when it ends."""
        if bool(panel.stable_is_sick) != bool(self._sick):
            yield from self.notes.stable(panel.stable_is_sick)
        self._sick = panel.stable_is_sick

    def _leave(self, why: str, weight: int) -> Asked[None]:
        """Leave the dial where it is, under the watch of the routers' hosts, and let the controller end."""
        left = self.spec.deadline - self.elapsed
        before, pause_for = self.state, left if left > self.spec.dead_man else self.spec.deadline
        yield from self._count()
        yield from self._enter("paused", why, weight)
        moved = 0 < weight < WHOLE or bool(self.dials.mirror)
        if moved:
            asked = yield from self.asking.watches(self.dials.candidate, self.now, WATCHED_ERRORS)
            yield from self.dials.leave(pause_for, asked)
        reply = yield Hold(pause_for, why="paused", prompt=self._until(pause_for, weight))
        self._tick(reply)
        self._said(reply)
        yield from (self.dials.come_back(weight, self.now) if moved else self.dials.still_ours())
        yield from self._count()
        self.elapsed = 0.0
        yield from self._enter(before, "resumed", weight)

    def _until(self, pause_for: float, weight: int) -> str:
        if weight in (0, WHOLE):
            return f"the {'candidate' if weight else 'former version'} keeps all traffic"
        at = time.strftime("%H:%M:%S", time.localtime(self.now + pause_for))
        return f"it stays at {weight / 100:g} % until {at} at the longest, watched where its router is"

    def _keep(self, weight: int) -> Asked[None]:
        """The dial stays where it is for another interval."""
        if weight == WHOLE:
            yield from self.dials.stay(self.now)
        else:
            yield from (self.dials.renew(weight, self.now) if weight or self.dials.mirror else self.dials.still_ours())

    def _again(self, weight: int) -> Asked[None]:
        yield from self.dials.again(weight if weight < WHOLE else 0, self.now)
        if weight:
            yield from self.notes.turned(weight, "resumed")
        yield from self._count()

    # --- what is counted and written down ----------------------------------------------------------------

    def _tick(self, reply: Reply) -> None:
        self.now = reply.started or self.now

    def _count(self) -> Asked[list[Deltas] | None]:
        deltas = yield from self.dials.sample()
        self.tally = self.tally.add(deltas or (), self.dials.candidate)
        return deltas

    def _interval(self, deltas: Sequence[Deltas], step: int, weight: int, seconds: float) -> Interval:
        return observed(deltas, self.dials.candidate, self.dials.live, step, weight, seconds)

    def _enter(self, state: str, reason: str = "", weight: int | None = None) -> Asked[None]:
        self.state, self.why = state, reason
        yield from self.notes.state(state, self.step, reason, weight)
