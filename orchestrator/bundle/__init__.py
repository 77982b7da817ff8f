"""What a job is made of: templates, library, archive."""
