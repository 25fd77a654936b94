"""What a user sets: params.yaml, conf/ and the command line, composed, checked and explained."""
