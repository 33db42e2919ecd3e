"""What a `.j2` file sees of itself: `ansible_managed`, `template_path` and the others of Ansible's documentation."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.lang.scope import Scope
from ciflow.model import Stat


def file_variables(scope: Scope, name: str, path: str, dest: str | None = None) -> Mapping[str, Callable[[], Any]]:
    """Variables of the template at `path`, which the task calls `name`; computed when they are asked for."""

    def stat() -> Mapping[str, Any]:
        return scope.answer(Stat(path=path, follow=True)).data

    def changed_at() -> datetime.datetime:
        return datetime.datetime.fromtimestamp(float(stat()["mtime"]))

    made: dict[str, Callable[[], Any]] = {
        "template_host": platform.node,
        "template_path": lambda: name,
        "template_fullpath": lambda: os.path.abspath(path),  # noqa: PTH100 - a link stays as it is called
        "template_uid": lambda: stat().get("owner") or stat()["uid"],
        "template_mtime": changed_at,
        "template_run_date": datetime.datetime.now,
        "template_destpath": lambda: dest,
    }
    if "ansible_managed" not in scope:  # a user's own wins
        made["ansible_managed"] = lambda: "Ansible managed"
    return made
