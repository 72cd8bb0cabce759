"""What is where on the page. Gradio is imported when it is built, here and nowhere else."""

import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from emoji_jax.errors import UserError
from emoji_jax.page import pictures
from emoji_jax.page.fields import SECTIONS, Field
from emoji_jax.page.work import Page

_STYLE = Path(__file__).parent / "style.css"
FIRST = "laugh"
"""The built-in expression that the page begins with."""
# Of the gallery: which button was pressed, by mouse or keyboard. Its value is the name of the
# motion that is used, if that is one of its own.
_PICK = """
element.addEventListener("click", event => {
  const pressed = event.target.closest("button[data-name]");
  if (!pressed) return;
  for (const one of element.querySelectorAll("button[data-name]"))
    one.setAttribute("aria-pressed", one === pressed);
  trigger("click", {name: pressed.dataset.name});
});
"""


def gradio(folder: Path) -> ModuleType:
    """Gradio, told to be quiet and to keep its files in a folder.

    Raises:
      UserError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        import gradio
        from gradio import processing_utils
    except ImportError as error:
        raise UserError(
            f"the page needs Gradio ({error}); install it: pip install 'emoji_jax[app]'"
        ) from None
    # A forged upload may be an address, which the server would fetch.
    processing_utils.async_ssrf_protected_download = _fetch_nothing
    return gradio


async def _fetch_nothing(*_: Any, **__: Any) -> str:
    raise ValueError("nothing is fetched from other machines")


def appearance(gr: ModuleType) -> dict[str, Any]:
    """Theme and style sheet; fonts are those that the visitor has."""
    theme = gr.themes.Default(
        primary_hue="amber",
        neutral_hue="stone",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return {"theme": theme, "css": _STYLE.read_text()}


def lay_out(gr: ModuleType, page: Page, privacy: str) -> SimpleNamespace:
    """Makes the page's parts, inside of a `gr.Blocks`, and returns them by name."""
    p = SimpleNamespace(slots={}, sections={}, fields={})
    gr.HTML(
        "<h1>Move a face</h1><p>One portrait moves as the face in another video does. "
        "Choose both, look at the landmarks, generate.</p>",
        elem_id="head",
    )
    with gr.Row(elem_id="columns"):
        with gr.Column(scale=5, min_width=320):
            _portrait(gr, p)
            _motion(gr, p)
            _adjust(gr, p, page)
        with gr.Column(scale=6, min_width=320, elem_id="right"):
            _preview(gr, p)
            _result(gr, p)
    gr.HTML(f"<p>{privacy}</p>", elem_id="privacy")
    p.portrait, p.motion, p.made = (
        gr.State(None, time_to_live=60 * page.limits.minutes) for _ in range(3)
    )
    p.source = gr.State(f"expression:{FIRST}")
    return p


def _slot(gr: ModuleType, p: SimpleNamespace, place: str) -> None:
    """Where a refusal is told: next to what it is about."""
    p.slots[place] = gr.HTML("", elem_classes="slot", elem_id=f"refused-{place.lower()}")


def _portrait(gr: ModuleType, p: SimpleNamespace) -> None:
    with gr.Column(elem_classes="card"):
        gr.HTML("<h2>1. Portrait</h2>")
        with gr.Row():
            with gr.Column(min_width=150):
                p.portrait_file = gr.File(
                    label="Picture of a face", height=190, elem_id="portrait-file"
                )
            with gr.Column(min_width=150):
                p.portrait_shown = gr.HTML("", elem_id="portrait-shown")
        _slot(gr, p, "portrait")
        with gr.Accordion("No face found? Give its landmarks", open=False):
            p.hand_file = gr.File(
                label="Landmarks of the portrait: .npz, or .json with a few points", height=160
            )


