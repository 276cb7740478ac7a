"""What can go wrong in the networks, losses and metrics, in words for the person who can mend it.

They descend from the library's errors, so that one `except` covers the MDF loss and its rivals.
"""

from mdf.errors import MDFError, ShapeError

__all__ = ["ShapeError", "WeightsError"]


class WeightsError(MDFError):
    """The trained weights that a perceptual loss needs are missing or not what they should be."""
