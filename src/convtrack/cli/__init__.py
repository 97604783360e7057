"""The commands. Each module has one group of them."""
