"""What a job names on this machine: a model's configuration, its code, local files."""
