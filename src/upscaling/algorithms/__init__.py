"""From what a user names to an algorithm that is pinned into the plan."""
