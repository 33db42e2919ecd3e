"""The script that sums nginx's log, and what it says: pure functions."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ciflow.dataclass import dataclass
from ciflow.rollout.routers.counts import BAD, Counts
from ciflow.rollout.routers.dial import Slot
from ciflow.rollout.routers.nginx_config import NginxSettings

_AWK = r"""
BEGIN { FS = "|"; n = split(EDGES, edge, " ") }
{ size += length($0) + 1; cut = 0 }
$NF != "." { cut = length($0) + 1; next }
$1 == "a" || $1 == "b" {
  requests[$1]++
  tries = split($4, address, / *[,:] +/)
  retries[$1] += tries - 1
  if ($2 >= 400 && $2 < 499) missed[$1]++
  left = $2 == 499; bad = 1
  if (left) unanswered[$1]++
  else if ($2 >= 500) failed[$1]++
  else if (address[tries] == ($1 == "a" ? B : A)) diverted[$1]++
  else bad = 0
  spent = 0; m = split($3, part, / *[,:] +/); for (i = 1; i <= m; i++) spent += part[i]
  for (i = 1; i <= n; i++) if (late[i] = left || spent > edge[i] + 0) slow[$1, i]++
  if (MET != "" && !(($1, $5) in came)) {
    came[$1, $5] = 1; seen[$1]++; users++; side[users] = $1; who[users] = $5
    late[0] = bad; for (i = 0; i <= n; i++) { kept[users, i] = late[i]; here[i " " $5] = 1 }
  }
}
function judge(    line, u, i, of) {
  while (MET != "" && (getline line < MET) > 0) if (line in here) met[line] = 1
  close(MET)
  for (u = 1; u <= users; u++) for (i = 0; i <= n; i++) if (!((of = i " " who[u]) in met)) {
    risk[side[u], i]++
    if (kept[u, i]) { now[side[u], i]++; met[of] = 1; print of >> MET }
  }
}
function sums(slot,    line, i) {
  line = slot " " (requests[slot] + 0) " " (failed[slot] + 0) " " (unanswered[slot] + 0) " " (diverted[slot] + 0)
  line = line " " (missed[slot] + 0) " " (retries[slot] + 0)
  for (i = 1; i <= n; i++) line = line " " (slow[slot, i] + 0)
  line = line " " (seen[slot] + 0)
  for (i = 0; i <= n; i++) line = line " " (risk[slot, i] + 0) " " (now[slot, i] + 0)
  print line
}
END { judge(); print "size", size - cut; sums("a"); sums("b") }
"""


def count_script(settings: NginxSettings, slots: Mapping[str, Slot], position: str) -> str:
    """Sum the log from `position` (inode:offset, "" for its end) on. Prints the nginx that runs, then for each file
    that it read its inode, where it began, and the sums; a line that is being written is left for the next time.

    The log may have begun anew since: then what is left of the old one (`.1`) comes first. Users who have met something
    in the release that has the dial now are kept in a file beside it.
    """
    edges = " ".join(f"{edge:g}" for edge in settings.edges)
    a, b = slots["a"].authority, slots["b"].authority
    met = settings.file("met") if settings.by else ""
    values = " ".join(f"-v {key}={shlex.quote(v)}" for key, v in {"A": a, "B": b, "EDGES": edges, "MET": met}.items())
    awk = f"LC_ALL=C awk {values} {shlex.quote(_AWK)}"
    inode, _, offset = position.partition(":")
    return f"""{_of_this_release(settings, met) if met else ""}log={shlex.quote(settings.log)}
pid=$(cat {shlex.quote(settings.pid)} 2> /dev/null)
echo "nginx $pid-$(awk '{{print $22}}' "/proc/$pid/stat" 2> /dev/null)"
look() {{ stat -L -c "$1" /proc/self/fd/3; }}
sum() {{
  from=$1
  [ "$(look %s)" -ge "$from" ] || from=0
  echo "file $(look %i) $from"
  tail -c +$((from + 1)) <&3 | {awk}
}}
exec 3< "$log" || exit 1
now=$(look %i)
if [ -z "{inode}" ]; then echo "file $now $(look %s)"; exit; fi
if [ "$now" = "{inode}" ]; then sum {offset or 0}; exit; fi
if [ -r "$log.1" ]; then
  exec 3< "$log.1"
  [ "$(look %i)" != "{inode}" ] || sum {offset or 0}
fi
exec 3< "$log"
sum 0"""


def _of_this_release(settings: NginxSettings, met: str) -> str:
    return f"""met={shlex.quote(met)}
claim=$(grep '^# token ' {shlex.quote(settings.include)})
[ "$(head -n 1 "$met" 2> /dev/null)" = "$claim" ] || echo "$claim" > "$met" || exit 1
"""


def errors_script(settings: NginxSettings, slots: Mapping[str, Slot], slot: str, position: str) -> str:
    """Prints `bad N`: the 5xx of a slot since `position`, "" for all that the log has."""
    inode = "$(stat -L -c %i " + shlex.quote(settings.log) + ")"
    summed = count_script(replace(settings, by=""), slots, position or "@:0").replace("@", inode)
    return f'({summed}) | awk \'$1 == "{slot}" {{ bad += $3 }} END {{ print "bad", bad + 0 }}\''


@dataclass(frozen=True, slots=True)
class Summed:
    """What the script said: which nginx, where to go on, and what happened since `position`."""

    identity: str
    position: str
    slots: Mapping[str, Counts]


def parse_counts(text: str, edges: Sequence[float]) -> Summed:
    """Raises ValueError on an answer that is not whole."""
    identity, inode, offset = "", "", 0
    none = Counts(slower=dict.fromkeys(edges, 0), users=dict.fromkeys((BAD, *edges), (0, 0)))
    slots = {"a": none, "b": none}
    for line in text.splitlines():
        kind, *numbers = line.split(" ")
        if kind == "nginx":
            identity = numbers[0]
        elif kind == "file":
            inode, offset = numbers[0], int(numbers[1])
        elif kind == "size":
            offset += int(numbers[0])
        elif kind in slots:
            slots[kind] = slots[kind].plus(_one([int(number) for number in numbers], edges))
    if not inode:
        raise ValueError(f"the log's sums are not whole: {text[:200]!r}")
    return Summed(identity, f"{inode}:{offset}", slots)


def _one(numbers: Sequence[int], edges: Sequence[float]) -> Counts:
    requests, failed, unanswered, diverted, missed, retries, *more = numbers
    slow, (seen, *users) = more[: len(edges)], more[len(edges) :]
    pairs = zip((BAD, *edges), zip(users[::2], users[1::2], strict=True), strict=True)
    return Counts(
        requests=requests,
        bad=failed + unanswered + diverted,
        slower=dict(zip(edges, slow, strict=True)),
        unanswered=unanswered,
        diverted=diverted,
        client_errors=missed,
        retries=retries,
        seen=seen,
        users=dict(pairs),
    )
