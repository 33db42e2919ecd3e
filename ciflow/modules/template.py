"""`template`: render a Jinja2 file of the controller and put the text on the host."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ciflow.model import Context, Outcome, Render, Steps
from ciflow.modules.place import into, placed, without_file, write
from ciflow.modules.replies import failure, well
from ciflow.modules.sources import Missing, find, md5, sha1

_OPTIONS = (
    "block_start_string",
    "block_end_string",
    "variable_start_string",
    "variable_end_string",
    "comment_start_string",
    "comment_end_string",
    "trim_blocks",
    "lstrip_blocks",
    "newline_sequence",
)


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Render, then one Write. Names are looked up in `templates/` of each search folder first."""
    if wrong := without_file(args):
        return Outcome(failed=True, msg=wrong, data={"src": args["src"], "dest": args["dest"]})
    found = yield from find(args["src"], context, "templates")
    if isinstance(found, Missing):
        return Outcome(failed=True, msg=str(found), data={"src": args["src"]})
    options = {key: args[key] for key in _OPTIONS if key in args}
    own = {"template_path": args["src"], "template_destpath": args["dest"]}
    rendered = yield Render(found.path, vars=own, options=options)
    if not well(rendered):
        return failure(rendered, {"src": found.path})
    try:
        text = rendered.stdout.decode("utf-8", "surrogateescape")
        content = text.encode(args["output_encoding"] or "utf-8", "surrogateescape")
    except (LookupError, UnicodeError) as error:
        return Outcome(failed=True, msg=f"output_encoding: {error}", data={"src": found.path, "dest": args["dest"]})
    mode = found.mode if args.get("mode") == "preserve" else args.get("mode", "")
    wish = write({**args, "mode": mode}, context, content)
    if rendered.data.get("vaulted"):
        wish = replace(wish, diff=False)
    path, reply = yield from into(wish, posixpath.basename(args["src"]))
    return placed(reply, path, {"src": found.path, "checksum": sha1(content), "md5sum": md5(content)})
