"""Phase 1: train the discriminators of the MDF loss on a seed image."""
