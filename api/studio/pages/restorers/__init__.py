"""Restorers: the list, one of them, and the training of another."""

# The training first: its address would be a model's otherwise.
from api.studio.pages.restorers import training  # isort: skip
from api.studio.pages.restorers import catalogue, model

__all__ = ["catalogue", "model", "training"]
