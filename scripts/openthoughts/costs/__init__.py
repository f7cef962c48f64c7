"""What a plan costs, and what is spent."""
