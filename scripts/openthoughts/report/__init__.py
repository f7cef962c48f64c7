"""Manifest, plots, pages, publishing."""
