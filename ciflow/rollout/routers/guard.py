"""The agent's dead-man, the same for every router: what it does is given, when it does it is decided here."""

from __future__ import annotations

from ciflow.model import At, Change, Detached, Operation, Probe, Watch
from ciflow.rollout.routers.dial import Asked, Guard, RouterError, done


def agent_guard(
    host: str, key: str, give_back: tuple[Operation, ...], after: float, watch: tuple[Watch, ...], renew: bool
) -> Asked[Guard]:
    """Arm, renew or (`after` 0) disarm the dead-man `key` on `host`.

    A renewal never arms one that has fired: the controller must first know that the traffic went back.
    """
    if after <= 0:
        done((yield At(host, Change(Detached(key=key, verb="cancel")))), "disarming the dead-man", host)
        return Guard(armed=False)
    if not renew:
        start = Detached(key=key, operations=give_back, after=after, watch=watch, every=min(1.0, after / 4))
        done((yield At(host, Change(start))), "arming the dead-man", host, help="The dial was not turned.")
    yield At(host, Change(Detached(key=key, verb="renew")))  # what came of it is asked, not assumed
    asked = done((yield At(host, Probe(Detached(key=key, verb="ask")))), "asking the dead-man", host)
    state = asked.data.get("state", "silent")
    if state != "armed" and not renew:
        raise RouterError(
            f"the agent on {host} did not arm the dead-man {key}: it is {state}",
            help="The dial was not turned. Look at the agent's journal on that host.",
        )
    return Guard(armed=state == "armed", fired=bool(asked.data.get("fired")))
