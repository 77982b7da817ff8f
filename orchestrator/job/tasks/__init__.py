"""What every rank of a function job runs, and where it leaves what it made. Travels with the job."""
