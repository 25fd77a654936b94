"""What the trials of a sweep have found: ranked, averaged, drawn, promoted."""
