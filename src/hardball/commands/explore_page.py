"""The page of `hardball explore`, made by gradio: on this machine alone, and without the internet."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hardball.commands.explore import Explorer, Panel
from hardball.errors import UserError
from hardball.extras import missing, require
from hardball.report import explore_pictures

HOST = "127.0.0.1"
"""The page answers this machine and no other."""

PORTS = range(7860, 7960)
"""Tried in turn where none is named."""

PICKED, DRAWN = "image of the data", "drawing"
OWN = "its own"
"""The class attacked: an image's own, or for a drawing what each network predicts."""

CANVAS = 280
"""Pixels per side of what one draws on."""


def require_gradio() -> Any:
    """The package, which then neither reports its use nor asks for newer versions of itself.

    Raises:
        MissingExtra: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ImportError as error:
        raise missing("the explorer needs", "gradio") from error
    require("the explorer needs", "matplotlib")  # it colours the maps
    return gradio


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the controls of the page say."""

    source: str
    index: float | None
    eps: float
    attack: str
    label: str
    sketch: Any = None

    def ink(self) -> NDArray[np.float32]:
        """The drawing, 0 paper and 1 ink of any colour."""
        layers = (self.sketch or {}).get("layers") or []
        if not layers:
            return np.zeros((1, 1), dtype=np.float32)
        opaque = np.max([layer[..., 3] for layer in layers], axis=0)
        return np.asarray(opaque / 255, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the page shows next; None leaves the panels as they are."""

    message: str
    image: NDArray[np.uint8] | None
    panels: list[Panel] | None


def answer(explorer: Explorer, asked: Asked) -> Answer:
    """The panels for what the controls say; a mistake is a message, not an exception."""
    try:
        image, own, what = _image(explorer, asked)
        if image is None:
            return Answer(message=what, image=None, panels=None)
        label = own if asked.label == OWN else int(asked.label)
        panels = explorer.panels(image, label, asked.attack, asked.eps)
    except UserError as error:
        return Answer(message=f"**{error}**", image=None, panels=None)
    seen = explore_pictures.shown(image.cpu().numpy())
    return Answer(message=what, image=seen, panels=panels)


def _image(explorer: Explorer, asked: Asked) -> tuple[torch.Tensor | None, int | None, str]:
    """The image asked for, its class if it is known, and what it is."""
    if asked.source == DRAWN:
        drawn = explorer.drawn(asked.ink())
        text = "Draw above." if drawn is None else "Your drawing, as the networks get it:"
        return drawn, None, text
    if asked.index is None:
        return None, None, f"Give the number of an image, 0 … {explorer.count - 1}."
    index = int(asked.index)
    image, own = explorer.picked(index)
    return image, own, f"Image {index}, class {own}:"


def page(explorer: Explorer) -> Any:
    """The page as gradio Blocks, not yet served."""
    gr = require_gradio()
    with gr.Blocks(title="hardball explore", analytics_enabled=False, fill_width=True) as blocks:
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                inputs = _controls(gr, explorer)
                message = gr.Markdown(elem_id="message")
                seen = gr.Image(label="the image as the networks get it", **PICTURE, elem_id="seen")
            columns = [_column(gr, number, name) for number, name in enumerate(explorer.names)]
        outputs = [message, seen, *(one for column in columns for one in column)]

        def show(*values: Any) -> list[Any]:
            found = answer(explorer, Asked(**dict(zip(inputs, values, strict=True))))
            return _values(gr, found, len(outputs))

        # networks are switched to evaluation mode while they are asked: one question at a time
        rules: dict[str, Any] = {
            "fn": show,
            "inputs": list(inputs.values()),
            "outputs": outputs,
            "concurrency_limit": 1,
            "concurrency_id": "networks",
            "trigger_mode": "always_last",
            "show_progress": "minimal",
            "api_visibility": "private",
        }
        blocks.load(**rules)
        for name in ("source", "index", "attack", "label"):
            inputs[name].input(**rules)
        inputs["eps"].release(**rules)
        if "sketch" in inputs:
            inputs["sketch"].input(
                lambda: DRAWN, None, inputs["source"], api_visibility="private"
            ).then(**rules)
    return blocks


PICTURE: dict[str, Any] = {
    "interactive": False,
    "buttons": [],
    "height": 236,
    "format": "png",
    "show_label": False,  # it would cover the picture
}


def _controls(gr: Any, explorer: Explorer) -> dict[str, Any]:
    """name of a field of `Asked` → component."""
    data = explorer.subjects[0].data.name
    found: dict[str, Any] = {}
    if explorer.takes_drawings:
        found["sketch"] = gr.Sketchpad(
            label="draw here",
            canvas_size=(CANVAS, CANVAS),
            fixed_canvas=True,
            layers=False,
            transforms=(),
            buttons=[],
            placeholder="choose the pen on the left, then draw",
            brush=gr.Brush(default_size=22, colors=["#000000"], color_mode="fixed"),
            elem_id="sketch",
        )
    sources = [PICKED, DRAWN] if explorer.takes_drawings else [PICKED]
    found["source"] = gr.Radio(sources, value=PICKED, label="attacked is an", elem_id="source")
    found["index"] = gr.Number(
        0,
        precision=0,
        label=f"number of the image of {data}, 0 … {explorer.count - 1}",
        elem_id="index",
    )
    found["eps"] = gr.Slider(
        0,
        explorer.most,
        explorer.eps,
        step=1 if explorer.norm == "l0" else 0.01,
        label=f"ε ({explorer.norm})",
        elem_id="eps",
    )
    found["attack"] = gr.Dropdown(
        list(explorer.attacks), value="pgd-20", label="attack, quickest first", elem_id="attack"
    )
    found["label"] = gr.Dropdown(
        [OWN, *map(str, range(explorer.classes))],
        value=OWN,
        label="class attacked (of a drawing its own is the one predicted)",
        elem_id="label",
    )
    return found


def _column(gr: Any, number: int, name: str) -> list[Any]:
    """One run's components, in the order of `_of_panel`."""
    with gr.Column(scale=2, min_width=260, elem_id=f"run{number}"):
        gr.Markdown(f"### {name}", elem_classes="name")
        return [
            gr.Markdown(elem_id=f"sentence{number}"),
            gr.Label(label="prediction for the image", num_top_classes=3),
            gr.Label(
                label="prediction after the attack", num_top_classes=3, elem_id=f"after{number}"
            ),
            gr.Markdown("attacked image"),
            gr.Image(**PICTURE, alt_text="the attacked image"),
            gr.Markdown(),
            gr.Image(**PICTURE, alt_text="the perturbation"),
            gr.Markdown(),
            gr.Image(**PICTURE, alt_text="the saliency at the attacked image"),
        ]


def _values(gr: Any, found: Answer, count: int) -> list[Any]:
    """A value for each of the `count` outputs."""
    if found.panels is None:
        return [found.message, *(gr.skip() for _ in range(count - 1))]
    panels = [value for panel in found.panels for value in _of_panel(panel)]
    return [found.message, found.image, *panels]


def _of_panel(panel: Panel) -> list[Any]:
    change, steepness = (f"{scale:.2g}" for scale in panel.scales)
    return [
        panel.sentence,
        dict(panel.before),
        dict(panel.after),
        "attacked image",
        panel.attacked,
        f"perturbation, at most {change}: red is added, blue taken away",
        panel.perturbation,
        f"saliency there, at most {steepness}: red raises the loss, blue lowers it",
        panel.saliency,
    ]


def serve(explorer: Explorer, port: int, *, wait: bool = True) -> Any:
    """Serve the page on 127.0.0.1.

    Args:
        port: a free one (see `free_port`).
        wait: until interrupted; otherwise return at once.

    Returns:
        What serves it: `close()` ends that.

    Raises:
        MissingExtra: gradio is not installed.
    """
    blocks = page(explorer)
    blocks.queue(default_concurrency_limit=1)
    blocks.launch(
        server_name=HOST,
        server_port=port,
        share=False,
        inbrowser=False,
        quiet=True,
        prevent_thread_lock=not wait,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        run_history=False,
        footer_links=[],
        enable_monitoring=False,
        max_file_size="1mb",
    )
    return blocks


def free_port(port: int | None) -> int:
    """That port, or the first of `PORTS`, which nobody listens on.

    Raises:
        UserError: it is taken, or all are.
    """
    import socket

    for number in PORTS if port is None else (port,):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((HOST, number))
            except OSError:
                continue
            return number
    which = (
        f"`port={port}` is" if port is not None else f"all ports from {PORTS[0]} to {PORTS[-1]} are"
    )
    raise UserError(f"{which} taken or not allowed on this machine; choose another `port`")
