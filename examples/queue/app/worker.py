#!/usr/bin/python3
"""
The worker: takes one text after the other from the queue, counts its words, and stores what it found.

It can start before Valkey and outlives its restarts. SIGTERM ends it at once: a job that it had taken is done by the
next worker.
"""

import hashlib
import logging
import os
import re
import signal
import sys
import time
from collections import Counter

from jobs import Queue, Settings, SettingsError, Unavailable

WAIT = 5  # seconds for a job; above all less than what a worker may be silent
RETRY = 1  # seconds until Valkey is asked again
FREQUENT = 3  # words

log = logging.getLogger("worker")


def examine(text):
    """Return what there is to say about a text: a mapping of names to text and numbers."""
    begun = time.perf_counter()
    words = re.findall(r"\w+", text)
    frequent = Counter(word.casefold() for word in words).most_common(FREQUENT)
    return {
        "words": len(words),
        "lines": len(text.splitlines()),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "frequent": ", ".join(f"{word} ({times})" for word, times in frequent),
        "milliseconds": f"{(time.perf_counter() - begun) * 1000:.2f}",
    }


def run(queue, pause=time.sleep):
    """Work until a signal ends the program; ``pause`` is called with seconds while Valkey is away."""
    connected = None
    while True:
        try:
            if not connected:
                # Also after a lost connection: Valkey may have given us a job that never arrived.
                put_back = queue.put_back()
                log.info("connected to Valkey, %d jobs to do again", put_back)
                connected = True
            queue.beat()
            taken = queue.take(WAIT)
            if taken:
                job, text = taken
                queue.finish(job, examine(text))
                log.info("job %s is done", job)
        except Unavailable as error:
            if connected is not False:  # once, not every second
                log.warning("%s; trying until it answers", error)
            connected = False
            pause(RETRY)


def _end(_signal, _frame):
    # PID 1 has no default action for SIGTERM. Raising here ends the wait for a job, too.
    raise SystemExit(0)


def main():
    """Work until SIGTERM."""
    signal.signal(signal.SIGTERM, _end)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = Settings.read(os.environ)
    except SettingsError as error:
        sys.exit(f"worker: {error}")
    run(Queue(settings.url, settings.prefix))


if __name__ == "__main__":
    main()
