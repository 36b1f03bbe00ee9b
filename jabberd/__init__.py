"""jabberd: a federated XMPP server on Twisted.

The map (``docs/tour.md`` has it with pictures):

- ``interfaces``  all the seams between the parts, on one page
- ``xmpp/``       what XMPP is, without input or output
- ``streams/``    how bytes arrive and leave: client streams, server streams, TLS, DNS
- ``router``      whose domain is it?
- ``jsm/``        what a domain does for its users: accounts, sessions, roster, presence, delivery
- ``api``         all that a module imports;  ``loader``, ``registry``  find modules and bind them
- ``modules/``    one file per extension
- ``storage/``    three kinds of store, on SQLite, PostgreSQL or memory
- ``config``      TOML to typed settings;  ``settings``  what they are;  ``typed``  how they are read
- ``service``     puts everything together;  ``services``  start and end in order
- ``tap``         what ``twistd jabberd`` starts
- ``admin``       the operator's verbs;  ``ctl``  the ``jabberctl`` command;  ``table``  answers as text
- ``manhole/``    a prompt inside the server, over SSH
- ``logs``        what is logged, and how;  ``measure``  what is counted
- ``web``         pages over HTTP;  ``metrics``  the one for Prometheus
- ``testing``     servers in memory, for authors of clients and modules
"""

__version__ = "0.1.0"
