"""openEO platforms: one batch job per tile."""
