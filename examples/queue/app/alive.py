#!/usr/bin/python3
"""
The worker's health command: ends with 0 when the worker has said lately that it is alive, otherwise with 1.

Podman asks for the first time while the container starts, and the next time much later: so it waits for a first sign.
"""

import os
import sys
import time

from jobs import Queue, Settings, SettingsError, Unavailable

PATIENCE = 5  # seconds; what a worker needs to start, and less than a health command may take


def reason(queue, patience=PATIENCE):
    """Return why the worker does not count as alive, or None."""
    deadline = time.monotonic() + patience
    while True:
        try:
            if queue.worker_is_alive():
                return None
            problem = "no sign of life in Valkey"
        except Unavailable as error:
            problem = str(error)
        if time.monotonic() > deadline:
            return problem
        time.sleep(0.2)


def main():
    """Look for the worker's sign of life."""
    try:
        settings = Settings.read(os.environ)
    except SettingsError as error:
        sys.exit(f"worker: {error}")
    problem = reason(Queue(settings.url, settings.prefix))
    if problem:
        sys.exit(f"worker: {problem}")


if __name__ == "__main__":
    main()
