"""Losses: the catalogue, import, comparison of images, and the card."""
