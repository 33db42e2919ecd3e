"""A clock that jumps, for programs started with it: the machine's own is left alone."""

import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.parts import process

# Adds what a file holds (seconds, a native 64-bit number) to the wall clock; monotonic clocks stay as they are.
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long long jump(void) {
  long long seconds = 0;
  int file = open(getenv("CLOCK_JUMP"), O_RDONLY | O_CLOEXEC);
  if (file >= 0) { if (read(file, &seconds, sizeof seconds) != sizeof seconds) seconds = 0; close(file); }
  return seconds;
}
int clock_gettime(clockid_t which, struct timespec *at) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(which, at);
  if (!result && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) at->tv_sec += jump();
  return result;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
int gettimeofday(struct timeval *at, void *zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}
"""


@dataclass(frozen=True)
class Clock:
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """For a program whose wall clock this is, and for all that it starts."""
        return {"LD_PRELOAD": str(self.folder / "clock.so"), "CLOCK_JUMP": str(self.folder / "jump")}

    def jump(self, seconds: int) -> None:
        """The wall clock is so far from the machine's, from now on."""
        new = self.folder / "jump.new"
        new.write_bytes(struct.pack("q", seconds))
        new.rename(self.folder / "jump")


def clock(folder: Path) -> Clock:
    """Raises MissingPart where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise process.MissingPart("cc is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clock.c").write_text(_SOURCE)
    argv = [compiler, "-shared", "-fPIC", "-o", str(folder / "clock.so"), str(folder / "clock.c"), "-ldl"]
    subprocess.run(argv, check=True, env={**os.environ, "LC_ALL": "C"}, capture_output=True)
    made = Clock(folder)
    made.jump(0)
    return made
