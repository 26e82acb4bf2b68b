"""How the app looks: one theme with fonts that come with Gradio, and a style sheet."""

from __future__ import annotations

from pathlib import Path

from gradio.themes import Base, LocalFont

STYLE_SHEET = Path(__file__).resolve().with_name("style.css")


def theme() -> Base:
    """Teal on cool grey, in a font that ships inside Gradio, so none is ever fetched.

    Only its weights 400 and 700 hold the Latin letters; the 600 file is an extension set.
    """
    return Base(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        radius_size="md",
        font=[
            LocalFont("IBM Plex Sans", weights=(400, 700)),
            "ui-sans-serif",
            "system-ui",
            "sans-serif",
        ],
        font_mono=[LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_shadow="0 1px 2px rgb(15 23 42 / 5%)",
        block_title_text_weight="600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
    )
