"""Measurements. Each is a command; none is a test."""
