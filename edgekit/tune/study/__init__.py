"""Comparisons of fine-tuning methods on nano generators: a drawn world, bases that know it, arms and seeds."""
