"""What a model is, and one step of its training: logits, losses, gradients."""
