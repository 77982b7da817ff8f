"""What follows from what was seen. Pure: the clock and the observation are arguments."""
