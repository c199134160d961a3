"""One tile's work on a platform: receipts, submit or attach, failures. Knows no particular platform."""
