"""Helpers that know nothing of Earth observation: files, text, locks."""
