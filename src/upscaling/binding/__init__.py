"""Fill an algorithm's parameters from a tile, a time step and a row of parameter values."""
