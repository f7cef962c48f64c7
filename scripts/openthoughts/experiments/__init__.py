"""Means, errors, comparison of arms."""
