"""What happens on the page's events, without a browser and without Gradio."""

import asyncio
import dataclasses
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from emoji_jax import config as config_file
from emoji_jax import options
from emoji_jax.animator import Animator
from emoji_jax.data.synthetic import EXPRESSIONS
from emoji_jax.driver import MotionConfig, expression, read
from emoji_jax.errors import UserError
from emoji_jax.landmarks import Detector
from emoji_jax.page import events, guard, limits, pictures
from emoji_jax.page.fields import FIELDS, cells, section_of
from emoji_jax.page.limits import Limits
from emoji_jax.page.visitor import Made, Motion, Portrait, Refused
from emoji_jax.page.watch import Meter, Stopped, watched
from emoji_jax.page.work import Page
from emoji_jax.pairs import configured
from emoji_jax.video import open_video, read_video
from emoji_jax.video_writer import VideoWriter
from tests.conftest import PORTRAIT

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("landmark_model")


@pytest.fixture(scope="session")
def config():
    return config_file.read("sample.py", beside=str(config_file.folder() / "sample.py"))


@pytest.fixture(scope="session")
def animator(weights) -> Animator:
    return Animator.load(weights)


@pytest.fixture
def page(animator, config, tmp_path) -> Page:
    (tmp_path / "page").mkdir()
    return Page(animator, config, Limits(megabytes=1, seconds=3.0, side=320), tmp_path / "page")


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """The portrait tilting its head for 0.6 s."""
    path = tmp_path_factory.mktemp("video") / "nod.mp4"
    with Image.open(PORTRAIT) as image:
        frames = [np.array(image.rotate(3 * i).resize((160, 224))) for i in range(6)]
    with VideoWriter(path, frames[0].shape[:2], 10.0) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def quiet(what: str, done: int, total: int | None) -> None: ...


def follow(page: Page, source: object, *given: tuple[str, str]) -> Motion:
    return page.follow(str(source), given, None, quiet)


def last(moments):
    *_, end = moments
    return end


def make(page: Page, motion: Motion, *given: tuple[str, str]) -> Made:
    given = (("sampler.steps", "1"), *given)
    return last(page.make(page.portrait(str(PORTRAIT)), motion, given, threading.Event()))


def test_every_control_and_option_of_motions_has_a_field(config):
    names = {field.name for field in FIELDS}
    wanted = {f"controls.{name}" for name in config.controls}
    wanted |= {f"motion.{name}" for name in config.motion if name != "compat"}
    wanted |= {f"framing.{name}" for name in config.framing}
    assert wanted <= names and len(names) == len(FIELDS)


def test_fields_that_nobody_touches_change_nothing(config):
    untouched = cells(tuple(field.default(config) for field in FIELDS))
    assert configured(config, untouched) == options.of_animating(config)


def test_fields_are_heard(config):
    values = {field.name: field.default(config) for field in FIELDS}
    values |= {
        "controls.mouth": 1.5,
        "motion.end": " 2",
        "motion.loop": 3.0,
        "framing.paste": False,
    }
    heard = configured(config, cells(tuple(values.values())))
    assert heard["moving"].controls.mouth == 1.5 and heard["moving"].end == 2
    assert heard["moving"].loop == 3 and not heard["framing"].paste


@pytest.mark.parametrize(
    ("message", "section"),
    [
        ("motion.speed is 0; expected 0.01 to 100", "Time"),
        ("motion.head_pose is 'x'; expected one of", "Driver"),
        ("controls.mouth is 11; expected -10 to 10", "Strength"),
        ("framing.face_height is 3 and framing.seam 0", "Portrait"),
        ("the seed is -1; expected 0 to 4294967295", "Quality"),
        ("no face was found in the portrait", None),
    ],
)
def test_a_message_belongs_to_the_section_of_what_it_names(message, section):
    assert section_of(message) == section


