"""
Print every TCP port that anything listens on while this runs, each once: also one that was open for a moment only.
"""

import sys
import time
from pathlib import Path

LISTEN = "0A"  # include/net/tcp_states.h


def listening():
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            if state == LISTEN:
                yield int(local.rpartition(":")[2], 16)


seen = set()
while True:
    for port in set(listening()) - seen:
        seen.add(port)
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
    time.sleep(0.01)
