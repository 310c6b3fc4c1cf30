"""History through the pipeline: files in, the same topics and worker as live, rows out."""
