"""`licenses`: which licences the crates of a Rust workspace have, whether its policy takes them, and the notices."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from ciflow.model import Change, Context, Exec, Outcome, Probe, Read, Reply, Step, Steps, Write
from ciflow.modules.cargo import missing
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import failure, predicted, process_data, text, well
from ciflow.supply.errors import SupplyError
from ciflow.supply.licence_policy import FILE

if TYPE_CHECKING:
    from ciflow.supply.licence_policy import Crate, Policy, Verdict

# What cargo resolves for one platform: $1, or the host's own.
_LOOK = """\
triple=$1
[ -n "$triple" ] || triple=$(rustc -vV | sed -n 's/^host: //p')
exec cargo metadata --locked --format-version=1 ${triple:+--filter-platform "$triple"}
"""
# Folders on standard input; of each its files on licences, links left out: a crate may make one to any file.
_TEXTS = r"""
while IFS= read -r folder; do
  for file in "$folder"/*; do
    case ${file##*/} in
      [Ll][Ii][Cc][Ee][Nn][CcSs][Ee]*|[Uu][Nn][Ll][Ii][Cc][Ee][Nn][CcSs][Ee]*|[Cc][Oo][Pp][Yy][Ii][Nn][Gg]*|[Cc][Oo][Pp][Yy][Rr][Ii][Gg][Hh][Tt]*|[Nn][Oo][Tt][Ii][Cc][Ee]*) ;;
      *) continue ;;
    esac
    { [ -f "$file" ] && [ ! -L "$file" ]; } || continue
    printf '\036%s\037' "$file"
    head -c 262144 "$file" | tr -d '\036\037'
  done
done
"""  # noqa: E501
_SHOWN = 3


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Ask cargo on the host, judge here, write the notices there."""
    crates = yield from _crates(args, context)
    if isinstance(crates, Outcome):
        return crates
    policy = yield from _policy(args)
    if isinstance(policy, Outcome):
        return policy
    found = _judged(crates, policy, datetime.fromtimestamp(context.now, UTC).date())
    if args.get("notices"):
        written = yield from _notices(args, crates)
        if isinstance(written, Outcome):
            return written
        changed = bool(written.pop("changed"))
        return Outcome(changed=changed, failed=found.failed, msg=found.msg, data={**found.data, **written})
    return found


def _crates(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, Sequence[Crate] | Outcome]:
    from ciflow.supply.crate_licences import crates_of

    argv = ("/bin/sh", "-c", _LOOK, "sh", args.get("target", ""))
    look = Exec(argv=argv, cwd=args.get("chdir", ""), env=context.environment, timeout=context.timeout)
    seen = yield Probe(look)
    if seen.rc == 127:
        return missing(["cargo", "metadata"])
    metadata = yield from whole_stdout(seen)
    if isinstance(metadata, Reply) or not well(seen):
        return failure(seen, process_data(seen, ["cargo", "metadata", "--locked"]), "cargo metadata failed")
    try:
        return crates_of(text(metadata))
    except SupplyError as error:
        return Outcome(failed=True, msg=f"the licences can't be told: {error}")


def _policy(args: Mapping[str, Any]) -> Generator[Step, Reply, Policy | Outcome | None]:
    """What the task says, else what the workspace's file does; None where nothing is to be checked."""
    from ciflow.supply import licence_policy

    if not args["check"]:
        return None
    if args["allow"] or args["deny"]:
        return _parsed(args)
    path = posixpath.join(args.get("chdir", ""), args.get("policy") or FILE)
    reply = yield Probe(Read(path=path))
    if reply.errno == "ENOENT":
        return Outcome(failed=True, msg=f"nothing says which licences are allowed: write {path}, or say `allow`")
    if not well(reply):
        return failure(reply, what=f"the policy {path} can't be read")
    try:
        return licence_policy.parse(text(reply.stdout), path)
    except SupplyError as error:
        return Outcome(failed=True, msg=str(error))


def _parsed(given: Mapping[str, Any]) -> Policy | Outcome:
    from ciflow.supply.licence_policy import Policy, names

    try:
        return Policy(names(given["allow"], "allow"), names(given["deny"], "deny"))
    except SupplyError as error:
        return Outcome(failed=True, msg=str(error))


def _judged(crates: Sequence[Crate], policy: Policy | None, today: date) -> Outcome:
    from ciflow.supply.crate_licences import data_of, summary
    from ciflow.supply.licence_policy import judged

    data: dict[str, Any] = {"licenses": summary(crates)}
    if policy is None:
        msg = f"{len(crates)} crates under {len(data['licenses'])} licences"
        return Outcome(msg=msg, data={**data, "crates": data_of(crates), "refused": [], "said": []})
    verdicts, said = judged(crates, policy, today)
    refused = [one for one in verdicts if not one.good]
    data |= {"crates": [one.data() for one in verdicts], "refused": [one.data() for one in refused], "said": list(said)}
    if not refused:
        return Outcome(msg=f"the licences of all {len(crates)} crates are allowed", data=data)
    shown = [_told(one) for one in refused[:_SHOWN]] + ([".."] if len(refused) > _SHOWN else [])
    return Outcome(failed=True, msg=f"{len(refused)} of {len(crates)} crates: {'; '.join(shown)}", data=data)


def _told(one: Verdict) -> str:
    """`ring 0.17 has OpenSSL, which is denied (app 1.0.0 -> ring 0.17)`"""
    what = one.why if one.state == "unknown" else f"{one.why} is {'denied' if one.state == 'denied' else 'not allowed'}"
    return f"{one.crate.label}: {what} ({' -> '.join(one.crate.chain)})"


def _notices(args: Mapping[str, Any], crates: Sequence[Crate]) -> Generator[Step, Reply, dict[str, Any] | Outcome]:
    from ciflow.supply.crate_licences import notices, texts_of

    delivered = [one for one in crates if one.delivered]
    folders = "".join(f"{one.directory}\n" for one in delivered)
    read = yield Probe(
        Exec(argv=("/bin/sh", "-c", _TEXTS.strip() + "\n"), stdin=folders.encode(errors="surrogateescape"))
    )
    texts = yield from whole_stdout(read)
    if isinstance(texts, Reply) or not well(read):
        return failure(read, what="the texts of the licences can't be read")
    content, without = notices(delivered, texts_of(texts))
    path = posixpath.join(args.get("chdir", ""), args["notices"])
    reply = yield Change(Write(path=path, content=content.encode()))
    if not well(reply) and not predicted(reply):
        return failure(reply)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return {"changed": reply.changed, "notices": path, "sha256": digest, "without_text": list(without)}
