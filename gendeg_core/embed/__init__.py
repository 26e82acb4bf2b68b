"""Embeddings of photos and their degradations, maps of them, and numbers that compare sets."""
