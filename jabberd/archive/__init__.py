"""An archive of messages (XEP-0313) as it is read and kept, whoever owns it: an account or a room."""
