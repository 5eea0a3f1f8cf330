"""
Tell the master when a client group's socket, or its directory, is not what it must be.

.. code-block:: yaml

    # /etc/salt/minion.d/60-socket-drift.conf
    beacons:
      socket_drift:
        - interval: 60
        - again: 600

``interval`` is how often to look, ``again`` how many seconds there are at least from one event to the next, whatever
has drifted: what reacts to it runs no oftener than that. The event is ``salt/beacon/ID/socket_drift/drift`` with
``paths``, what is wrong by path; ``salt/reactor/socket_drift.sls`` reacts to it.
"""

import time

import salt.utils.beacons

AGAIN = 600  # seconds
# When it was told last, by the monotonic clock. A minion that starts anew may tell at once.
LAST: dict[str, float] = {}


def validate(config):
    """
    Return whether the configuration can be used, and why not.
    """
    if not isinstance(config, list) or not all(isinstance(one, dict) for one in config):
        return False, "beacons:socket_drift is a list of settings, such as [{interval: 60}, {again: 600}]"
    again = salt.utils.beacons.list_to_dict(config).get("again", AGAIN)
    if isinstance(again, bool) or not isinstance(again, (int, float)) or again <= 0:
        return False, f"beacons:socket_drift:again: {again!r} is not a number of seconds above 0"
    return True, "valid"


def beacon(config):
    """
    Look at the sockets, and return an event if something is wrong and the last event is long enough ago.
    """
    again = salt.utils.beacons.list_to_dict(config).get("again", AGAIN)
    now = time.monotonic()
    if "told" in LAST and now - LAST["told"] < again:
        return []
    paths = __salt__["barrier.drift"]()
    if not paths:
        return []
    LAST["told"] = now
    return [{"tag": "drift", "paths": paths}]
