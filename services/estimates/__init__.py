"""How long a training will take and how much memory it needs, told before it is submitted."""
