"""Models, their tokenizers and chat templates."""
