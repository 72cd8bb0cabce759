"""Pages link to files beside docs/ as they lie in the repository; the site brings those along.

Each becomes a page of its own: Markdown as it is, anything else as code.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_FOLDER = "files"
_LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")
# Of each page that was brought along: the file that it is made of.
_ORIGINS: dict[str, str] = {}
_KINDS = {".py": "python", ".sh": "bash", ".yml": "yaml", ".toml": "toml"}


def _target(page: str, link: str) -> str:
    """What a link means, as a path in the repository; pages are so, too."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _place(path: str) -> str:
    """Where a file of the repository is on the site, as a path in docs/."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{_FOLDER}/{path}" + ("" if path.endswith(".md") else ".md")


def _contents(root: Path, path: str) -> str:
    text = (root / path).read_text()
    if path.endswith(".md"):
        return text
    kind = _KINDS.get(Path(path).suffix, "text")
    return f"# {path}\n\n``````{kind}\n{text}\n``````\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files that pages link to, and those that these link to."""
    root = Path(config.docs_dir).parent
    waiting = [f"docs/{file.src_uri}" for file in files if file.src_uri.endswith(".md")]
    while waiting:
        page = waiting.pop()
        for _, link, _, _ in _LINK.findall((root / page).read_text()):
            path = _target(page, link)
            place = _place(path)
            if path.startswith(("docs/", "..")) or place in _ORIGINS or not (root / path).is_file():
                continue
            _ORIGINS[place] = path
            files.append(File.generated(config, place, content=_contents(root, path)))
            if path.endswith(".md"):
                waiting.append(path)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads links to where the files are on the site."""
    uri, root = page.file.src_uri, Path(config.docs_dir).parent
    here = _ORIGINS.get(uri, f"docs/{uri}")

    def led(found: re.Match) -> str:
        begin, link, anchor, end = found.groups()
        path = _target(here, link)
        if path.startswith("..") or not (root / path).is_file():
            return found[0]
        there = posixpath.relpath(_place(path), posixpath.dirname(uri) or ".")
        return f"{begin}{there}{anchor or ''}{end}"

    return _LINK.sub(led, markdown) if here.endswith(".md") else markdown
