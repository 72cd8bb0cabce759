"""A disk of a few kilobytes, seen by one command alone; then it grows."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

# Arguments: folder, folder for copies, kilobytes each time, --, command.
_SCRIPT = """
set -eu
disk=$1 copies=$2; shift 2
mount -t tmpfs -o size=4k tmpfs "$disk"
sizes=""
while [ "$1" != -- ]; do sizes="$sizes $1"; shift; done
shift
for size in $sizes; do
  mount -o "remount,size=${size}k" "$disk"
  code=0
  "$@" >> "$copies/log" 2>&1 || code=$?
  echo "exit code $code" >> "$copies/log"
  cp -r "$disk/." "$copies/$size"
done
"""


def _is_possible() -> bool:
    program = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return not subprocess.run(program, capture_output=True, check=False).returncode
    except OSError:
        return False


needed = pytest.mark.skipif(not _is_possible(), reason="needs to mount a disk of its own")


def run(
    disk: Path, copies: Path, sizes: Sequence[int], command: Sequence[str]
) -> tuple[list[int], str]:
    """Runs a command that writes to `disk` once for each of its sizes.

    Args:
      disk: where it is mounted, a folder that is made.
      copies: folder that is made for what the disk holds afterwards, in folders named by its size.
      sizes: of the disk, kilobytes.
      command: the same each time.

    Returns:
      Exit codes, and everything that was printed.
    """
    disk.mkdir()
    copies.mkdir()
    program = ["unshare", "-rm", "bash", "-c", _SCRIPT, "-", str(disk), str(copies)]
    program += [*map(str, sizes), "--", *command]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = (copies / "log").read_text()
    codes = [line for line in said.splitlines() if line.startswith("exit code ")]
    return [int(line.split()[-1]) for line in codes], said
