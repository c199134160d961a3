"""Run tiles: one, several in one job, or all of a run in one process."""
