"""The process that looks after runs, and its tick."""
