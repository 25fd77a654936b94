"""Hydra plugins of this project: how sweeps are launched and what they try."""
