"""Where tiles run: one module per kind of platform, behind the protocol in ``base``."""
