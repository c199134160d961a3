"""Tiles and results as outlines and pictures."""
