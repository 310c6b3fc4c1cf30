"""The promise, tried by breaking things: the rows are the same whatever happens to the pipeline.

A run is a seeded workload, a fault injected while it flows, and one judgement against a plain model
of the same partition logs. ``python -m tests.chaos --help``.
"""
