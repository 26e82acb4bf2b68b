"""Random things scattered over a picture: draws, smooth fields, particles, drops on a pane."""
