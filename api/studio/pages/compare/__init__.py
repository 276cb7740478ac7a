"""Compare: models measured on the same degraded images, and what came of it."""

from api.studio.pages.compare import catalogue, evaluation

__all__ = ["catalogue", "evaluation"]
