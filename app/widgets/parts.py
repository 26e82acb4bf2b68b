"""Reads the template, script and style that lie beside a widget's Python."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def parts(name: str) -> dict[str, str]:
    """The three `gr.HTML` arguments of the widget called `name`.

    The template must not mention the value: a template without `${value}` is rendered once, so that the
    listeners its script attaches stay alive when the value changes.
    """
    return {
        "html_template": (FOLDER / f"{name}.html").read_text(encoding="utf-8"),
        "css_template": (FOLDER / f"{name}.css").read_text(encoding="utf-8"),
        "js_on_load": (FOLDER / f"{name}.js").read_text(encoding="utf-8"),
    }
