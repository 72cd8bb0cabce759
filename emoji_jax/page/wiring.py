"""Which component's event calls which of `events.Events`."""

# Gradio, which looks at annotations, is imported only when there is a page.
# pyright: reportInvalidTypeForm=false

from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

from emoji_jax.page.events import Events, Updates
from emoji_jax.page.fields import FIELDS
from emoji_jax.page.work import Page

# Of events: nothing moves while they run, and they are no interface for programs.
_HIDDEN = {"show_progress": "hidden", "api_visibility": "private"}


def connect(gr: ModuleType, page: Page, p: SimpleNamespace, demo: Any) -> None:
    """Has the components of a page call its handlers."""
    on = Events(gr, page, p)
    fields = [p.fields[field.name] for field in FIELDS]
    told = [*p.slots.values(), *p.sections.values()]
    swift = {**_HIDDEN, "concurrency_limit": 4}

    def previewing(request: gr.Request, *values: Any) -> Iterator[Updates]:
        yield from on.preview(str(request.session_hash), *values)

    preview = {
        "fn": previewing,
        "inputs": [p.portrait, p.motion, *fields],
        "outputs": [p.motion, p.motion_told, p.preview, p.notes, p.generate, *told],
        "concurrency_id": "preview",
        "trigger_mode": "always_last",
        **swift,
    }
    see = {
        "fn": on.see,
        "inputs": [p.portrait_file, p.hand_file, *fields],
        "outputs": [p.portrait, p.portrait_shown, *told],
        "trigger_mode": "always_last",  # a second upload is not lost while the first is read
        **swift,
    }

    def following(request: gr.Request, source: str | None, *values: Any) -> Iterator[Updates]:
        yield from on.follow(str(request.session_hash), source, *values)

    follow = {
        "fn": following,
        "inputs": [p.source, *fields],
        "outputs": [p.motion, p.motion_told, p.gallery, p.generate, *told],
        "trigger_mode": "multiple",  # one that is chosen while another is read is not lost
        **swift,
    }
    framing = [p.fields[field.name].change for field in FIELDS if "framing" in field.name]
    gr.on([p.portrait_file.change, p.hand_file.change, *framing], **see).then(**preview)
    face = p.fields["motion.face"]
    gr.on([field.change for field in fields if field is not face], **preview)
    # Which means a search: one for what was typed before ends at once.
    face.change(**{**preview, "trigger_mode": "multiple"})
    demo.load(**see).then(**follow).then(**preview)

    def picked(request: gr.Request, event: gr.EventData) -> str | None:
        return on.choose(str(request.session_hash), f"expression:{event.name}", "gallery")

    def given(by: str) -> Callable[..., Any]:
        def handler(request: gr.Request, path: str | None) -> Any:
            session = str(request.session_hash)
            return on.choose(session, path, by) if path or on.gone(session, by) else gr.skip()

        return handler

    chosen = {"outputs": p.source, "queue": False, "trigger_mode": "multiple", **swift}
    for event in (
        p.gallery.click(picked, None, **chosen),
        p.motion_file.change(given("file"), p.motion_file, **chosen),
        p.recorded.change(given("camera"), p.recorded, **chosen),
    ):
        event.then(**follow).then(**preview)
    p.camera.stream(
        on.live,
        [p.camera, p.portrait, *fields],
        p.live,
        stream_every=0.15,
        time_limit=600,
        **swift,
    )
    p.reset.click(on.reset, None, fields, **swift)
    _connect_making(gr, on, p, demo, fields, told)


def _connect_making(
    gr: ModuleType, on: Events, p: SimpleNamespace, demo: Any, fields: list, told: list
) -> None:
    buttons = [p.generate, p.cancel, p.progress]

    def generate(
        request: gr.Request, portrait: Any, motion: Any, *values: Any
    ) -> Iterator[Updates]:
        yield from on.generate(str(request.session_hash), portrait, motion, *values)

    def stop(request: gr.Request) -> None:
        on.stop(str(request.session_hash))

    def leave(request: gr.Request) -> None:
        on.leave(str(request.session_hash))

    def cancel(request: gr.Request) -> Updates:
        stop(request)
        return on.cancelled()

    def settled(request: gr.Request) -> Updates:
        return on.settled(str(request.session_hash))

    def begin(request: gr.Request) -> Updates:
        return on.begin(str(request.session_hash))

    def failed(request: gr.Request) -> Updates:
        return on.failed(str(request.session_hash))

    begun = p.generate.click(begin, None, [*buttons, *told], queue=False, **_HIDDEN)
    making = begun.then(
        generate,
        [p.portrait, p.motion, *fields],
        [*buttons, p.made, p.result, p.beside, p.video, *p.downloads.values(), *told],
        concurrency_limit=1,
        concurrency_id="making",
        **_HIDDEN,
    )
    making.failure(failed, None, [*buttons, *told], queue=False, **_HIDDEN)
    small = {"inputs": [p.made, p.side], "outputs": [*p.downloads.values(), *told], **_HIDDEN}
    small |= {"concurrency_limit": 1, "concurrency_id": "smaller"}
    making.then(on.smaller, **small)
    p.side.change(on.smaller, **small)
    cancelled = p.cancel.click(cancel, None, buttons, cancels=[making], queue=False, **_HIDDEN)
    cancelled.then(settled, None, buttons, queue=False, **_HIDDEN)
    demo.unload(leave)
