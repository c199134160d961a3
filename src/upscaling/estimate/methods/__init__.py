"""How numbers are made of evidence: statistics, schedule, rough and measured estimates."""
