"""What was refused, and why: read from the DLQs, and published again."""
