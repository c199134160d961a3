"""What a run will cost and when it is done, before it is paid; and whether it is possible at all."""
