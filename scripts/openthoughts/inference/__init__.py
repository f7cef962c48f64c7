"""A model asked through the store."""
