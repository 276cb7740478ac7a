"""Telling other services that a job has ended: Standard Webhooks, out of band, at least once."""
