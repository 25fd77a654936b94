"""The data set: its raw files, its arrays, and the order of its examples."""
