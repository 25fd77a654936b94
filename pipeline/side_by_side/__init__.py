"""Trainings that differ in the learning rate alone, done at once: the bits of each are kept."""
