"""Where tiles run: one folder per kind of platform, behind the protocol in ``base``."""
