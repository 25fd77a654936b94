"""What the trials of a sweep have said: ranked, averaged, drawn, promoted."""
