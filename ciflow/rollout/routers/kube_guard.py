"""The dead-man in a cluster: the program of the guard's pod, of Python 3.7's standard library alone.

It watches one Lease. The annotation `lease.ciflow` says how the traffic is given back, as JSON Patches, and after how
many seconds without another word. Time is counted on this program's own clock from when it saw the last word, so that
no two clocks need agree; whoever is started anew counts from its start. What it has seen it answers in the annotation
`guard.ciflow`: `EPOCH.RENEWAL armed`, `fired` or `idle`. A lease of an epoch that has fired is never armed again: its
owner must first know that the traffic went back.

While a rollout is paused with no controller the lease says what must hold as well (`watch`): that a Service has a pod
that is ready, or that the number in an answer over HTTP stays within its limits. What is out of them more than `misses`
times in a row gives the traffic back before the time is over. What nobody answers gives nothing back; the annotation
`blind.ciflow` numbers those that were not answered when the guard first heard of them.

The annotations `later.ciflow-KEY` are errands: requests to be made once, so many seconds from when they were first
seen, if the token that they name still stands at the dial. `done.ciflow-KEY` says what became of each.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
LEASE, SEEN, BLIND = "lease.ciflow", "guard.ciflow", "blind.ciflow"
LATER, DONE = "later.ciflow-", "done.ciflow-"
PAUSE = 0.2  # seconds between two tries
REST = 2.0  # seconds between two tries of an errand
LONGEST = 30.0  # seconds of one watch
MOST = 1 << 20  # bytes of an answer over HTTP
ANSWER = 2.0  # seconds that an answer may take, of what must hold
FIRST = 6.0  # seconds of all of them when the guard first hears of them: its own answer is waited for
SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{}"


class Api:
    """The API server, with the account of the pod."""

    def __init__(self, address: str, account: str) -> None:
        self.address, self.account = address, account
        self.tls = ssl.create_default_context(cafile=account + "/ca.crt") if address.startswith("https") else None

    def read(self, name: str) -> str:
        return Path(self.account, name).read_text().strip()

    def open(
        self, method: str, path: str, body: Any = None, kind: str = "json-patch+json", timeout: float = 5.0
    ) -> Any:
        headers = {"Authorization": "Bearer " + self.read("token"), "Accept": "application/json"}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/" + kind
            data = json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        return urllib.request.urlopen(request, timeout=timeout, context=self.tls)

    def ask(
        self, method: str, path: str, body: Any = None, kind: str = "json-patch+json"
    ) -> tuple[int, dict[str, Any]]:
        """(status, object); status 0 where nobody answers."""
        try:
            with self.open(method, path, body, kind) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, {"message": error.read().decode("utf-8", "replace")[:500]}
        except (OSError, ValueError, http.client.HTTPException) as error:
            return 0, {"message": repr(error)}


class Guard:
    """`word` is the lease as last seen, `since` when that was (monotonic seconds)."""

    def __init__(self, api: Api, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.api, self.clock = api, clock
        self.namespace = api.read("namespace")
        self.leases = "/apis/coordination.k8s.io/v1/namespaces/" + self.namespace + "/leases"
        self.name = name
        self.word: dict[str, Any] = {}
        self.order: tuple[int, int] | None = None
        self.since = 0.0
        self.fired = -1  # the epoch that has
        self.looks: dict[int, tuple[float, int]] = {}  # of what must hold: when it is looked at next, misses in a row
        self.blind: list[int] = []
        self.broken = -1  # the epoch in which something did not hold
        self.errands: dict[str, tuple[str, float]] = {}  # key -> the text, and when it is due (monotonic seconds)

    def look(self) -> str:
        """Read the lease, answer it; its resource version, or "" where it can't be read."""
        status, thing = self.api.ask("GET", self.leases + "/" + self.name)
        if status != 200:
            self.say(f"the lease can't be read: {status} {thing.get('message')}")
            return ""
        notes = thing["metadata"].get("annotations") or {}
        self.word = json.loads(notes.get(LEASE) or "{}")
        self.hear(notes)
        seen, order = notes.get(SEEN, ""), (self.word.get("epoch", 0), self.word.get("renewal", 0))
        if self.order is None and seen.endswith(" fired"):
            self.fired = int(seen.split(".")[0])
        if order != self.order:
            anew = self.order is None or order[0] != self.order[0]
            self.order, self.since = order, self.clock()
            if anew:
                self.look_first()
        if seen != self.answer():
            note = {"metadata": {"annotations": {SEEN: self.answer(), BLIND: json.dumps(self.blind)}}}
            self.api.ask("PATCH", self.leases + "/" + self.name, note, "merge-patch+json")
        return str(thing["metadata"]["resourceVersion"])

    def answer(self) -> str:
        epoch, renewal = self.order or (0, 0)
        state = "fired" if self.fired == epoch else "armed" if self.armed() else "idle"
        return f"{epoch}.{renewal} {state}"

    def armed(self) -> bool:
        return self.order is not None and self.word.get("after", 0) > 0 and self.fired != self.order[0]

    def left(self) -> float:
        """Seconds until the traffic is given back."""
        if not self.armed():
            return LONGEST
        if self.order is not None and self.broken == self.order[0]:
            return 0.0
        return float(self.word["after"]) - (self.clock() - self.since)

    def fire(self) -> bool:
        """Give the traffic back; whether all of it is done, or somebody else's by now."""
        done = True
        for one in self.word.get("give_back", ()):
            path = one["path"].replace("{namespace}", self.namespace)
            done = self.undo(path, one) and done
        if done and self.order is not None:
            self.fired = self.order[0]
        return done

    def undo(self, path: str, one: dict[str, Any]) -> bool:
        """Undo the dial that stands at one object, if it is one of those that are known. Where it is and can't be
        undone, something else of the object has changed: the controller's next word has to fit that."""
        status, thing = self.api.ask("GET", path)
        if status != 200:
            self.say(f"{path}: {status} {thing.get('message')}")
            return status == 404
        stands = (thing["metadata"].get("annotations") or {}).get(one["note"])
        for way in one["ways"]:
            if way["text"] == stands:
                status, thing = self.api.ask("PATCH", path, way["patch"])
                self.say(f"{path}: {status} {'given back' if status == 200 else thing.get('message')}")
                return status == 200
        return True

    # --- what must hold while it is armed -----------------------------------------------------------------

    def look_first(self) -> None:
        """What has no answer is told: whoever leaves the traffic to this guard must know. No limit is looked at yet."""
        until = self.clock() + FIRST
        self.looks, self.blind = {}, []
        for number, one in enumerate(self.word.get("watch", ())):
            if self.clock() > until or self.found(one) is None:
                self.blind.append(number)

    def next_look(self) -> float:
        """Seconds until something is to be looked at."""
        if not self.armed() or not self.word.get("watch"):
            return LONGEST
        return min(self.looks.get(n, (0.0, 0))[0] for n, _ in enumerate(self.word["watch"])) - self.clock()

    def look_on(self) -> None:
        """Look at one thing whose time has come."""
        for number, one in enumerate(self.word.get("watch", ())):
            at, missed = self.looks.get(number, (0.0, 0))
            if at > self.clock():
                continue
            why = self.wrong(one, self.found(one))
            missed = missed + 1 if why else 0
            self.looks[number] = (self.clock() + max(1.0, one["every"]), missed)
            if missed > one["misses"] and self.order is not None:
                self.say(why + ": the traffic is given back")
                self.broken = self.order[0]
            return

    def found(self, one: dict[str, Any]) -> float | None:
        """The number that it is about; None where nobody says one."""
        if "service" in one:
            status, thing = self.api.ask("GET", SLICES.format(self.namespace, one["service"]))
            ends = [end for slice_ in thing.get("items") or () for end in slice_.get("endpoints") or ()]
            ready = sum((end.get("conditions") or {}).get("ready") is not False for end in ends)
            return float(ready) if status == 200 else None
        try:
            request = urllib.request.Request(one["url"], headers=one["headers"])
            with urllib.request.urlopen(request, timeout=ANSWER) as answer:
                said = re.search(one["pattern"], answer.read(MOST).decode("utf-8", "replace"))
            return float(said.group(1)) if said else None
        except (OSError, ValueError, http.client.HTTPException):
            return None

    def wrong(self, one: dict[str, Any], found: float | None) -> str:
        """What is out of its limits; "" where all is well, or nobody knows."""
        least, most = one.get("least"), one.get("limit")
        if found is None or not ((least is not None and found < least) or (most is not None and found > most)):
            return ""
        if "service" in one:
            return f"Service {one['service']} has no pod that is ready"
        return f"{one['url']} answers {found:g}, and may answer {least} to {most}"

    # --- errands ----------------------------------------------------------------------------------------

    def hear(self, notes: dict[str, str]) -> None:
        """The errands that are still to be done; the time of a new one begins now."""
        heard: dict[str, tuple[str, float]] = {}
        for name, text in notes.items():
            key = name[len(LATER) :]
            if not name.startswith(LATER):
                continue
            word = json.loads(text)
            if notes.get(DONE + key, "").split(" ")[0] == str(word["token"]):
                continue
            known = self.errands.get(key)
            heard[key] = known if known and known[0] == text else (text, self.clock() + float(word["after"]))
        self.errands = heard

    def due(self) -> float:
        """Seconds until the next errand."""
        return min((at - self.clock() for _, at in self.errands.values()), default=LONGEST)

    def run_errands(self) -> None:
        for key, (text, at) in list(self.errands.items()):
            if at > self.clock():
                continue
            word = json.loads(text)
            outcome = self.errand(word)
            self.say(f"{key}: {outcome or 'to be tried again'}")
            if outcome:
                note = {"metadata": {"annotations": {DONE + key: f"{word['token']} {outcome}"}}}
                self.api.ask("PATCH", self.leases + "/" + self.name, note, "merge-patch+json")
            else:
                self.errands[key] = (text, self.clock() + REST)

    def errand(self, word: dict[str, Any]) -> str:
        """What became of it: done, left alone, or why not; "" where it is to be tried again."""
        status, thing = self.api.ask("GET", word["path"])
        if passing(status):
            return ""
        dial = (thing.get("metadata", {}).get("annotations") or {}).get(word["note"]) if status == 200 else None
        if dial is None or json.loads(dial).get("token") != word["token"]:
            return "left alone: somebody has claimed the dial since"
        for one in word["errands"]:
            status, said = self.api.ask(one["method"], one["path"], one["body"], one["type"])
            if passing(status):
                return ""
            if status >= 400 and status not in (404, 422):
                return f"failed: {one['method']} {one['path']}: {status} {said.get('message')}"
            self.say(f"{one['method']} {one['path']}: {status}")
        return "done"

    # --- its time ---------------------------------------------------------------------------------------

    def wait(self, version: str) -> None:
        """Until something happens to the lease, or the time is over."""
        most = max(0.05, min(self.left(), self.due(), self.next_look(), LONGEST))
        query = "?watch=1&fieldSelector=metadata.name%3D" + self.name + "&resourceVersion=" + version
        began = self.clock()
        try:
            with self.api.open("GET", self.leases + query + f"&timeoutSeconds={int(most) + 1}", timeout=most) as events:
                if events.readline():
                    return
        except (OSError, http.client.HTTPException):
            pass  # its time is over, or the server's: the lease is read again
        if self.clock() - began < PAUSE:
            time.sleep(min(PAUSE, most))

    def step(self) -> None:
        version = self.look()
        if self.armed() and self.left() <= 0:
            if not self.fire():
                time.sleep(PAUSE)
        elif self.due() <= 0:
            self.run_errands()
        elif self.next_look() <= 0:
            self.look_on()
        elif version:
            self.wait(version)
        else:
            time.sleep(max(0.01, min(PAUSE, self.left())))

    def say(self, text: str) -> None:
        print(time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime()) + text, flush=True)


def passing(status: int) -> bool:
    """Whether another try may go better."""
    return status in (0, 429) or status >= 500


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    host = "[" + host + "]" if ":" in host else host
    guard = Guard(Api("https://" + host + ":" + os.environ["KUBERNETES_SERVICE_PORT"], ACCOUNT), sys.argv[1])
    while True:
        guard.step()


if __name__ == "__main__":
    main()