def test_portraits_are_shown_with_their_landmarks(page):
    portrait = page.portrait(str(PORTRAIT))
    assert max(portrait.picture.shape) == 320 and "320x448 pixels" in portrait.note
    shown, notes = page.see(portrait, ())
    assert shown.startswith("data:image/webp;base64,") and portrait.note in notes


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "it is empty"), (b"nothing", "not a format that is known here")],
)
def test_what_is_no_portrait_is_refused_in_the_words_of_the_command(page, content, said):
    path = page.folder / "0123456789abcdef" / "a face.png"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(Refused) as refusal:
        page.portrait(str(path))
    assert refusal.value.place == "portrait"
    assert str(refusal.value) == f"a face.png is no picture: {said}; expected PNG, JPEG, WebP, …"


def test_a_portrait_without_a_face_is_refused_unless_its_landmarks_are_given(page, tmp_path):
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "grey.png")
    with pytest.raises(Refused, match="no face was found in the portrait") as refusal:
        page.see(page.portrait(str(tmp_path / "grey.png")), ())
    assert refusal.value.place == "portrait"
    points = '{"left_eye": [70, 80], "right_eye": [130, 80], "mouth_left": [80, 140]}'
    (tmp_path / "face.json").write_text(points)
    page.see(page.portrait(str(tmp_path / "grey.png"), str(tmp_path / "face.json")), ())


def test_a_mistake_in_a_field_does_not_take_the_portrait_away(page):
    portrait = page.portrait(str(PORTRAIT))
    given = (("sampler.guidance_scale", "x"), ("motion.start", "abc"), ("framing.face_height", "1"))
    page.see(portrait, given[:2])
    with pytest.raises(Refused, match=r"framing\.face_height is 1") as refusal:
        page.see(portrait, given)
    assert refusal.value.place == "Portrait"


def test_the_preview_follows_the_fields_without_looking_again(page, video, monkeypatch):
    portrait, motion = page.portrait(str(PORTRAIT)), follow(page, video)
    plain, _ = page.preview(portrait, motion, ())
    monkeypatch.setattr(page.animator.detector, "detect_video", None)
    for given in (("controls.rotation", "2"), ("motion.start", "0.2"), ("motion.smooth", "1")):
        again = page.follow(motion.source, (given,), motion, quiet)
        assert again is motion
        changed, _ = page.preview(portrait, again, (given,))
        assert changed != plain


def test_who_goes_back_to_a_fields_earlier_value_does_not_wait_again(page, video, monkeypatch):
    motion = follow(page, video)
    looks = []
    detect = page.animator.detector.detect_video
    monkeypatch.setattr(
        page.animator.detector, "detect_video", lambda *a, **k: looks.append(k) or detect(*a, **k)
    )
    changed = []
    for value in ("0", "15", "3", "0", "15"):
        motion = page.follow(motion.source, (("motion.max_gap", value),), motion, quiet)
        changed.append(motion)
    assert [k["max_gap"] for k in looks] == [0, 3]
    assert changed[3].track is changed[0].track and changed[4].track is changed[1].track
    # A video states its own rate.
    given = (("motion.max_gap", "15"), ("motion.frame_rate", "7"))
    assert page.follow(motion.source, given, motion, quiet) is motion


@pytest.mark.parametrize(
    ("ref", "driving", "given"),
    [
        ("text", "expression:wink", ()),
        ("black", "expression:wink", ()),
        ("portrait", "text", ()),
        ("portrait", "expression:sneeze", ()),
        ("portrait", "video", (("motion.start", "9"),)),
        ("portrait", "video", (("motion.fps", "many"),)),
        ("portrait", "video", (("motion.loop", "-1"),)),
        ("portrait", "expression:wink", (("framing.face", "3"),)),
        ("portrait", "expression:wink", (("framing.zoom", "0"),)),
    ],
)
def test_the_page_refuses_in_the_words_of_the_command(page, video, tmp_path, ref, driving, given):
    """`emoji_jax.sample` says what an animator and the readers of options raise."""
    files = {"text": tmp_path / "text.png", "black": tmp_path / "black.png"}
    files |= {"portrait": PORTRAIT, "video": video}
    files["text"].write_text("neither a picture nor a video")
    Image.new("RGB", (64, 64)).save(files["black"])
    ref, driving = str(files[ref]), str(files.get(driving, driving))
    with pytest.raises(UserError) as command:
        page.animator(ref, driving, **configured(page.config, given))
    with pytest.raises(Refused) as refusal:
        portrait = page.portrait(ref)
        page.see(portrait, given)
        page.preview(portrait, follow(page, driving, *given), given)
    # The page has its picture already.
    told = str(command.value)
    for path in (files["black"], PORTRAIT):
        told = told.replace(str(path), "the portrait")
    assert str(refusal.value) == told


