"""The public test kit: whole conversations in memory, with no socket, no running reactor, no real time.

A test reads like a play.  With ``pytest_plugins = ["jabberd.testing.fixtures"]`` in its ``conftest.py``
it gets a `Network` by asking for ``network``; this one makes its own:

>>> from jabberd.testing import Network
>>> network = Network()
>>> romeo = network.client("romeo@montague.lit/orchard")
>>> juliet = network.client("juliet@capulet.lit/balcony")

Accounts and servers are made as they are needed; servers that shall reach each other by real streams are
started by ``network.serve("montague.lit", federate=True)``.  What a client sends has been answered when
`send` returns; what it hears must be exactly what the test says, but ``*`` stands for any value:

>>> romeo.send("<message to='juliet@capulet.lit' type='chat' id='m1'><body>hi!</body></message>")
>>> juliet.receives('''
...     <message from='romeo@montague.lit/orchard' to='juliet@capulet.lit' type='chat' id='*'>
...       <body>hi!</body>
...     </message>''')
True
>>> answer = juliet.ask("<iq to='capulet.lit' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
>>> answer.get("type")
'result'

``network.component("sms.montague.lit")`` is a component (XEP-0114), for whose domain the server was started
with ``components=["sms.montague.lit"]``.

The module under test is switched on by `Network.serve`, before its domain's first client comes:

>>> verona = network.serve("verona.lit", modules={"time": {}})
>>> escalus = network.client("escalus@verona.lit/piazza")
>>> reply = escalus.ask("<iq to='verona.lit' type='get'><time xmlns='urn:xmpp:time'/></iq>")
>>> reply.findtext(".//{*}utc")
'1970-01-01T00:00:00Z'
>>> network.advance(60)  # nothing waits for real time
>>> network.close()
"""

from jabberd.testing.client import Client
from jabberd.testing.component import Component
from jabberd.testing.internet import Internet
from jabberd.testing.network import Network, Stranger
from jabberd.testing.wire import Pipe, Wire

__all__ = ["Client", "Component", "Internet", "Network", "Pipe", "Stranger", "Wire"]
