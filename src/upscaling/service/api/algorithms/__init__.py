"""Algorithms for the page: the catalogue, descriptions, uploads."""