@pytest.mark.parametrize(
    ("given", "place", "said"),
    [
        (("motion.start", "9"), "Time", "nothing of the motion lies after motion.start=9"),
        (("motion.neutral", "99"), "Driver", "motion.neutral is 99; the driver has frames 0 to 5"),
        (("motion.fps", "many"), "Time", "motion.fps is 'many'; expected a number"),
        (("motion.neutral", "calm"), "Driver", "motion.neutral is 'calm'; expected auto"),
        (("motion.loop", "9"), "Time", "motion.loop=9 the result has 5.4 s, 54 frames"),
        (
            ("framing.face", "3"),
            "Portrait",
            "framing.face is 3; the portrait shows 1 face, number 0",
        ),
    ],
)
def test_options_that_can_not_be_are_refused_where_they_are_set(page, video, given, place, said):
    motion = follow(page, video)
    with pytest.raises(Refused, match=said) as refusal:
        page.preview(page.portrait(str(PORTRAIT)), motion, (given,))
    assert refusal.value.place == place


def test_a_built_in_motion_has_as_many_frames_as_are_asked_for(page):
    """All of it, in so many, as from the command line; not its first ones."""
    given = (("motion.frames", "6"),)
    whole = follow(page, "expression:wink")
    again = page.follow("expression:wink", given, whole, quiet)
    assert len(whole.track.landmarks) == 50
    made = page.driver(again, page.options(given)).landmarks
    np.testing.assert_array_equal(made.points, expression("wink", 6).points)
    many = page.follow("expression:wink", (("motion.frames", "900"),), whole, quiet)
    assert many.error == "motion.frames is 900; this page makes up to 180 frames"


def test_long_motions_are_refused_but_for_a_part_of_them(page, tmp_path):
    with VideoWriter(tmp_path / "long.mp4", (224, 160), 2.0) as writer, Image.open(PORTRAIT) as one:
        for _ in range(10):
            writer.write(np.array(one.resize((160, 224))))
    motion = follow(page, tmp_path / "long.mp4")
    assert motion.track is None
    assert "long.mp4 is 5.0 s long; this page takes motions up to 3 s" in motion.error
    with pytest.raises(Refused, match=r"is 5\.0 s long") as refusal:
        page.preview(page.portrait(str(PORTRAIT)), motion, ())
    assert refusal.value.place == "Time"
    part = (("motion.start", "1"), ("motion.end", "3"))
    motion = page.follow(motion.source, part, motion, quiet)
    assert motion.track and len(motion.track.landmarks) == 4
    assert len(page.driver(motion, page.options(part)).landmarks) == 4
    assert page.follow(motion.source, part, motion, quiet) is motion
    assert "is 5.0 s long" in page.follow(motion.source, (), motion, quiet).error


def test_what_was_refused_for_other_values_is_not_told_again(page, tmp_path):
    with VideoWriter(tmp_path / "long.mp4", (224, 160), 2.0) as writer, Image.open(PORTRAIT) as one:
        for _ in range(10):
            writer.write(np.array(one.resize((160, 224))))
    motion = follow(page, tmp_path / "long.mp4", ("motion.start", "99"))
    assert motion.error.startswith("nothing of the motion lies after motion.start=99")
    part = (("motion.start", "3"),)
    found = page.follow(motion.source, part, motion, quiet)
    assert found.track
    motion = found
    for start in ("9", "99", "999", "9999"):
        motion = page.follow(motion.source, (("motion.start", start),), motion, quiet)
        assert f"motion.start={start}" in motion.error
    assert page.follow(motion.source, part, motion, quiet).track is found.track
    assert "is 5.0 s long" in page.follow(motion.source, (), motion, quiet).error


def test_a_still_picture_has_no_length(page):
    assert follow(page, PORTRAIT, ("motion.frame_rate", "0.1")).track


