"""What the documentation says can be followed: links, options, code, and the site itself."""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emoji_jax import config as config_file
from emoji_jax.data import synthetic
from emoji_jax.video_writer import write_video
from tests.data import prepared

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page
    for folder in (".", "docs", "launch", "emoji_jax")
    for page in (ROOT / folder).glob("**/*.md" if folder == "emoji_jax" else "*.md")
)
DOCS = {str(page.relative_to(ROOT)): page for page in PAGES}
# As in the rest of the suite, shapes are checked.
CHECKED = """from jaxtyping import install_import_hook
install_import_hook("emoji_jax", "beartype.beartype")
"""
FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)


def blocks(text: str, *languages: str) -> list[str]:
    return [code for _, language, code in FENCE.findall(text) if language in languages]


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))


@functools.cache
def anchors(page: Path) -> set[str]:
    """Of a page's headings, as repositories and the site both make them."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in plain}


def links(page: Path) -> list[str]:
    """Where a page leads, within the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("name", DOCS)
def test_links_lead_somewhere(name):
    page = DOCS[name]
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{name} links to {link}"
        assert target.resolve().is_relative_to(ROOT.resolve()), f"{link} leaves the repository"
        if anchor:
            assert anchor in anchors(target.resolve()), f"{name}: {path} has no heading {anchor}"


def test_links_are_found():
    assert sum(len(links(page)) for page in PAGES) > 100


def commands(name: str) -> list[str]:
    """Lines of a page's shell blocks, continued ones put together, without comments."""
    text = "\n".join(blocks(DOCS[name].read_text(), "bash"))
    return [line.split(" #")[0] for line in text.replace("\\\n", " ").splitlines()]


@functools.cache
def options() -> set[str]:
    """All that `--config.` can set, in any command."""
    told = set()
    for file in ("base", "prepare", "encode", "distill"):
        config = config_file.read(f"{file}.py", beside=str(config_file.folder() / "x"))
        told |= set(_leaves(config.to_dict()))
    return told


def _leaves(section: dict, before: str = ""):
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"


@pytest.mark.parametrize("name", DOCS)
def test_commands_are_there(name):
    """Modules, scripts and options of shell blocks; options in the text as well."""
    for line in commands(name):
        for module in re.findall(r"python -m (emoji_jax\.\w+)", line):
            assert importlib.util.find_spec(module), line
        for script in re.findall(r"((?:benchmarks|launch|docs/pictures)/\w+\.(?:py|sh))", line):
            assert (ROOT / script).is_file(), line
    for option in re.findall(r"--config\.([a-z_]+(?:\.[a-z_]+)*)\b", DOCS[name].read_text()):
        known = options()
        assert option in known or any(o.startswith(f"{option}.") for o in known), option


def sections() -> dict[str, str]:
    """The code of each section of docs/extending.md."""
    parts = re.split(r"^## (.*)$", DOCS["docs/extending.md"].read_text(), flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    coded = {title: blocks(text, "python") for title, text in pairs}
    return {title: "\n".join(code) for title, code in coded.items() if code}


def run(code: str, folder: Path) -> str:
    """Executes code in a folder, in a Python of its own; returns what it prints."""
    script = folder / "code" / "example.py"
    script.parent.mkdir()
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_architecture_knows_every_module():
    """Readers of data sets and the rig's parts by their folder, all others by name."""
    tree = blocks(DOCS["docs/architecture.md"].read_text(), "")[0]
    for path in (ROOT / "emoji_jax").rglob("*.py"):
        folder = path.parent.name
        name = folder if folder in ("datasets", "synthetic") else path.stem
        assert "__" in name or re.search(rf"\b{name}\b", tree), path


def test_code_is_run():
    """No page has Python that nothing here executes."""
    coded = {name for name, page in DOCS.items() if blocks(page.read_text(), "python", "py")}
    pages = {
        f"docs/{name}.md" for name in ("data", "extending", "own-videos", "sampling", "tutorial")
    }
    assert coded == {"README.md", *pages}


@pytest.mark.parametrize("title", sections())
@pytest.mark.usefixtures("landmark_model")
def test_extending(title, tmp_path):
    (tmp_path / "emoji_jax").symlink_to(ROOT / "emoji_jax")
    code = sections()[title]
    # The examples say what has to come of them; that they are reached is seen by what is printed.
    assert re.search(r"^(assert|np\.testing)", code, re.MULTILINE)
    assert run(f"{CHECKED}{code}\nprint('to the end')", tmp_path).endswith("to the end\n")


@pytest.mark.usefixtures("landmark_model")
def test_tutorial(tmp_path):
    material = ROOT / "emoji_jax" / "bench" / "material" / "portraits"
    shutil.copy(material / "emoji_10.png", tmp_path / "mine.png")
    told = run("\n".join(blocks(DOCS["docs/tutorial.md"].read_text(), "python")), tmp_path)
    assert told in DOCS["docs/tutorial.md"].read_text().replace("`", "\n")
    assert (tmp_path / "calm.webp").exists()


@pytest.mark.usefixtures("landmark_model")
def test_readme(tmp_path):
    """As it stands there, but that the released weights are the bundled ones."""
    shutil.copy(ROOT / "emoji_jax" / "examples" / "portrait.png", tmp_path)
    way = np.linspace(0, 1, 8)
    does = synthetic.Expression(jaw_open=way, smile_left=way, smile_right=way)
    frames = synthetic.render(synthetic.portrait(7, 0, "shaded"), does, (256, 256))
    write_video(tmp_path / "motion.mp4", frames, 25.0)
    code = "\n".join(blocks(DOCS["README.md"].read_text(), "python"))
    run(code.replace('"release"', '"tiny"'), tmp_path)
    assert (tmp_path / "out.mp4").exists()


@pytest.mark.usefixtures("landmark_model")
def test_many_at_once(tmp_path):
    (tmp_path / "emoji_jax").symlink_to(ROOT / "emoji_jax")
    run("\n".join(blocks(DOCS["docs/sampling.md"].read_text(), "python")), tmp_path)
    assert (tmp_path / "a.webp").exists() and (tmp_path / "b.webp").exists()


def test_own_videos(tmp_path):
    run("\n".join(blocks(DOCS["docs/own-videos.md"].read_text(), "python")), tmp_path)
    assert len(list((tmp_path / "videos").iterdir())) == 6


def test_reading_data(tmp_path):
    pytest.importorskip("tensorflow_datasets", reason="it reads the shards: .[train]")
    prepared.write(tmp_path / "dataset", [12, 10], 64)
    code = "\n".join(blocks(DOCS["docs/data.md"].read_text(), "python"))
    told = run(
        f"{code}\nprint(clips.decode_frames(source[0], [0, 8]).shape, len(clips.decode_landmarks("
        "source[0])), type(clips.decode(source[0])).__name__)",
        tmp_path,
    )
    assert told == "(2, 64, 64, 3) 12 Clip\n"


@pytest.mark.skipif(
    not importlib.util.find_spec("mkdocs"), reason="mkdocs is missing: pip install '.[docs]'"
)
def test_site(tmp_path):
    """It is built without a warning, and asks no other host for anything."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text())
        assert not [tag for tag in tags if re.search(r"(?:src|href)=\"?(?:https?:)?//", tag)]
