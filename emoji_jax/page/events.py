"""What events call of `work.Page`, and where what comes of it is shown."""

import dataclasses
import html
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from emoji_jax.page.fields import FIELDS, cells
from emoji_jax.page.visitor import Made, Motion, Portrait, Refused
from emoji_jax.page.watch import Meter, Stopped
from emoji_jax.page.work import Page

Updates = dict[Any, Any]
# Seconds in which what a server has sent arrives.
_MOMENT = 0.7


@dataclasses.dataclass
class Chosen:
    """A motion that somebody chose, or none; by which component, and what became of it."""

    source: str | None
    by: str = ""
    begun: bool = False
    done: bool = False


class Events:
    """Handlers of one page's events; every one returns what changes, by component."""

    def __init__(self, gr: ModuleType, page: Page, parts: SimpleNamespace):
        self.gr, self.page, self.p = gr, page, parts
        self._stops: dict[str, threading.Event] = {}
        self._waiting: set[str] = set()
        self._chosen: dict[str, Chosen] = {}
        self._previews: dict[str, object] = {}

    def quiet(self, *places: str) -> Updates:
        """No refusals at these places, nor in any section."""
        return {self.p.slots[place]: "" for place in (*places, *self.p.sections)}

    def refused(self, refusal: Refused) -> Updates:
        """A refusal next to what it is about, where it can be seen."""
        text = f'<p role="alert">{html.escape(str(refusal))}</p>'
        updates = {self.p.slots[refusal.place]: text}
        if refusal.place in self.p.sections:
            updates[self.p.sections[refusal.place]] = self.gr.update(open=True)
        return updates

    def see(self, path: str | None, hand: str | None, *values: Any) -> Updates:
        """A portrait was given, or one more thing about it."""
        p = self.p
        try:
            portrait = self.page.portrait(path, hand)
            shown, notes = self.page.see(portrait, cells(values))
        except Refused as refusal:
            nothing = {p.portrait: None, p.portrait_shown: ""}
            return self.quiet("portrait") | nothing | self.refused(refusal)
        words = "An example; drop your own" if path is None else Path(path).name
        picture = _picture(shown, f"The portrait with its landmarks: {words}", words, notes)
        shown = {p.portrait: portrait, p.portrait_shown: picture}
        return self.quiet("portrait", "making") | shown

    def choose(self, session: str, source: str | None, by: str) -> str | None:
        """A motion was chosen, or its file taken away; browsers tell of some files twice."""
        newest = self._chosen.get(session)
        if newest is None or newest.done or newest.source != source:
            self._chosen[session] = Chosen(source, by)
        return source

    def gone(self, session: str, by: str) -> bool:
        """Whether the motion was given where its file was now taken away, and not elsewhere."""
        newest = self._chosen.get(session)
        return newest is not None and newest.by == by

    def follow(self, session: str, source: str | None, *values: Any) -> Iterator[Updates]:
        """Reads the motion that was chosen last; others come to nothing, in whatever order."""
        chosen = self._chosen.setdefault(session, Chosen(source))
        if not chosen.begun and chosen.source == source:
            chosen.begun = True
            try:
                for updates in self._follow(session, chosen.source, *values):
                    if self._chosen.get(session) is not chosen:
                        break
                    yield updates
            finally:  # also where the browser has hung up
                chosen.done = True
        yield {self.p.motion: self.gr.skip()}  # to yield nothing would empty everything

    def _follow(self, session: str, source: str | None, *values: Any) -> Iterator[Updates]:
        p = self.p
        if source is None:
            nothing = {p.motion: None, p.motion_told: "", p.gallery: ""}
            yield self.quiet("motion") | nothing | self._found(session)
            return
        reading = {p.motion_told: f"Reading {_name(source)} …", p.gallery: _expression(source)}
        yield {p.motion: None} | reading | self._looks()
        told = {p.motion_told: _told(source, used=False)}
        try:
            for moment in self.page.following(source, cells(values)):
                if isinstance(moment, Meter):
                    yield {p.motion_told: _bar(moment)} | self._looks()
                else:
                    yield {p.motion: moment}
                    if moment.track is None:
                        raise Refused("motion", moment.error)
        except Refused as refusal:
            if refusal.place in p.sections:  # once that field is mended, it is followed after all
                told |= {p.motion: Motion(source, (), None, None, str(refusal))}
            yield self.quiet("motion") | told | self._found(session) | self.refused(refusal)
        else:
            told = {p.motion_told: _told(source)}
            yield self.quiet("motion", "making") | told | self._found(session)

    def _looks(self) -> Updates:
        """Nothing is made of what is not found yet."""
        return {self.p.generate: self.gr.update(interactive=False)}

    def _found(self, session: str) -> Updates:
        """Something may be made again, unless it is just being made."""
        stop = self._stops.get(session)
        busy = session in self._waiting or (stop is not None and not stop.is_set())
        return {self.p.generate: self.gr.update(interactive=not busy)}

    def preview(
        self, session: str, portrait: Portrait | None, motion: Motion | None, *values: Any
    ) -> Iterator[Updates]:
        """Something changed: the landmarks anew, at once unless other frames or faces are meant."""
        p, turn = self.p, object()
        self._previews[session] = turn  # those before it, of other values, come to nothing
        if motion is None and self._reading(session):
            yield {p.preview: self.gr.skip()}  # another follows
            return
        if portrait is None or motion is None:
            yield {p.preview: _nothing(portrait, motion), p.notes: ""} | self._found(session)
            return
        again = motion
        found = {p.motion_told: _told(motion.source, used=motion.track is not None)}
        try:
            for moment in self.page.following(motion.source, cells(values), motion):
                if self._passed(session, turn, motion):
                    yield {p.preview: self.gr.skip()}
                    return
                if isinstance(moment, Motion):
                    again = moment
                else:
                    yield {p.motion_told: _bar(moment)} | self._looks()
            found = {p.motion_told: _told(again.source, used=again.track is not None)}
            found |= {} if again is motion else {p.motion: again}
            shown, notes = self.page.preview(portrait, again, cells(values))
        except Refused as refusal:
            # What still moves is of the fields as they were, but never of another motion.
            nothing = {p.preview: ""} if motion.track is None else {}
            updates = found | nothing | {p.notes: ""} | self.refused(refusal)
        else:
            picture = _picture(shown, "The motion's landmarks, moving on the portrait")
            updates = found | {p.preview: picture, p.notes: _list(notes)}
        if self._passed(session, turn, motion):
            yield {p.preview: self.gr.skip()}
        else:
            yield self.quiet("motion") | self._found(session) | updates

    def _reading(self, session: str) -> bool:
        """Whether the motion that was chosen last is still being read."""
        newest = self._chosen.get(session)
        return newest is not None and newest.source is not None and not newest.done

    def _passed(self, session: str, turn: object, motion: Motion) -> bool:
        """Whether a preview of other values has begun, or another motion was chosen meanwhile."""
        newest = self._chosen.get(session)
        other = newest is not None and newest.source != motion.source
        return other or self._previews.get(session) is not turn

    def live(self, frame: Any, portrait: Portrait | None, *values: Any) -> str:
        """A frame of the camera."""
        if frame is None or portrait is None:
            return ""
        try:
            shown = self.page.live(frame, portrait, cells(values))
        except Refused as refusal:
            return f'<p class="slot">{html.escape(str(refusal))}</p>'
        return _picture(shown, "Your face's landmarks on the portrait") if shown else "No face seen"

    def begin(self, session: str) -> Updates:
        """Somebody wants a result, and may have to wait for others."""
        p = self.p
        self._waiting.add(session)
        waiting = '<p role="status">Waiting for its turn …</p>'
        return self.quiet("making") | self._busy(True) | {p.progress: waiting}

    def generate(
        self, session: str, portrait: Portrait | None, motion: Motion | None, *values: Any
    ) -> Iterator[Updates]:
        """Their turn has come."""
        p, stop = self.p, threading.Event()
        self._stops[session] = stop
        self._waiting.discard(session)
        try:
            if portrait is None or motion is None:
                raise Refused("making", _nothing(portrait, motion))
            for moment in self.page.following(motion.source, cells(values), motion):
                if stop.is_set():
                    raise Stopped
                if isinstance(moment, Motion):
                    motion = moment
                else:
                    yield {p.progress: _bar(moment)}
            for moment in self.page.make(portrait, motion, cells(values), stop):
                if stop.is_set():
                    raise Stopped
                if isinstance(moment, Meter):
                    yield {p.progress: _bar(moment)}
                elif isinstance(moment, Made):
                    stop.set()  # before Generate comes back: nothing is being made any more
                    yield self._made(moment)
        except Stopped:
            yield self.cancelled()
        except Refused as refusal:
            stop.set()
            yield self._busy(False) | {p.progress: ""} | self.refused(refusal)
        finally:
            stop.set()
            self._stops.pop(session, None)

    def _made(self, made: Made) -> Updates:
        p, gr = self.p, self.gr
        told = f"{made.frames} frames in {made.seconds:.0f} s"
        done = {
            p.made: made,
            p.progress: f'<p role="status">Done: {told}</p>',
            p.result: gr.update(visible=True),
            p.beside: str(made.beside),
            p.video: str(made.video),
            p.downloads[".mp4"]: self._download(made.video),
        }
        return self._busy(False) | done

    def _busy(self, busy: bool) -> Updates:
        update, p = self.gr.update, self.p
        return {p.generate: update(interactive=not busy), p.cancel: update(interactive=busy)}

    def _download(self, path: Path) -> Any:
        size = path.stat().st_size
        told = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size / 1e3, 1):.0f} kB"
        kind = path.suffix[1:].upper()
        return self.gr.update(label=f"{kind}, {told}", value=str(path), interactive=True)

    def smaller(self, made: Made | None, side: int) -> Iterator[Updates]:
        """The result for chats."""
        small = [button for suffix, button in self.p.downloads.items() if suffix != ".mp4"]
        if made is None:
            yield {small[0]: self.gr.skip()}  # to yield nothing would empty everything
            return
        yield {button: self.gr.update(interactive=False) for button in small}
        for suffix in (".webp", ".gif"):
            try:
                path = self.page.smaller(made, suffix, int(side))
            except Refused as refusal:
                yield self.refused(refusal)
                return
            yield {self.p.downloads[suffix]: self._download(path)}

    def stop(self, session: str) -> None:
        """Whatever somebody has begun ends where it next says how far it is."""
        self._waiting.discard(session)
        if session in self._stops:
            self._stops[session].set()

    def leave(self, session: str) -> None:
        """Somebody has closed the page."""
        self.stop(session)
        self._chosen.pop(session, None)
        self._previews.pop(session, None)

    def failed(self, session: str) -> Updates:
        """What somebody sees for whom there was no place in the queue; not who has cancelled."""
        if session in self._stops:  # they have begun anew meanwhile
            return {self.p.progress: self.gr.skip()}
        if session not in self._waiting:
            return self._busy(False)
        self._waiting.discard(session)
        told = "Too many are waiting: try again in a while. Nothing was made."
        return self._busy(False) | {self.p.progress: ""} | self.refused(Refused("making", told))

    def settled(self, session: str) -> Updates:
        """The same a moment later: what was on its way may have come after it."""
        time.sleep(_MOMENT)
        stop = self._stops.get(session)
        if session in self._waiting or (stop is not None and not stop.is_set()):
            return {self.p.progress: self.gr.skip()}  # they have begun anew meanwhile
        return self.cancelled()

    def cancelled(self) -> Updates:
        """What the page shows then."""
        told = '<p role="status">Cancelled. Nothing was made.</p>'
        return self._busy(False) | {self.p.progress: told}

    def reset(self) -> list[Any]:
        """All fields as they were."""
        return [field.default(self.page.config) for field in FIELDS]


def _picture(address: str, words: str, caption: str = "", notes: tuple[str, ...] = ()) -> str:
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{address}" alt="{html.escape(words)}">{below}</figure>{_list(notes)}'


def _name(source: str) -> str:
    return html.escape(_expression(source).replace("_", " ") or Path(source).name)


def _expression(source: str) -> str:
    """The name of a motion of the gallery; empty for others."""
    return source.removeprefix("expression:") if source.startswith("expression:") else ""


def _told(source: str, *, used: bool = True) -> str:
    name = f"<b>{_name(source)}</b>"
    return f"Motion: {name}" if used else f"{name} can't be used as it is"


def _list(notes: tuple[str, ...]) -> str:
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f"<ul>{items}</ul>" if items else ""


def _bar(meter: Meter) -> str:
    value = "" if meter.share is None else f' value="{meter.share:.3f}"'
    text = html.escape(str(meter))
    return f'<progress max="1"{value} aria-label="{text}"></progress><p role="status">{text}</p>'


def _nothing(portrait: Portrait | None, motion: Motion | None) -> str:
    missing = [
        name for name, value in (("a portrait", portrait), ("a motion", motion)) if value is None
    ]
    return f"Choose {' and '.join(missing)} first: there is none that can be used."