def test_large_files_are_refused(page, tmp_path):
    (tmp_path / "large.png").write_bytes(bytes(1_200_000))
    with pytest.raises(Refused, match=r"large.png has 1.2 MB; this page takes files up to 1 MB"):
        page.portrait(str(tmp_path / "large.png"))
    with pytest.raises(Refused, match=r"large.png has 1.2 MB"):
        follow(page, tmp_path / "large.png")


def test_a_result_beside_its_driver_and_smaller(page, video):
    made = make(page, follow(page, video), ("motion.frames", "3"))
    frames, rate = read_video(made.video)
    beside, _ = read_video(made.beside)
    assert made.frames == len(frames) == len(beside) == 3 and rate == 10
    assert frames.shape[1] == beside.shape[1] and beside.shape[2] > 1.5 * frames.shape[2]
    assert made.video.name == "astronaut_nod.mp4"
    gif = page.smaller(made, ".gif", 64)
    pictures, _ = read_video(gif)
    assert len(pictures) == 3 and max(pictures.shape[1:3]) == 64
    assert page.smaller(made, ".gif", 64) == gif


def test_who_stops_leaves_nothing(page):
    stop = threading.Event()
    motion = follow(page, "expression:laugh")
    moments = page.make(page.portrait(str(PORTRAIT)), motion, (("motion.loop", "1"),), stop)
    with pytest.raises(Stopped):
        for _ in moments:
            stop.set()
    with page._one_at_a_time:  # which it gives back when it is over
        assert not any((page.folder / "made").iterdir())
    assert make(page, motion, ("motion.frames", "2")).frames == 2


def test_bugs_are_logged_and_told_as_such(page, monkeypatch, caplog):
    monkeypatch.setattr(page, "_make", lambda *_: 1 / 0)
    with caplog.at_level(logging.ERROR), pytest.raises(Refused, match="mistake of the program"):
        make(page, follow(page, "expression:wink"))
    assert "ZeroDivisionError" in caplog.text


def test_live_frames(page):
    with Image.open(PORTRAIT) as image:
        frame = np.array(image)
    portrait = page.portrait(None)
    assert page.live(frame, portrait, ()).startswith("data:image/webp")
    assert page.live(np.zeros((64, 64, 3), np.uint8), portrait, ()) == ""


def test_the_drivers_frames_go_with_the_results(page, video):
    own, _ = read_video(video)
    track = follow(page, video).track
    driver = read(track, MotionConfig(start=0.2, loop=2), Detector, quiet)
    shown = np.stack(list(pictures.of_driver(driver, video, own.shape[1], 30.0)))
    np.testing.assert_array_equal(shown, own[[2, 3, 4, 5, 2, 3, 4, 5]])


def test_every_expression_has_a_moving_preview(tmp_path):
    tiles = dict(pictures.tiles())
    assert list(tiles) == list(EXPRESSIONS) and len(set(tiles.values())) == len(tiles)


def test_what_is_old_is_deleted(tmp_path):
    old, new = tmp_path / "made" / "a" / "old.mp4", tmp_path / "made" / "b" / "new.mp4"
    for path in (old, new):
        path.parent.mkdir(parents=True)
        path.write_text("")
    then = time.time() - 3600
    os.utime(old, (then, then))
    os.utime(old.parent, (then, then))
    Limits(minutes=30).sweep(tmp_path)
    assert new.exists() and not old.exists()


def test_time_left():
    pace = {"decoding": 2.0}
    meter = Meter(pace, {"denoising": 0, "decoding": 10})
    assert meter.left is None and meter.share is None
    meter.told("denoising", 1, 4)
    assert meter.share == 0.25 and meter.left is not None and 20 <= meter.left < 21
    meter.told("decoding", 10, 10)
    assert meter.left == 0 and pace["decoding"] < 1
    assert "10 of 10" in str(meter)
    first = Meter({}, {"decoding": 10})
    first.told("denoising", 2, 4)
    assert str(first) == "Making frames: 2 of 4, about 1 s left, then finishing frames"


