"""Components of our own: each with its template, script and style in files beside its Python."""

from gradio import component_meta

# Gradio writes a stub file beside every component class it meets; this app writes nothing into its folder.
component_meta.create_or_modify_pyi = lambda *_arguments: None
