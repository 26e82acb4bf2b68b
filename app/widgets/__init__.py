"""Components of our own: each a `gr.HTML` subclass, its template, script and style in files beside it."""