def test_work_is_watched():
    def work(progress):
        progress("decoding", 1, 2)
        time.sleep(0.6)
        progress("decoding", 2, 2)
        return "made"

    *meters, result = watched(work, Meter({}, {}), threading.Event())
    assert result == "made" and len(meters) >= 2
    assert "1 of 2" in str(next(watched(work, Meter({}, {}), threading.Event())))


def app(*flags: str, before: str = "") -> subprocess.CompletedProcess:
    program = f"import sys, runpy\n{before}\nrunpy.run_module('emoji_jax.app', run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", program, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_imports_no_jax():
    done = app("--helpshort", before="sys.modules['jax'] = sys.modules['gradio'] = None")
    assert done.returncode == 0 and "--max_seconds" in done.stdout


def test_without_gradio_the_command_says_what_to_install():
    done = app(before="sys.modules['gradio'] = None")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "pip install 'emoji_jax[app]'" in done.stderr


def test_a_port_that_is_taken():
    pytest.importorskip("gradio", reason="the page needs it", exc_type=ImportError)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = app(f"--port={taken.getsockname()[1]}")
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: nothing can listen at 127.0.0.1, port")
    assert "Traceback" not in done.stderr


def test_frames_per_second_of_a_result(page, video):
    made = make(page, follow(page, video), ("motion.fps", "5"))
    assert open_video(made.video).frame_rate == 5


def test_an_animated_picture_of_too_much_is_not_decompressed(page, tmp_path, monkeypatch):
    frames = [Image.new("L", (64, 64), 255 * (i % 2)) for i in range(100)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=20)
    monkeypatch.setattr(limits, "open_video", lambda *_, **__: pytest.fail("it was opened"))
    small = dataclasses.replace(page.limits, seconds=1.0)
    with pytest.raises(UserError, match=r"a\.gif has 100 frames of 64x64 pixels"):
        small.check_length(str(tmp_path / "a.gif"), MotionConfig())


GREY = np.zeros((8, 8, 3), np.uint8)


class Choosing(events.Events):
    """Handlers of a page that finds a motion in everything but texts."""

    meanwhile, elsewhere, wrong = (), False, None

    def __init__(self, **page):
        self.gr = SimpleNamespace(skip=lambda: "as it is", update=lambda **what: what)
        names = ("motion", "motion_told", "gallery", "preview", "notes")
        names += ("progress", "generate", "cancel")
        slots = {"motion": "slot", "making": "making"}
        self.p = SimpleNamespace(**{n: n for n in names}, slots=slots, sections={})
        self.page, self._chosen = SimpleNamespace(following=self.following, **page), {}
        self._stops, self._waiting, self._previews = {}, set(), {}

    def following(self, source, _, before=None):
        if source == "text":
            raise Refused("motion", "no video")
        if self.wrong:
            raise self.wrong
        yield from self.meanwhile
        if before is not None and not self.elsewhere:
            yield before
        else:
            yield Motion(source, (), None, SimpleNamespace(), "")

    def choosing(self, source, by="file"):
        """What motions follow from a choice."""
        self.choose("somebody", source, by)
        return found(self.follow("somebody", source))


def found(updates) -> list[str]:
    return [x["motion"].source for x in updates if isinstance(x.get("motion"), Motion)]


@pytest.fixture
def no_cells(monkeypatch):
    monkeypatch.setattr(events, "cells", tuple)
    monkeypatch.setattr(Motion, "__init__", _set)


def _set(self, source, how, part, track, error=""):
    vars(self).update(source=source, how=how, part=part, track=track, error=error, earlier=())


def test_the_motion_that_was_chosen_last_counts(no_cells):
    on = Choosing()
    on.choose("somebody", "a long video", "file")
    slow = on.follow("somebody", "a long video")
    assert "Reading a long video" in next(slow)["motion_told"]
    assert on.choosing("wink", "gallery") == ["wink"]
    assert list(slow) == [{"motion": "as it is"}]


def test_events_in_another_order_than_the_choices_change_nothing(no_cells):
    on = Choosing()
    on.choose("somebody", "first", "file")
    on.choose("somebody", "second", "file")
    assert found(on.follow("somebody", "second")) == ["second"]
    assert list(on.follow("somebody", "first")) == [{"motion": "as it is"}]


