"""Commands, tables, processes, environments."""
