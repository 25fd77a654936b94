"""Where raw files come from."""
