"""The command `emoji-jax`."""

import subprocess
import sys
from pathlib import Path

from emoji_jax import __main__, __version__


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "emoji_jax", *arguments], capture_output=True, text=True, check=False
    )


def test_it_has_every_command():
    package = Path(__main__.__file__).parent
    mains = {
        path.parent.name if path.stem == "__main__" else path.stem
        for path in package.rglob("*.py")
        if "command.run(main)" in path.read_text()
    }
    assert mains == set(__main__.COMMANDS)


def test_alone_it_tells_what_there_is():
    told = run()
    assert told.returncode == 0
    for name in __main__.COMMANDS:
        line = next(line for line in told.stdout.splitlines() if line.split()[:1] == [name])
        assert len(line.split()) > 2


def test_commands_get_their_options():
    told = run("sample", "--out=picture.xyz")
    assert told.returncode == 2 and "picture.xyz has the suffix .xyz" in told.stderr
    assert told.stderr.count("\n") == 1


def test_commands_that_there_are_not():
    told = run("smaple")
    assert told.returncode == 2 and told.stderr.count("\n") == 1
    assert "no command 'smaple'; expected one of sample" in told.stderr


def test_version():
    assert run("--version").stdout.strip() == __version__
