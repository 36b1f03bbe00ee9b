"""The Jabber Session Manager: what a domain does for its users (RFC 6121)."""
