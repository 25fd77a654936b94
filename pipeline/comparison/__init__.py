"""The parts of `pipeline.compare`: find two results, and tell whether they differ."""
