"""A recipe's stand-alone page: one file, offline, with everything that comes from data shown as text."""
