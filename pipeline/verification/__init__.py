"""The parts of `pipeline.verify`: reproduce, compare, say where and why two results differ."""
