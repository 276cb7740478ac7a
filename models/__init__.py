"""Networks and losses in pure torch; no input or output."""
