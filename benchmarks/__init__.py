"""Measurements against peers, printed as ratios; see `make bench`."""
