"""Hydra plugins of this project: launchers, which run trials, and sweepers, which choose them."""
