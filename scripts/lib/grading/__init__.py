"""Graders: what a response answers, and whether that is right."""
