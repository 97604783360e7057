"""Labels and probabilities in, numbers out."""
