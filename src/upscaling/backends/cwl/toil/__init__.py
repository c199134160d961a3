"""Patches of Toil, and what its batch systems want."""
