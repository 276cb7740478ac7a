"""Runs: the list of all jobs, and the page of one, live."""

from api.studio.pages.runs import listing, run

__all__ = ["listing", "run"]
