"""What XMPP is, without any input or output: nothing here imports Twisted or another part of jabberd."""
