"""Restoration networks, and opening and running them: (B, 3, H, W) in [0, 1] to the same, at any size."""