def test_a_motion_that_is_told_twice_is_read_once(no_cells):
    on = Choosing()
    on.choose("somebody", "nod", "file")
    first = on.follow("somebody", "nod")
    next(first)
    assert on.choosing("nod") == []
    assert found(first) == ["nod"]
    assert on.choosing("nod") == ["nod"]  # again, later


def test_a_motion_whose_reader_hung_up_may_be_chosen_again(no_cells):
    on = Choosing()
    on.choose("somebody", "nod", "file")
    first = on.follow("somebody", "nod")
    next(first)
    first.close()
    assert on.choosing("nod") == ["nod"]


def test_what_was_no_motion_is_refused_and_may_be_tried_again(no_cells):
    on = Choosing()
    for _ in range(2):
        on.choose("somebody", "text", "file")
        told = list(on.follow("somebody", "text"))
        assert "no video" in told[-2]["slot"] and told[0]["motion"] is None
        assert "text</b> can't be used" in told[-2]["motion_told"]
        assert [one["generate"]["interactive"] for one in told[:2]] == [False, True]


def test_a_motion_that_is_chosen_while_a_field_is_wrong_is_followed_once_it_is_right(no_cells):
    on, portrait = Choosing(preview=lambda *_: ("data:", ())), Portrait("a.png", GREY, None)
    on.p.sections["Time"] = on.p.slots["Time"] = "time"
    on.wrong = Refused("Time", "motion.fps is 'many'")
    on.choose("somebody", "nod", "file")
    *_, told, _ = on.follow("somebody", "nod")
    assert told["motion"].source == "nod" and told["motion"].track is None
    on.wrong, on.elsewhere = None, True
    (updates,) = on.preview("somebody", portrait, told["motion"])
    assert updates["motion"].track and updates["motion_told"] == "Motion: <b>nod</b>"


def test_generate_comes_back_whenever_nothing_is_made_any_more(no_cells):
    on = Choosing(preview=lambda *_: ("data:", ()))
    portrait = Portrait("a.png", GREY, None)
    motion = Motion("nod", (), None, SimpleNamespace(), "")

    def enabled() -> bool:
        return last(on.preview("somebody", portrait, motion))["generate"]["interactive"]

    assert enabled()
    on.begin("somebody")
    assert not enabled()
    meter = Meter({}, {})
    on.meanwhile = [meter]
    work = on.generate("somebody", portrait, motion)
    next(work)  # its turn has come
    assert not enabled()
    on.stop("somebody")  # and it takes a while until it has ended
    assert enabled()
    work.close()
    assert enabled()


def test_a_preview_of_newer_values_counts(no_cells):
    """Whichever ends first."""
    on = Choosing(preview=lambda _, __, values: (f"data:{values[0]}", ()))
    portrait, motion = Portrait("a.png", GREY, None), Motion("nod", (), None, SimpleNamespace(), "")
    on.meanwhile = [Meter({}, {})] * 2
    slow = on.preview("somebody", portrait, motion, "leftmost")
    next(slow)
    on.meanwhile = []
    assert "data:largest" in last(on.preview("somebody", portrait, motion, "largest"))["preview"]
    assert list(slow) == [{"preview": "as it is"}]


def test_while_a_motion_is_read_nobody_is_told_to_choose_one(no_cells):
    on, portrait = Choosing(), Portrait("a.png", GREY, None)
    assert "Choose a motion first" in next(on.preview("somebody", portrait, None))["preview"]
    on.choose("somebody", "nod", "file")
    assert next(on.preview("somebody", portrait, None)) == {"preview": "as it is"}
    list(on.follow("somebody", "nod"))
    assert "Choose a motion first" in next(on.preview("somebody", portrait, None))["preview"]


def test_a_refused_motion_does_not_leave_anothers_preview(no_cells):
    def preview(_, motion, __):
        raise Refused("motion", "too long")

    on = Choosing(preview=preview)
    portrait = Portrait("a.png", GREY, None)
    (updates,) = on.preview("somebody", portrait, Motion("long", (), None, None, "too long"))
    assert updates["preview"] == "" and "too long" in updates["slot"]
    # One that is only refused for a field's value still shows how it was before.
    (updates,) = on.preview("somebody", portrait, Motion("nod", (), None, SimpleNamespace()))
    assert "preview" not in updates and "too long" in updates["slot"]


