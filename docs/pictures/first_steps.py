"""A new user's first steps, as the README has them, timed, and recorded in a real browser.

python docs/pictures/first_steps.py OUT --chromium /usr/bin/chromium     (with Playwright installed)

Clones the repository into an empty folder, runs every line of the README's shell blocks that needs
neither a cluster nor the authors' files (tests are left to `.ci/run`), with the environment's
Python and with a portrait and a motion where the README has `…`, opens the web page, gives it a
picture of its own, and makes a result. Writes OUT/first_steps.webp, and prints what took how long.
Fails where a command does.
"""

import argparse
import io
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright import sync_api

from emoji_jax.video import read_video
from emoji_jax.video_writer import VideoWriter

ROOT = Path(__file__).parents[2]
# What in a block stands for somebody else's machines or files.
_ELSEWHERE = ("FOLDER", "RUNS", "BUCKET", "--checkpoint release", "pytest")
# A picture of the recording: its width, and how long it stays.
_WIDTH, _MOMENT = 720, 900


def main() -> None:
    """Walks, and tells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--chromium", required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "emoji_jax"
        subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{ROOT}", clone], check=True)
        _prepare(clone)
        for line in commands((clone / "README.md").read_text()):
            _timed(line, clone)
        page = re.search(r"\*\*In a browser\*\*: `([^`]+)`", (clone / "README.md").read_text())
        install, start = page[1].split(" && ")
        _timed(install, clone)
        with _served(start, clone) as address:
            _record(address, clone, args.chromium, args.out / "first_steps.webp")


def commands(readme: str) -> Iterator[str]:
    """Lines of the README's shell blocks that can be run anywhere, with what `…` stands for."""
    for block in re.findall(r"```bash\n(.*?)```", readme, re.DOTALL):
        for line in block.splitlines():
            if not any(word in line for word in _ELSEWHERE):
                given = "" if "--driving" in line else " --driving motion.mp4"
                line = line.split("    #")[0].replace(" …", f" --ref portrait.png{given}")
                for part in line.split(" && "):
                    yield re.sub(r"^python ", ".venv/bin/python ", part).strip()


def _prepare(clone: Path) -> None:
    """The user's own files: a portrait of two people, motions and a table."""
    one = Image.open(clone / "emoji_jax" / "examples" / "portrait.png").convert("RGB")
    both = Image.new("RGB", (2 * one.width, one.height), "white")
    both.paste(one, (0, 0))
    both.paste(one.rotate(8, fillcolor="white"), (one.width, 0))
    both.save(clone / "portrait.png")
    one.save(clone / "pose.png")
    for name in ("motion", "left", "right"):
        (clone / f"{name}.mp4").symlink_to(clone.parent / "driver.mp4")
    (clone / "pairs.csv").write_text("ref,driving\nportrait.png,motion.mp4\n")


def _timed(line: str, clone: Path) -> None:
    driver = clone.parent / "driver.mp4"
    if not driver.exists() and (clone / "out.mp4").exists():
        # A film of eight seconds: what the first command has made, again and again.
        frames, rate = read_video(clone / "out.mp4")
        with VideoWriter(driver, frames.shape[1:3], rate) as writer:
            for i in range(round(8 * rate)):
                writer.write(frames[i % len(frames)])
    begun = time.perf_counter()
    done = subprocess.run(["bash", "-c", line], cwd=clone, capture_output=True, text=True)
    print(f"{time.perf_counter() - begun:6.1f} s  {line}", flush=True)
    if done.returncode:
        sys.exit(f"it ended with {done.returncode}:\n{done.stdout}{done.stderr}")


@contextmanager
def _served(start: str, clone: Path) -> Iterator[str]:
    begun, log = time.perf_counter(), clone.parent / "log"
    with log.open("w") as file:
        server = subprocess.Popen(
            f"exec {start} --port=0", cwd=clone, shell=True, stdout=file, stderr=file
        )
    try:
        while not (found := re.search(r"the page is at (\S+)", log.read_text())):
            if server.poll() is not None:
                sys.exit(log.read_text())
            time.sleep(0.1)
        print(f"{time.perf_counter() - begun:6.1f} s  {start}: the page is there", flush=True)
        yield found[1]
    finally:
        server.terminate()
        server.wait()


def _record(address: str, clone: Path, chromium: str, out: Path) -> None:
    shots: list[Image.Image] = []
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 1000})
        tab.set_default_timeout(180_000)

        def step(what: str, act: Callable[[], object], until: str) -> None:
            begun = time.perf_counter()
            act()
            tab.locator(until).first.wait_for()
            print(f"{time.perf_counter() - begun:6.1f} s  page: {what}", flush=True)
            tab.wait_for_timeout(500)
            shot = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
            height = round(shot.height * _WIDTH / shot.width)
            shots.append(shot.resize((_WIDTH, height), Image.Resampling.LANCZOS))

        step("opened", lambda: tab.goto(address), "#preview img")
        portrait = clone / "docs" / "pictures" / "own.png"
        mine = Image.open(ROOT / "docs" / "pictures" / "tutorial_mine.webp").convert("RGB")
        mine.crop((0, 0, mine.height, mine.height)).resize((384, 384)).save(portrait)
        file = "#portrait-file input[type=file]"
        step(
            "a picture of one's own",
            lambda: tab.set_input_files(file, portrait),
            "#portrait-shown figcaption:has-text('own.png')",
        )
        wink = "[data-name=wink]"
        step("a motion", lambda: tab.click(wink), "#motion-told:has-text('Motion: wink')")
        step("the result", lambda: tab.click("#generate"), "#progress:has-text('Done')")
        tab.locator("#beside").scroll_into_view_if_needed()
        step("seen", lambda: None, "#beside video")
        browser.close()
    out.parent.mkdir(parents=True, exist_ok=True)
    shots[0].save(out, save_all=True, append_images=shots[1:], duration=_MOMENT, quality=60)
    print(f"{out}: {len(shots)} pictures, {out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
