"""Trainings that differ in the learning rate alone, run at once; each keeps its bits."""
