"""A trained model in use: pictures in, labels with probabilities out."""
