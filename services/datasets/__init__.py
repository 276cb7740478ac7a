"""Data sets: archives and folders of pictures, checked once, for training restorers."""
