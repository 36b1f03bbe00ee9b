"""One file per extension of the protocol (XEP)."""