def test_the_gallery_shows_which_of_its_motions_is_used(no_cells):
    on = Choosing()
    pressed = []
    for source in ("expression:wink", "nod.mp4", "expression:laugh", None):
        on.choose("somebody", source, "file")
        pressed.append(next(on.follow("somebody", source))["gallery"])
        on._chosen.clear()
    assert pressed == ["wink", "", "laugh", ""]


def test_a_motion_goes_with_the_file_that_it_was_given_as(no_cells):
    on = Choosing()
    on.choosing("a.mp4", "file")
    assert on.gone("somebody", "file") and not on.gone("somebody", "camera")
    on.choosing("expression:wink", "gallery")
    assert not on.gone("somebody", "file")
    on.choose("somebody", None, "gallery")
    assert next(on.follow("somebody", None))["motion"] is None


def test_a_preview_does_not_put_an_older_motion_back(no_cells):
    old, newer = (Motion(name, (), None, None, "") for name in ("old", "newer"))
    portrait = Portrait("a.png", GREY, None)
    on = Choosing(preview=lambda *_: ("data:", ()))
    on.choosing("old")
    (updates,) = on.preview("somebody", portrait, old)
    assert "motion" not in updates and "data:" in updates["preview"]
    on.elsewhere = True  # as where another face is meant
    (updates,) = on.preview("somebody", portrait, old)
    assert updates["motion"].source == "old" and updates["motion"] is not old
    on.choosing("newer")
    assert list(on.preview("somebody", portrait, old)) == [{"preview": "as it is"}]
    assert "data:" in last(on.preview("somebody", portrait, newer))["preview"]


def test_a_preview_that_has_to_look_again_says_so(no_cells):
    old = Motion("nod", (), None, SimpleNamespace(), "")
    portrait = Portrait("a.png", GREY, None)
    on = Choosing(preview=lambda *_: ("data:", ()))
    on.choosing("nod")
    meter = Meter({}, {})
    meter.told("detecting", 3, 6)
    on.meanwhile = [meter]
    first, end = on.preview("somebody", portrait, old)
    assert "Looking for the face in each frame: 3 of 6" in first["motion_told"]
    assert end["motion_told"] == "Motion: <b>nod</b>" and "data:" in end["preview"]
    # Until it is found, nothing can be made of it.
    assert [one["generate"]["interactive"] for one in (first, end)] == [False, True]
    passed = on.preview("somebody", portrait, old)
    next(passed)
    on.choose("somebody", "wink", "gallery")
    assert list(passed) == [{"preview": "as it is"}]


def test_a_result_may_have_to_look_again_and_can_be_cancelled_meanwhile(no_cells):
    old = Motion("nod", (), None, None, "")
    portrait = Portrait("a.png", GREY, None)
    made = []
    on = Choosing(make=lambda _, motion, *__: iter(made.append(motion) or ()))
    on.elsewhere, meter = True, Meter({}, {})
    meter.told("detecting", 3, 6)
    on.meanwhile = [meter, meter]
    told = list(on.generate("somebody", portrait, old))
    assert all("3 of 6" in updates["progress"] for updates in told) and len(told) == 2
    assert made[0] is not old and made[0].source == "nod"
    work = on.generate("somebody", portrait, old)
    next(work)
    on.stop("somebody")
    assert "Cancelled" in next(work)["progress"] and not list(work) and len(made) == 1


def test_what_was_on_its_way_is_not_left_after_a_cancel(no_cells, monkeypatch):
    monkeypatch.setattr(events, "_MOMENT", 0)
    on = Choosing()
    assert "Cancelled" in on.settled("somebody")["progress"]
    on.begin("somebody")  # anew
    assert on.settled("somebody") == {"progress": "as it is"}


def test_only_who_waits_is_told_that_there_is_no_place(no_cells):
    on = Choosing()
    on.begin("somebody")
    assert "Too many are waiting" in on.failed("somebody")["making"]
    on.begin("somebody")
    on.stop("somebody")  # whose cancelled work counts as failed, too
    assert set(on.failed("somebody")) == {"generate", "cancel"}


