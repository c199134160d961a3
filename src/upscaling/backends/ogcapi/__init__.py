"""OGC API - Processes servers: one job per tile."""
