"""The formats in which data sets come."""
