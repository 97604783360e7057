"""Tables for the terminal and pictures for people, made from the files that the stages wrote and from nothing else."""
