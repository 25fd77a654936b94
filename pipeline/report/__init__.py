"""Answers and pictures of a trained model."""
