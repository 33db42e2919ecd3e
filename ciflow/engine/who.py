"""Who runs this process, for the record."""

from __future__ import annotations

import getpass
import os
import socket


def who() -> str:
    """The account and the machine; in CI the actor that the CI names."""
    for name in ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "SUDO_USER"):
        if os.environ.get(name):
            return os.environ[name]
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"uid {os.getuid()}@{socket.gethostname()}"
