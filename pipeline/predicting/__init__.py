"""Examples that somebody asks a trained model about."""
