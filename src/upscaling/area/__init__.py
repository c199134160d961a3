"""The area of interest, vector files, and outlines in longitude and latitude."""
