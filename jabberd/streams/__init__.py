"""How bytes arrive and leave: client and server streams, TLS, DNS."""
