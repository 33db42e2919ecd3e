"""What an agent says before it goes is heard, though it takes nothing more."""

import sys
from pathlib import Path

import pytest

from ciflow.diagnostics import CiflowError, Lost, Superseded
from ciflow.model import Exec
from ciflow.targets import Connection
from ciflow.targets.told import Ended
from tests.security.hostile import BEGUN, HELLO, PROGRAM
from tests.targets.parley import Parley

# Takes nothing more before it says that it is ready; says its last words when it may, and goes.
DYING = (
    PROGRAM.partition("half, other")[0]
    + """
import socket, time
half, other, size = sys.argv[-5:-2]
read(int(size))
write((half + "-" + other + "-hello\\n").encode())
with socket.socket(fileno=os.dup(0)) as way:
    way.shutdown(socket.SHUT_RD)
say({hello})
say({begun})
while not os.path.exists({go}):
    time.sleep(0.02)
say({last})
"""
)


@pytest.mark.parametrize(
    ("last", "kind", "part"),
    [
        ({"t": "fault", "error": "its disk is broken"}, Lost, "its disk is broken"),
        ({"t": "superseded", "token": 7, "run": "R-2"}, Superseded, "R-2"),
    ],
)
def test_the_last_words_of_an_agent_that_takes_nothing_more_are_heard(
    tmp_path: Path, last: dict[str, object], kind: type[CiflowError], part: str
) -> None:
    agent, go = tmp_path / "agent", tmp_path / "go"
    words = {"hello": HELLO, "begun": BEGUN, "last": last, "go": str(go)}
    agent.write_text(DYING.format(python=sys.executable, **{name: repr(word) for name, word in words.items()}))
    agent.chmod(0o755)
    parley = Parley(Connection(name="web1", python=str(agent), connect_timeout=30.0)).ready()
    parley.session.submit("web1", "one", Exec(argv=("true",)))
    parley.session.flush()  # has failed when this returns
    go.touch()
    error = parley.next(Ended).error
    assert (type(error), part in str(error.message)) == (kind, True), error
