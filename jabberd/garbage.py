"""How often Python looks for garbage: objects that only hold each other (all others go at once).

Out of the box it looks after every 700 objects more, and now and then through all there are.  What waits for
a commit or for an acknowledgement is thousands of objects, and none of them garbage: under load these looks
were a tenth of what an archived message cost, and one through all that is imported is a pause for everybody.
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["look_rarely"]

#: Objects that are more than at the last look: some MiB, if all of them were garbage.
YOUNG: Final = 10_000


def look_rarely() -> None:
    """Look after `YOUNG` objects more, and never again at what is there now, which stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)
