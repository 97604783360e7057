"""What a training is made of, one idea per file; stages/train.py puts them together."""