@pytest.mark.parametrize(
    ("hosts", "host", "origin", "passes"),
    [
        (guard.LOOPBACK, "127.0.0.1:7860", None, True),
        (guard.LOOPBACK, "localhost:7860", "http://localhost:7860", True),
        (guard.LOOPBACK, "[::1]:7860", None, True),
        (guard.LOOPBACK, "evil.example:7860", None, False),
        (guard.LOOPBACK, "[::1", None, False),
        (guard.LOOPBACK, "127.0.0.1:7860", "https://evil.example", False),
        (guard.LOOPBACK, "127.0.0.1:7860", "null", False),
        ((), "studio.example", "http://studio.example", True),
        ((), "studio.example", "http://evil.example", False),
    ],
)
def test_other_sites_pages_are_refused(hosts, host, origin, passes):
    told = []

    async def app(*_):
        told.append(200)

    async def send(message):
        told.append(message.get("status"))

    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    asyncio.run(guard.Guard(app, hosts)({"type": "http", "headers": headers}, None, send))
    assert told[0] == (200 if passes else 403)


def test_a_driver_that_was_deleted_meanwhile(page, video, tmp_path):
    shutil.copy(video, tmp_path / "gone.mp4")
    motion = follow(page, tmp_path / "gone.mp4")
    (tmp_path / "gone.mp4").unlink()
    with pytest.raises(Refused, match=r"gone\.mp4 was deleted after 60 minutes") as refusal:
        make(page, motion)
    assert refusal.value.place == "motion" and not any((page.folder / "made").iterdir())


def test_a_folder_is_made_when_there_is_something_to_put_there(page, video):
    """While frames are made it would be empty, and what is empty and old is swept away."""
    seen = []
    decode = page.animator.programs.decode

    def decoding(*arguments):
        seen.append(list((page.folder / "made").iterdir()))
        return decode(*arguments)

    page.animator.programs.decode = decoding
    try:
        made = make(page, follow(page, video), ("motion.frames", "2"))
    finally:
        del page.animator.programs.decode
    assert seen[0] == [] and made.video.exists()


def test_results_of_long_names(page, video, tmp_path):
    path = tmp_path / f"{'動' * 60}.mp4"
    shutil.copy(video, path)
    made = make(page, follow(page, path), ("motion.frames", "2"))
    assert made.frames == 2 and len(made.beside.name.encode()) < 200


def test_what_a_killed_page_left_is_deleted_by_another(tmp_path):
    """Not what one holds, or will in a moment; flags need a process of their own."""
    for name in ("killed", "held", "new"):
        (tmp_path / f"emoji_jax-page-{name}").mkdir()
        (tmp_path / f"emoji_jax-page-{name}" / "upload.png").touch()
        if name != "new":
            os.utime(tmp_path / f"emoji_jax-page-{name}", (0, 0))
    code = (
        "import pathlib, sys; from emoji_jax import app\n"
        "held = app._hold(pathlib.Path(sys.argv[1]))\n"
        "with app._folder() as own: app._clear(); print(held is not None, own.exists())\n"
        "print(own.exists())"
    )
    command = [sys.executable, "-c", code, tmp_path / "emoji_jax-page-held"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True", "False"], done.stderr
    left = {path.name.removeprefix("emoji_jax-page-") for path in tmp_path.iterdir()}
    assert left == {"held", "new"}


def test_nothing_is_fetched_for_a_forged_upload(tmp_path):
    """In a process of its own: Gradio reads its settings when it is imported."""
    pytest.importorskip("gradio", reason="the page needs it", exc_type=ImportError)
    code = (
        "import asyncio, pathlib, sys\n"
        "from emoji_jax.page import layout\n"
        "gr = layout.gradio(pathlib.Path(sys.argv[1]))\n"
        "with gr.Blocks(): file = gr.File()\n"
        "forged = {'path': 'http://127.0.0.1:9/a.png', 'meta': {'_type': 'gradio.FileData'}}\n"
        "move = gr.processing_utils.async_move_files_to_cache\n"
        "asyncio.run(move(forged, file, check_in_upload_folder=True))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode and "nothing is fetched from other machines" in done.stderr
