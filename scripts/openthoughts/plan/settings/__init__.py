"""What a user can set: one model per block of the configuration and per entry of the catalog."""
