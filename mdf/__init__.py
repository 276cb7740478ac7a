"""MDF: task-specific losses for image restoration, trained on one image (Mustafa et al. 2022)."""
