"""Sweeps: many trainings, each of them a trial."""