def _motion(gr: ModuleType, p: SimpleNamespace) -> None:
    with gr.Column(elem_classes="card"):
        gr.HTML("<h2>2. Motion</h2>")
        with gr.Tabs():
            with gr.Tab("Built-in"):
                p.gallery = gr.HTML(
                    FIRST, html_template=_gallery(), js_on_load=_PICK, elem_id="expressions"
                )
            with gr.Tab("File"):
                p.motion_file = gr.File(
                    label="Video, GIF, WebP, picture, or landmarks (.npz, .npy)",
                    height=190,
                    elem_id="motion-file",
                )
            with gr.Tab("Camera"):
                camera = gr.WebcamOptions(mirror=False)
                p.recorded = gr.Video(
                    sources=["webcam"],
                    label="Record a clip",
                    include_audio=True,  # leaving it out would need another program
                    webcam_options=camera,
                    elem_id="recorder",
                )
                with gr.Accordion("Live: your face's landmarks on the portrait", open=False):
                    p.camera = gr.Image(
                        sources=["webcam"],
                        streaming=True,
                        type="numpy",
                        label="Camera",
                        webcam_options=camera,
                        elem_id="camera",
                    )
                    p.live = gr.HTML("", elem_id="live")
        p.motion_told = gr.HTML("", elem_id="motion-told")
        _slot(gr, p, "motion")


def _gallery() -> str:
    """A button with a moving picture for each built-in expression."""
    buttons = (
        f'<button type="button" data-name="{name}" aria-pressed="${{value === \'{name}\'}}">'
        f'<img src="{address}" alt=""><span>{name.replace("_", " ")}</span></button>'
        for name, address in pictures.tiles()
    )
    return f'<div class="expressions">{"".join(buttons)}</div>'


def _preview(gr: ModuleType, p: SimpleNamespace) -> None:
    with gr.Column(elem_classes="card"):
        gr.HTML("<h2>The landmarks, as they will move</h2>")
        p.preview = gr.HTML("", elem_id="preview")
        p.notes = gr.HTML("", elem_classes="notes", elem_id="notes")


def _adjust(gr: ModuleType, p: SimpleNamespace, page: Page) -> None:
    with gr.Column(elem_classes="card", elem_id="adjust"):
        gr.HTML("<h2>3. Adjust, if you like</h2>")
        for title, fields in SECTIONS.items():
            with gr.Accordion(title, open=False) as p.sections[title]:
                _slot(gr, p, title)
                with gr.Row(elem_classes="fields"):
                    for field in fields:
                        p.fields[field.name] = _field(gr, field, page)
        p.reset = gr.Button("Reset all", size="sm")


def _field(gr: ModuleType, field: Field, page: Page) -> Any:
    value = field.default(page.config)
    common = {"label": field.label, "info": field.told or None, "min_width": 150}
    common["elem_id"] = f"field-{field.name.replace('.', '-')}"
    if field.slider:
        low, high, step = field.slider
        low, high = min(low, value), max(high, value)  # the command line may go further
        slider = gr.Slider(low, high, value, step=step, buttons=[], **common)
        # What can't be is refused where all else is, in the command's words; and so is nothing.
        slider.preprocess = lambda value: value
        return slider
    if field.choices:
        return gr.Dropdown(list(field.choices), value=value, filterable=False, **common)
    if field.tick:
        return gr.Checkbox(value, **common)
    return gr.Textbox(value, max_lines=1, **common)


def _result(gr: ModuleType, p: SimpleNamespace) -> None:
    with gr.Column(elem_classes="card"):
        with gr.Row():
            p.generate = gr.Button("Generate", variant="primary", scale=3, elem_id="generate")
            p.cancel = gr.Button("Cancel", interactive=False, scale=1, elem_id="cancel")
        _slot(gr, p, "making")
        p.progress = gr.HTML("", elem_id="progress")
        with gr.Column(visible=False, elem_id="result") as p.result:
            gr.HTML("<h2>Result</h2>")
            play = {"autoplay": True, "loop": True, "buttons": [], "interactive": False}
            with gr.Tabs():
                with gr.Tab("Beside its driver"):
                    p.beside = gr.Video(show_label=False, **play, elem_id="beside")
                with gr.Tab("Alone"):
                    p.video = gr.Video(show_label=False, **play, elem_id="alone")
            with gr.Row(elem_id="downloads"):
                p.downloads = {
                    suffix: gr.DownloadButton(suffix[1:].upper(), size="sm", interactive=False)
                    for suffix in (".mp4", ".webp", ".gif")
                }
                p.side = gr.Dropdown(
                    [("160 pixels", 160), ("320 pixels", 320), ("480 pixels", 480)],
                    value=320,
                    label="Longer side of WebP and GIF, at most",
                    filterable=False,
                    min_width=150,
                )
