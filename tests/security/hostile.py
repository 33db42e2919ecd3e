"""An agent that lies: what it says stands in a file beside it, whose name is its own and `.json`.

Installed as a host's `ansible_python_interpreter`, it is started as Python would be, greets as the agent does, says its
first messages, and then gives the one reply that it has to every operation; without one it hangs up.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HELLO = {"t": "hello", "version": "1", "pid": 1, "uid": 0, "user": "root", "python": "3.11.0", "executable": "/x",
         "home": "/root", "epoch": "e", "warning": ""}  # fmt: skip
BEGUN = {"t": "begun", "token": 1, "run": "R-1", "journal": "j", "warning": ""}

PROGRAM = """#!{python} -I
import json, os, struct, sys

def read(wanted):
    data = b""
    while len(data) < wanted:
        piece = os.read(0, wanted - len(data))
        if not piece:
            sys.exit(1)
        data += piece
    return data

def say(text):
    data = text if isinstance(text, bytes) else json.dumps(text).encode()
    for at in range(0, len(data), 60000):
        piece = data[at : at + 60000]
        write(struct.pack(">IBBI", len(piece), 2, int(at + 60000 < len(data)), 0) + piece)

def write(data):
    while data:
        data = data[os.write(1, data) :]

half, other, size = sys.argv[-5:-2]
read(int(size))
write((half + "-" + other + "-hello\\n").encode())
with open(sys.argv[0] + ".json") as file:
    lies = json.load(file)
for text in lies["first"]:
    say(text.encode() if isinstance(text, str) else text)
while lies["reply"] is not None:
    length, kind, flags, stream = struct.unpack(">IBBI", read(10))
    heard = read(length)
    if kind != 2 or flags & 1:
        continue
    message = json.loads(heard)
    if message["t"] == "op":
        say({{"t": "answer", "id": message["id"], "key": message["key"], "reply": lies["reply"], "streamed": [0, 0]}})
    for key, number in message["keys"] if message["t"] == "ask" else ():
        say({{"t": "asked", "id": number, "key": key, "state": "absent"}})
"""


def install(path: Path, first: list[Any], reply: Mapping[str, Any] | None) -> Path:
    """The agent at `path`. A text among `first` goes out as the bytes of a message, whatever it is."""
    path.write_text(PROGRAM.format(python=sys.executable))
    path.chmod(0o755)
    path.with_name(f"{path.name}.json").write_text(json.dumps({"first": first, "reply": reply}))
    return path
