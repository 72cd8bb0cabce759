"""The page in a real browser: what a user does, with the bundled checkpoint."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emoji_jax.video import read_video
from emoji_jax.video_writer import VideoWriter
from tests.conftest import PORTRAIT

pytest.importorskip("gradio", reason="the page is made with Gradio", exc_type=ImportError)
playwright = pytest.importorskip("playwright.sync_api", reason="it drives the browser")

ROOT = Path(__file__).parents[2]
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)

pytestmark = [
    pytest.mark.usefixtures("landmark_model"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install one, or set CHROMIUM"),
]

# Of every result: another number would be compiled anew.
FRAMES = "2"
# Runs the page and notes which other machines it speaks to.
_SERVER = """
import runpy, sys
HERE = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", None)
def note(event, arguments):
    address = None
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        address = arguments[1][0]
    elif event == "socket.getaddrinfo":
        address = arguments[0]
    if address not in HERE:
        print("OUTSIDE", address, file=sys.stderr, flush=True)
sys.addaudithook(note)
runpy.run_module("emoji_jax.app", run_name="__main__")
"""


class Server:
    """A page that is served, its folder and what its process said."""

    def __init__(self, root: Path, *flags: str):
        self.root, self.log = root, root / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SERVER, "--port=0", "--max_megabytes=1", *flags],
                cwd=ROOT,
                env=os.environ | {"TMPDIR": str(root)},
                stdout=log,
                stderr=log,
            )
        self.address = self._address()
        (self.folder,) = root.glob("emoji_jax-page-*")

    def _address(self) -> str:
        for _ in range(600):
            if found := re.search(r"the page is at (\S+)", self.log.read_text()):
                return found[1]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser(media):
    camera = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={media / 'camera.mjpeg'}",
    ]
    with playwright.sync_playwright() as driver:
        playwright.expect.set_options(timeout=30_000)  # as the tab's: machines are busy
        # Who runs as root, as in a container, has no sandbox.
        yield driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])


@pytest.fixture
def tab(browser, server):
    """The page, opened; whatever it asks for is asked of its own server."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(30_000)
    page.goto(server.address)
    page.wait_for_selector("#preview img")
    yield page
    context.close()
    local = (server.address, server.address.replace("http", "ws"), "data:", "blob:")
    assert asked and not [url for url in asked if not url.startswith(local)]


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """Drivers, and what is none."""
    root = tmp_path_factory.mktemp("media")
    with Image.open(PORTRAIT) as image:
        frames = [image.rotate(3 * i).resize((320, 448)) for i in range(6)]
    with VideoWriter(root / "nod.mp4", (448, 320), 10.0) as writer:
        for frame in frames:
            writer.write(np.array(frame))
    with (root / "camera.mjpeg").open("wb") as file:
        for frame in frames:
            frame.save(file, "JPEG")
    (root / "text.png").write_text("no picture")
    (root / "text.mp4").write_text("no video")
    (root / "large.png").write_bytes(bytes(1_500_000))
    (root / "enormous.png").write_bytes(bytes(5_000_000))
    Image.new("RGB", (64, 64)).save(root / "black.png")
    return root


def give(tab, where: str, path: Path) -> None:
    """Puts a file where one is asked for, in place of what is there."""
    if tab.locator(f"{where} table").count():
        tab.locator(f"{where} button[aria-label='Clear']").first.click()
    tab.set_input_files(f"{where} input[type=file]", path)


def fill(tab, section: str, name: str, value: str) -> None:
    """Types into a field, after opening its section."""
    heading = tab.locator("#adjust button.label-wrap", has_text=section)
    if "open" not in (heading.get_attribute("class") or ""):
        heading.click()
    field = tab.locator(f"#field-{name.replace('.', '-')}").locator("input, textarea").first
    for _ in range(20):
        field.fill(value)
        tab.wait_for_timeout(300)
        if field.input_value() == value:  # and not the default, which a section opens with
            return
    raise AssertionError(f"{name} does not keep {value}")


def refusal(tab, place: str):
    return tab.locator(f"#refused-{place} [role=alert]")


def wait_for(tab, selector: str, text: str, seconds: float = 60) -> None:
    tab.locator(selector, has_text=text).first.wait_for(timeout=1000 * seconds)


