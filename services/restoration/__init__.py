"""Restoration: images through a restorer, whole or in tiles, in jobs and at once."""
