"""Evaluation: restorers compared by measurement, on the same degraded images."""
