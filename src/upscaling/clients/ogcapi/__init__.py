"""A thin client of OGC API - Processes: requests, dialects, log-in."""
