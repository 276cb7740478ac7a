"""The queues on which jobs of each type wait for a slot. What is in an earlier one goes first."""

QUEUES = {
    "restoration": "restore",
    "dataset_import": "prepare",
    "evaluation": "train",
    "restoration_training": "train",
    "discriminator_training": "train",
}
QUEUE_NAMES = tuple(dict.fromkeys(QUEUES.values()))


def types_in(queue: str) -> tuple[str, ...]:
    """The types of jobs that wait there."""
    return tuple(job_type for job_type, its_queue in QUEUES.items() if its_queue == queue)
