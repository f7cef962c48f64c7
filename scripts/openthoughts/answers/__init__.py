"""Answers checked, measured, chosen, and made a dataset."""
