"""Restorers: the list, the training of another, and the view of one.

The training stands before the view, which takes every other address below.
"""

from api.studio.pages.restorers import catalogue, training, view

__all__ = ["catalogue", "training", "view"]
