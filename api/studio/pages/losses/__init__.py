"""Losses: the list, and one of them: what it is, how it is used, and a place to try it."""

from api.studio.pages.losses import catalogue, loss

__all__ = ["catalogue", "loss"]
