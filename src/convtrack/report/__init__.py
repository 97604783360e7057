"""Tables for the terminal and pictures, made only from the files that the stages wrote."""
