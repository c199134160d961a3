"""Configuration to plan: the tiles, the other dimensions, and every tile's parameters."""
