"""Restorers: trained networks, their artefact, and the files that they are offered as."""
