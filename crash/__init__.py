"""Kills and faults: what becomes of the pipeline when it is cut off at any moment."""
