"""Who may do what: tokens, the log-in of the page, limits of requests."""
