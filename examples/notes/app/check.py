#!/usr/bin/python3
"""
The container's health command: ends with 0 when ``/health`` answers 200, otherwise with 1 and what it answered.
"""

import http.client
import os
import sys

TIMEOUT = 10  # seconds; above what the two stores may take together


def main():
    """Ask the application in this container."""
    listen = os.environ.get("LISTEN", "127.0.0.1")
    host = "127.0.0.1" if listen in ("", "*", "0.0.0.0") else listen  # noqa: S104  compared, not bound
    connection = http.client.HTTPConnection(host, int(os.environ.get("PORT", "8080")), timeout=TIMEOUT)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        print(answer.read().decode().strip())
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"notes does not answer: {error}")
    sys.exit(answer.status != 200)


if __name__ == "__main__":
    main()