def download(tab, kind: str, folder: Path) -> Path:
    button = tab.locator(
        "#downloads button, #downloads a", has_text=re.compile(f"{kind}, .* [kM]B")
    )
    button.first.wait_for(timeout=60_000)
    with tab.expect_download() as started:
        button.first.click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def test_upload_generate_play_download(tab, server, media, tmp_path):
    give(tab, "#portrait-file", PORTRAIT)
    wait_for(tab, "#portrait-shown", "astronaut.jpg")
    tab.get_by_role("tab", name="File").click()
    give(tab, "#motion-file", media / "nod.mp4")
    wait_for(tab, "#motion-told", "Motion: nod.mp4")
    fill(tab, "Time", "motion.frames", FRAMES)
    tab.click("#generate")
    wait_for(tab, "#progress", f"Done: {FRAMES} frames", 240)  # all is compiled
    tab.wait_for_function("document.querySelector('#beside video')?.currentTime > 0.05")
    shape = tab.evaluate(
        "(v => [v.videoWidth, v.videoHeight])(document.querySelector('#beside video'))"
    )
    assert shape == [640, 448]
    made, rate = read_video(download(tab, "MP4", tmp_path))
    assert made.shape == (int(FRAMES), 448, 320, 3) and rate == 10
    for kind in ("WEBP", "GIF"):
        path = download(tab, kind, tmp_path)
        frames, _ = read_video(path)
        assert path.suffix == f".{kind.lower()}" and len(frames) == int(FRAMES)
        assert frames.shape[1] == 320
    # What was uploaded lies where only the server looks.
    assert server.folder.stat().st_mode & 0o777 == 0o700
    assert list(server.folder.rglob("astronaut.jpg"))


def test_cancel(tab, server):
    fill(tab, "Time", "motion.frames", FRAMES)
    fill(tab, "Quality", "sampler.steps", "50")
    before = set((server.folder / "made").iterdir())
    tab.click("#generate")
    tab.locator("#progress", has_text=re.compile("Starting|Making frames")).wait_for()
    tab.click("#cancel")
    wait_for(tab, "#progress", "Cancelled")
    playwright.expect(tab.locator("#generate")).to_be_enabled()
    tab.wait_for_timeout(2000)  # in which nothing else is said of it
    assert "Cancelled" in tab.locator("#progress").inner_text()
    assert not tab.locator("[role=alert]").count()
    for _ in range(300):  # it ends where it next says how far it is
        if set((server.folder / "made").iterdir()) == before:
            break
        time.sleep(0.1)
    assert set((server.folder / "made").iterdir()) == before


def test_bad_files_are_refused_next_to_their_field_and_the_page_stays_usable(tab, media):
    give(tab, "#portrait-file", media / "text.png")
    told = "text.png is no picture: not a format that is known here; expected PNG, JPEG, WebP, …"
    playwright.expect(refusal(tab, "portrait")).to_have_text(told)
    give(tab, "#portrait-file", media / "black.png")
    playwright.expect(refusal(tab, "portrait")).to_contain_text("no face was found in the portrait")
    tab.click("#generate")
    playwright.expect(refusal(tab, "making")).to_contain_text("Choose a portrait first")
    give(tab, "#portrait-file", PORTRAIT)
    wait_for(tab, "#portrait-shown", "astronaut.jpg")
    for place in ("portrait", "making"):
        playwright.expect(refusal(tab, place)).to_have_count(0)
    tab.get_by_role("tab", name="File").click()
    give(tab, "#motion-file", media / "text.mp4")
    playwright.expect(refusal(tab, "motion")).to_contain_text("text.mp4 can't be read as a video")
    wait_for(tab, "#motion-told", "text.mp4 can't be used as it is")
    playwright.expect(tab.locator("#preview img")).to_have_count(0)  # none is left over
    give(tab, "#motion-file", media / "nod.mp4")
    wait_for(tab, "#motion-told", "Motion: nod.mp4")
    playwright.expect(refusal(tab, "motion")).to_have_count(0)
    pressed = tab.locator("#expressions [aria-pressed=true]")
    playwright.expect(pressed).to_have_count(0)  # of the gallery, none is used
    tab.get_by_role("tab", name="Built-in").click()
    tab.click("[data-name=wink]")
    wait_for(tab, "#motion-told", "Motion: wink")
    playwright.expect(pressed).to_have_text("wink")
    assert [refusal(tab, place).count() for place in ("portrait", "motion")] == [0, 0]
    assert tab.locator("#generate").is_enabled()


def test_large_files_are_refused(tab, server, media):
    give(tab, "#portrait-file", media / "large.png")
    told = "large.png has 1.5 MB; this page takes files up to 1 MB"
    playwright.expect(refusal(tab, "portrait")).to_have_text(told)
    give(tab, "#portrait-file", media / "enormous.png")  # which does not even arrive
    tab.get_by_text('exceed the maximum allowed size of 3.8 Mb: "enormous.png"').wait_for()
    assert not list(server.folder.rglob("enormous.png"))
    give(tab, "#portrait-file", PORTRAIT)
    wait_for(tab, "#portrait-shown", "astronaut.jpg")
    assert refusal(tab, "portrait").count() == 0


