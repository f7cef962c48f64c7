"""A dataset tokenized, a student trained."""
