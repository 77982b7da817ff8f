"""From values to what a person or a script reads. Pure: the clock and the width of the terminal are arguments."""
