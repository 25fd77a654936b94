"""One setting with several seeds, each evaluated on the test set."""
