"""What an estimate rests on: expected work, finished jobs, earlier runs, stated prices."""
