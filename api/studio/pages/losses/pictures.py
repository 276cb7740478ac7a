"""Pictures that are made for a page and kept nowhere."""

from base64 import b64encode


def embedded(png: bytes) -> str:
    """The address of a picture that is its own content."""
    return f"data:image/png;base64,{b64encode(png).decode()}"
