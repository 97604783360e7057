"""The parts of a training, one idea per module; stages/train.py combines them."""
