"""What the operating system is asked in one place: processes, files that are written whole, locks."""
