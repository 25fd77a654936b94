"""Everything that decides the weights."""
