"""What each program that asks a model wants, declared once."""
