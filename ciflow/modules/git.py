"""`git`: a clone of a repository on the host, at a version."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ciflow.model import Change, Context, Exec, Outcome, Probe, Reply, Stat, Steps
from ciflow.modules.replies import failure, predicted, text, well

# Every script gets the same words, so that no value is ever part of a script's text.
_WORDS = (
    "git=$1 dest=$2 remote=$3 repo=$4 version=$5 depth=$6 recursive=$7 force=$8 bare=$9 single=${10} track=${11}\n"
    "verify=${12} refspec=${13} archive=${14} prefix=${15}\n"
    '[ -z "${16}" ] || umask "${16}"\n'
)

# What is there: lines head, url of the remote, a first changed file. Exit 3: no repository here.
_LOOK = """
command -v "$git" >/dev/null || exit 127
cd "$dest" 2>/dev/null || exit 3
[ -e .git ] || { [ -f HEAD ] && [ -d objects ]; } || exit 3
"$git" rev-parse --verify --quiet HEAD || echo
"$git" remote get-url "$remote" 2>/dev/null || echo
[ "$bare" = yes ] || GIT_OPTIONAL_LOCKS=0 "$git" status --porcelain --untracked-files=no | head -n 1
"""

# What the remote has under that name: a commit is itself.
_REMOTE = """
"$git" ls-remote "$repo" "$version" "refs/heads/$version" "refs/tags/$version" "refs/tags/$version^{}"
"""

_CHECKOUT = """
checkout() {
  if [ "$version" = HEAD ]; then
    "$git" remote set-head "$remote" --auto >/dev/null
    branch=$("$git" symbolic-ref --short "refs/remotes/$remote/HEAD") || return
    branch=${branch#"$remote/"}
  elif "$git" rev-parse --verify --quiet "refs/remotes/$remote/$version^{commit}" >/dev/null; then
    branch=$version
  else
    [ "$verify" = no ] || "$git" verify-commit "$version" 2>/dev/null || "$git" verify-tag "$version" || return
    "$git" checkout --quiet --force --detach "$version^{commit}" -- || return
    branch=
  fi
  [ -z "$branch" ] || [ "$verify" = no ] || "$git" verify-commit "refs/remotes/$remote/$branch" || return
  [ -z "$branch" ] || "$git" checkout --quiet --force -B "$branch" "refs/remotes/$remote/$branch" -- || return
  [ "$recursive" = no ] || [ ! -f .gitmodules ] || "$git" submodule --quiet update --init --recursive $track
}
"""

_CLONE = """
set -e
mkdir -p "$(dirname -- "$dest")"
set -- --origin "$remote"
[ "$depth" = 0 ] || set -- "$@" --depth "$depth" --no-single-branch
[ "$single" = no ] || set -- "$@" --single-branch --branch "$version"
if [ "$bare" = yes ]; then "$git" clone --bare "$@" -- "$repo" "$dest"; exit; fi
"$git" clone --no-checkout "$@" -- "$repo" "$dest"
cd "$dest"
[ -z "$refspec" ] || "$git" fetch --quiet --force "$remote" "$refspec"
checkout
"""

_UPDATE = """
set -e
cd "$dest"
"$git" remote set-url "$remote" "$repo" 2>/dev/null || "$git" remote add "$remote" "$repo"
[ "$force" = no ] || [ "$bare" = yes ] || "$git" reset --quiet --hard
if [ "$bare" = yes ]; then
  "$git" fetch --force "$remote" '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*'
  exit
fi
set --
[ "$depth" = 0 ] || set -- --depth "$depth"
"$git" fetch --force --tags "$@" "$remote" "+refs/heads/*:refs/remotes/$remote/*" ${refspec:+"$refspec"}
checkout
"""


# The tree at that version in a file; exit 10 when the one that is there holds the same already.
_ARCHIVE = """
set -e
cd "$dest"
case $archive in
*.zip) format=zip ;;
*.tar) format=tar ;;
*.tar.gz | *.tgz) format=tar.gz ;;
*) echo "unsupported archive format: $archive (zip, tar, tar.gz or tgz)" >&2; exit 1 ;;
esac
new=$(mktemp "$archive.XXXXXX")
trap 'rm -f "$new"' EXIT
"$git" archive --format="$format" ${prefix:+--prefix="$prefix"} --output="$new" HEAD
! cmp -s -- "$new" "$archive" || exit 10
chmod "$(printf %o $((0666 & ~$(umask))))" "$new"
mv -f -- "$new" "$archive"
"""


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """What the repository is to be, and then, where one is asked for, the archive of it."""
    if args.get("archive_prefix") and not args.get("archive"):
        return Outcome(failed=True, msg="archive_prefix requires archive")
    outcome = yield from _repository(args, context)
    if outcome.failed or not args.get("archive"):
        return outcome
    return (yield from _archived(args, context, outcome))


def _archived(args: Mapping[str, Any], context: Context, outcome: Outcome) -> Steps:
    """In check mode it is known only of an archive that is not there that it would be made."""
    seen = yield Probe(Stat(path=args["archive"]))
    reply = yield Change(_script(args, context, _ARCHIVE))
    if not well(reply) and not predicted(reply) and reply.rc != 10:
        return _broken(reply, f"can't make {args['archive']}")
    made = not seen.data.get("exists") if predicted(reply) else reply.rc != 10
    return replace(outcome, changed=outcome.changed or made, data={**outcome.data, "archive": args["archive"]})


def _repository(args: Mapping[str, Any], context: Context) -> Steps:
    """Look, then clone or update, then look again: three operations."""
    seen = yield Probe(_script(args, context, _LOOK))
    if seen.rc == 127:
        return Outcome(failed=True, msg=f"{args['executable']} is not installed on the host", data={"rc": 127})
    if seen.rc == 3 and seen.status == "done":
        return (yield from _clone(args, context)) if args["clone"] else (yield from _told(args, context))
    if not well(seen):
        return _broken(seen, "can't look at the repository")
    head, url, dirty = [*text(seen.stdout).split("\n"), "", "", ""][:3]
    data = {"before": head or None, "remote_url_changed": bool(url) and url != args["repo"]}
    if dirty and not args["force"]:
        msg = f"Local modifications exist in the destination: {args['dest']} (force=no)."
        return Outcome(failed=True, msg=msg, data=data)
    if not args["update"]:
        return Outcome(data={**data, "after": head})
    return (yield from _update(args, context, data, bool(dirty)))


def _clone(args: Mapping[str, Any], context: Context) -> Steps:
    reply = yield Change(_script(args, context, _CHECKOUT + _CLONE))
    if predicted(reply):
        return Outcome(changed=True, msg="would clone", data={"before": None})
    if not well(reply):
        return _broken(reply, f"can't clone {args['repo']}")
    return (yield from _after(args, context, {"before": None, "remote_url_changed": False}, changed=True))


def _update(args: Mapping[str, Any], context: Context, data: Mapping[str, Any], dirty: bool) -> Steps:
    if context.check:
        return (yield from _told(args, context, data))
    reply = yield Change(_script(args, context, _CHECKOUT + _UPDATE))
    if not well(reply):
        return _broken(reply, f"can't bring {args['dest']} to {args['version']}")
    return (yield from _after(args, context, data, changed=dirty or bool(data["remote_url_changed"])))


def _after(args: Mapping[str, Any], context: Context, data: Mapping[str, Any], *, changed: bool) -> Steps:
    seen = yield Probe(_script(args, context, _LOOK), last=True)
    if not well(seen):
        return _broken(seen, "can't look at the repository afterwards")
    after = text(seen.stdout).split("\n")[0]
    return Outcome(changed=changed or after != data["before"], data={**data, "after": after})


def _told(args: Mapping[str, Any], context: Context, data: Mapping[str, Any] | None = None) -> Steps:
    """What the remote has, with nothing fetched: for `clone: false` without a clone, and for check mode."""
    known = dict(data or {"before": None})
    reply = yield Probe(_script(args, context, _REMOTE), last=True)
    if not well(reply):
        return _broken(reply, f"can't ask {args['repo']}")
    rows = [line.split("\t") for line in text(reply.stdout).splitlines() if "\t" in line]
    peeled = [commit for commit, name in rows if name.endswith("^{}")]
    after = (peeled or [commit for commit, _ in rows] or [args["version"]])[0]
    changed = after != known["before"] and bool(data)
    return Outcome(changed=changed, data={**known, "after": after})


def _script(args: Mapping[str, Any], context: Context, script: str) -> Exec:
    flags = ("yes" if args[name] else "no" for name in ("recursive", "force", "bare", "single_branch"))
    words = (args["executable"], args["dest"], args["remote"], args["repo"], args["version"], str(args["depth"]))
    more = ("--remote" if args["track_submodules"] else "", "yes" if args["verify_commit"] else "no")
    rest = tuple(args.get(name, "") for name in ("refspec", "archive", "archive_prefix", "umask"))
    argv = ("/bin/sh", "-c", _WORDS + script.strip() + "\n", "git", *words, *flags, *more, *rest)
    env = {**context.environment, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **_ssh(args)}
    return Exec(argv=argv, env=env, timeout=context.timeout)


def _ssh(args: Mapping[str, Any]) -> dict[str, str]:
    """How git calls ssh. A password prompt never appears; an unknown host key is refused unless told otherwise."""
    words = ["ssh", "-o", "BatchMode=yes"]
    if args["accept_newhostkey"] or args["accept_hostkey"]:
        words += ["-o", f"StrictHostKeyChecking={'no' if args['accept_hostkey'] else 'accept-new'}"]
    if args.get("key_file"):
        words += ["-i", args["key_file"], "-o", "IdentitiesOnly=yes"]
    return {"GIT_SSH_COMMAND": shlex.join(words + shlex.split(args.get("ssh_opts", "")))}


def _broken(reply: Reply, what: str) -> Outcome:
    said = text(reply.stderr).strip()
    if reply.status != "done" or not said:
        return failure(reply, {"rc": reply.rc}, what)
    return Outcome(failed=True, msg=f"{what}: {said}", data={"rc": reply.rc, "stderr": said})
