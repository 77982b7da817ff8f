"""Generations and their checkpoints on disk: what counts, what is proven, what may go. Standard library only."""
