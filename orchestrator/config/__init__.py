"""Text with positions: YAML, JSON and hostfiles, bound to the types of `model`, edited and documented."""
