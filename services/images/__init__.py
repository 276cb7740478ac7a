"""Images: decoding of uploads, synthetic seeds, and the catalogue."""
