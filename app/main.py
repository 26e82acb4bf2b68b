"""Starts the app: `python app/main.py` from the repository root, or `python -m app`."""

from __future__ import annotations

import pathlib
import sys

# Started as a file, Python puts app/ on the path, not the repository, and our files could hide others.
ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:] = [str(ROOT)] + [
    entry for entry in sys.path if pathlib.Path(entry or ".").resolve() != ROOT / "app"
]

import os  # noqa: E402

os.environ["GRADIO_ANALYTICS_ENABLED"] = (
    "False"  # before gradio is imported: it reports in from its own threads
)

import app.zerogpu  # noqa: E402, F401, I001 - `spaces` has to come before anything that may touch CUDA
import argparse  # noqa: E402
import threading  # noqa: E402

import gradio as gr  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402

from app import api, embedders, engines, explore_sources, restorers, zerogpu  # noqa: E402
from app.imports import AfterImports, import_heavy  # noqa: E402
from app.restore_examples import degraded_examples  # noqa: E402
from app.tabs import dataset, explore, restore, synthesize  # noqa: E402
from app.theme import STYLE_SHEET, theme  # noqa: E402

MASTHEAD = """<div id="masthead"><h1>GenDeg Studio</h1>
<p>Put your own photo into haze, rain, snow, motion blur, low light or behind raindrops: as strong as you ask,
with the strength that was really obtained beside it. Then let several networks restore it.</p></div>"""
HOUR = 3600


def build_demo() -> gr.Blocks:
    """The whole page. Nothing heavy is loaded here."""
    with gr.Blocks(title="GenDeg Studio", analytics_enabled=False, delete_cache=(HOUR, 4 * HOUR)) as demo:
        gr.HTML(MASTHEAD)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Synthesize", id="synthesize", elem_id="synthesize_tab"):
                synthesized, send = synthesize.build(demo)
            with gr.Tab("Restore", id="restore", elem_id="restore_tab") as tab:
                restore.build(demo, tab, tabs, send, synthesized)
            with gr.Tab("Explore", id="explore", elem_id="explore_tab") as tab:
                explore.build(tab)
            with gr.Tab("Dataset", id="dataset", elem_id="dataset_tab"):
                dataset.build()
        api.add_endpoints()
    demo.queue(max_size=64, default_concurrency_limit=4)
    return demo


def launch_arguments() -> dict[str, object]:
    """The same for a local run, a Space and the tests."""
    return {
        "theme": theme(),
        "css_paths": [STYLE_SHEET],
        "ssr_mode": False,
        "run_history": False,  # keeps every result in the visitor's browser and slows the page down
        "enable_monitoring": False,
        "show_error": True,
        "max_file_size": "300mb",
        "footer_links": ["api", "gradio", "settings"],
        "app_kwargs": {"middleware": [Middleware(AfterImports)]},
    }


def warm_up() -> None:
    """Load what the first visitor would otherwise wait for."""
    import_heavy()
    engines.warm_up()
    restorers.warm_up()
    embedders.warm_up()
    degraded_examples()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m app", description="GenDeg Studio in the browser.")
    parser.add_argument("--host", help="address to listen on; default 127.0.0.1, on a Space all addresses")
    parser.add_argument("--port", type=int, help="default 7860, or the next free one")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument(
        "--daclip", type=pathlib.Path, help="DA-CLIP weights for Explore: folder or checkpoint"
    )
    parser.add_argument(
        "--photos", type=pathlib.Path, action="append", default=[],
        help="folder whose photos Explore may show when an opened table names them; may be repeated",
    )  # fmt: skip
    arguments = parser.parse_args()
    explore_sources.roots += [folder.resolve() for folder in arguments.photos]
    if arguments.daclip:
        try:
            embedders.use(arguments.daclip)
        except ValueError as error:
            parser.error(str(error))
    demo = build_demo()
    if zerogpu.ZERO_GPU:
        warm_up()  # ZeroGPU wants the weights in place before the first call is forked off
    else:
        threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
    demo.launch(
        server_name=arguments.host,
        server_port=arguments.port,
        inbrowser=arguments.open,
        **launch_arguments(),  # pyright: ignore[reportArgumentType]
    )


if __name__ == "__main__":
    main()
