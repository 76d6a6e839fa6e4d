"""Layout of the page, and which function each of its controls calls."""

from typing import Any, NamedTuple

import gradio as gr

from engine.demo.actions import SECONDS, Actions
from tools.figures.report.parts import escape

OPACITY = 80  # percent, as in the report
# No programs use the page. Every press is answered, in turn, so that the last one counts; with "always_last" Gradio
# 6.31 loses a press that follows at once.
EVENT: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "trigger_mode": "multiple"}
# A button inside an HTML component is pressed: its number goes to the function.
PRESS = """element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-number]");
  if (button) trigger("click", {number: Number(button.dataset.number)});
});"""
FADE = "(percent) => { document.documentElement.style.setProperty('--strength', percent / 100); }"
FETCH = "() => { document.querySelector('#file').click(); }"


class Controls(NamedTuple):
    """Components of the page."""

    result: gr.State  # PictureExplanation, or None before the first picture
    upload: gr.File
    examples: gr.HTML
    answer: gr.HTML
    details: gr.Column  # hidden without a result
    chosen: gr.Dropdown
    view: gr.HTML
    opacity: gr.Slider
    save: gr.Button
    classes: gr.HTML
    first: gr.Dropdown
    other: gr.Dropdown
    contrast: gr.HTML
    save_contrast: gr.Button
    file: gr.DownloadButton  # hidden by the style sheet; downloads what the buttons draw


def build_page(actions: Actions, *, title: str, about: str) -> gr.Blocks:
    """Build the page; needs no network, neither here nor in the browser.

    Args:
        actions: what the controls do.
        title: of the page.
        about: line about the model.
    """
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(SECONDS, SECONDS)) as page:
        _html(f"<header><h1>{escape(title)}</h1><p>{escape(about)}</p></header>")
        result = gr.State()
        with gr.Row(elem_classes="columns"):
            with gr.Column(scale=1, min_width=280):
                inputs = _inputs(actions)
            with gr.Column(scale=3, min_width=320):
                answer = _html(actions.greeting)
                with gr.Column(visible=False) as details:
                    outputs = _outputs()
        file = gr.DownloadButton(elem_id="file")
        controls = Controls(result=result, answer=answer, details=details, file=file, **inputs, **outputs)
        _connect(controls, actions)
        if actions.examples:
            page.load(actions.opening, outputs=_shown(controls), **EVENT)
    return page


def _inputs(actions: Actions) -> dict[str, Any]:
    """Where a picture comes from: a file, or an example; by their names in :class:`Controls`."""
    upload = gr.File(label="Your picture", height=140, elem_id="upload")
    examples = _html(actions.example_buttons(), js_on_load=PRESS, elem_id="examples")
    return {"upload": upload, "examples": examples}


def _outputs() -> dict[str, Any]:
    """The evidence of each class, and of one class rather than another; by their names in :class:`Controls`."""
    with gr.Column(elem_classes="card"):
        _html("<h2>What speaks for a class, and what against it?</h2>")
        with gr.Row():
            chosen = gr.Dropdown(label="Class", elem_id="chosen", min_width=140)
            opacity = gr.Slider(0, 100, OPACITY, step=1, label="Opacity of the maps, %", elem_id="opacity")
        view = _html(elem_id="view")
        classes = _html(js_on_load=PRESS, elem_id="classes")
        save = gr.Button("Download the figure", elem_id="save", size="sm")
    with gr.Column(elem_classes="card"):
        _html("<h2>Why this class and not that one?</h2>")
        with gr.Row():
            first = gr.Dropdown(label="Why this", elem_id="first", min_width=140)
            other = gr.Dropdown(label="and not that", elem_id="other", min_width=140)
        contrast = _html(elem_id="contrast")
        save_contrast = gr.Button("Download the figure", elem_id="save-contrast", size="sm")
    return {
        "chosen": chosen, "view": view, "opacity": opacity, "classes": classes, "save": save, "first": first,
        "other": other, "contrast": contrast, "save_contrast": save_contrast,
    }  # fmt: skip


def _html(value: str = "", **options: Any) -> gr.HTML:
    return gr.HTML(value, apply_default_css=False, **options)


def _shown(c: Controls) -> list[Any]:
    """The components that a new picture changes, in the order of :class:`engine.demo.actions.Update`."""
    return [c.result, c.answer, c.details, c.chosen, c.view, c.classes, c.first, c.other, c.contrast]


def _connect(c: Controls, actions: Actions) -> None:
    """Let each control call its function."""
    c.upload.upload(actions.file, c.upload, _shown(c), **EVENT)
    c.examples.click(actions.pressed_example, None, [*_shown(c), c.upload], **EVENT)
    c.chosen.input(actions.choose, [c.result, c.chosen], [c.view, c.classes], **EVENT)
    c.classes.click(actions.pressed_class, c.result, [c.view, c.classes, c.chosen], **EVENT)
    for control in (c.first, c.other):
        control.input(actions.contrast, [c.result, c.first, c.other], c.contrast, **EVENT)
    c.opacity.change(None, c.opacity, js=FADE)
    c.save.click(actions.draw, [c.result, c.chosen], c.file, **EVENT).success(None, js=FETCH)
    c.save_contrast.click(actions.draw_contrast, [c.result, c.first, c.other], c.file, **EVENT).success(
        None, js=FETCH
    )  # fmt: skip
