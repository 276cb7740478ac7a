"""What is kept for how long, what nobody needs any more, and what fills the disk."""
