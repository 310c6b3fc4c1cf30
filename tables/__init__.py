"""The tables, one file each: its key, value, window and retention."""
