"""What a person asks of runs: submit, resume, cancel; and the dispatch of an attempt."""
