"""Questions written, cleaned, labelled, selected."""