def test_options_are_refused_in_their_section_and_move_the_preview(tab):
    before = tab.get_attribute("#preview img", "src")
    fill(tab, "Time", "motion.start", "9")
    told = "nothing of the motion lies after motion.start=9"
    playwright.expect(refusal(tab, "time")).to_contain_text(told)
    fill(tab, "Time", "motion.start", "0.5")
    playwright.expect(refusal(tab, "time")).to_have_count(0)
    tab.wait_for_function("s => document.querySelector('#preview img').src !== s", arg=before)
    after = tab.get_attribute("#preview img", "src")
    assert after.startswith("data:image/webp") and after != before


def test_keyboard_alone(tab):
    """Tab and Enter choose a motion, and generate."""
    tab.focus("#portrait-file button")
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.dataset.name") == "wink":
            break
    tab.keyboard.press("Enter")
    wait_for(tab, "#motion-told", "Motion: wink")
    fill(tab, "Time", "motion.frames", FRAMES)
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.id") == "generate":
            break
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert tab.evaluate(outline) == "solid"  # who sees where they are
    tab.keyboard.press("Enter")
    wait_for(tab, "#progress", f"Done: {FRAMES} frames")


def test_a_phones_width(tab):
    tab.set_viewport_size({"width": 390, "height": 800})
    for name in ("File", "Camera", "Built-in"):
        tab.get_by_role("tab", name=name).click()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    for section in ("Strength", "Time"):
        tab.locator("#adjust button.label-wrap", has_text=section).click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.locator("#generate").scroll_into_view_if_needed()
    box = tab.locator("#generate").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 36


def test_two_users_take_turns(browser, server, tab):
    before = set((server.folder / "made").iterdir())
    other = browser.new_page()
    other.goto(server.address)
    other.wait_for_selector("#preview img")
    for one in (tab, other):
        fill(one, "Time", "motion.frames", FRAMES)
    for one in (tab, other):
        one.click("#generate")
    for one in (tab, other):
        wait_for(one, "#progress", f"Done: {FRAMES} frames", 90)
    assert len(set((server.folder / "made").iterdir()) - before) == 2
    shown = [one.get_attribute("#beside video", "src") for one in (tab, other)]
    assert all(shown) and shown[0] != shown[1]  # each has its own
    other.close()


@pytest.mark.heavy
def test_for_whom_there_is_no_place_is_told(browser, tmp_path):
    """One is served, one waits, the third is told and may try again."""
    server = Server(tmp_path, "--max_waiting=1", "--config.sampler.steps=20")
    tabs = [browser.new_page() for _ in range(3)]
    try:
        for one in tabs:
            one.goto(server.address)
            one.wait_for_selector("#preview img")
            one.wait_for_timeout(1000)  # until nothing of it waits
        for one in tabs:
            one.click("#generate")
            one.wait_for_timeout(500)
        wait_for(tabs[2], "[role=alert]", "Too many are waiting: try again in a while", 30)
        wait_for(tabs[1], "#progress", "Waiting for its turn", 30)
        assert tabs[2].locator("#generate").is_enabled()
    finally:
        for one in tabs:
            one.close()
        server.stop()


def test_camera_live_and_recorded(tab, server):
    """Frames as a live preview; a recorded clip as a motion like any other."""
    tab.get_by_role("tab", name="Camera").click()
    tab.locator("button.label-wrap", has_text="Live").click()
    for where in ("#camera", "#recorder"):
        tab.locator(where).get_by_text("Click to Access Webcam").click()
        tab.locator(f"{where} .capture-button").click()
        if where == "#camera":
            tab.wait_for_selector("#live img")
            assert tab.get_attribute("#live img", "src").startswith("data:image/webp")
        else:
            tab.wait_for_timeout(1500)
        tab.locator(f"{where} .capture-button").click()
    wait_for(tab, "#motion-told", "Motion: sample.webm")
    fill(tab, "Time", "motion.frames", FRAMES)
    tab.click("#generate")
    wait_for(tab, "#progress", f"Done: {FRAMES} frames", 240)
    (made,) = server.folder.rglob("*_sample.mp4")
    assert len(read_video(made)[0]) == int(FRAMES)


def test_emptying_a_slider_to_type_anew_is_no_error(tab, server):
    before = server.log.read_text().count("Traceback")
    tab.locator("#adjust button.label-wrap", has_text="Strength").click()
    tab.locator("#field-controls-mouth input[type=number]").fill("")
    tab.wait_for_timeout(1500)  # in which the preview is made anew
    assert not tab.locator(".toast-body.error").count()
    assert server.log.read_text().count("Traceback") == before


def test_other_sites_are_refused(server):
    def status(**headers: str) -> int:
        request = urllib.request.Request(server.address, headers=headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    assert status() == status(Origin=server.address.rstrip("/")) == 200
    assert status(Origin="https://elsewhere.example") == 403
    assert status(Host="elsewhere.example") == 403


def test_nothing_went_out_and_nothing_stays(server):
    """The last: the server is stopped."""
    server.stop()
    said = server.log.read_text()
    assert "OUTSIDE" not in said and "Traceback" not in said
    assert not server.folder.exists()
