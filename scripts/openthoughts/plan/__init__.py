"""Configuration and catalog to stages and ids."""
