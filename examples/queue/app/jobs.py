"""
The queue and its results, in Valkey: what the page and the worker share.

A job is a hash that expires. Its id waits in a list, moves to a second one while the worker has it, and leaves that one
together with the result: a worker that dies in between loses nothing. Each call opens a connection of its own, so
nothing is kept that a restart of Valkey could leave dead.
"""

import os
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

TIMEOUT = 3  # seconds; a Valkey that takes longer counts as unavailable
KEPT = 3600  # seconds; then a job and its result are forgotten
SHOWN = 20  # jobs on the page
MOST_WAITING = 100  # jobs; a queue that nobody empties must not fill the cache that all services share
ALIVE = 15  # seconds; a worker that has not been heard of for longer counts as gone


class Unavailable(Exception):
    """Valkey does not answer or refuses. The text is for the log, not for visitors."""


class Full(Exception):
    """Too many jobs are waiting."""


class SettingsError(Exception):
    """The environment lacks a setting or has one that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """The settings, as the environment gives them (see the README)."""

    url: str = field(repr=False)  # carries a password
    prefix: str = "queue:"
    listen: str = "127.0.0.1"
    port: int = 8080

    @classmethod
    def read(cls, environment):
        """Return the settings found in ``environment``. Raises ``SettingsError`` that lists everything wrong."""
        get = environment.get
        wrong = []
        if not get("VALKEY_URL"):
            wrong.append("VALKEY_URL is not set")
        else:
            try:
                parse_url(get("VALKEY_URL"))
            except ValueError:  # its text may quote the password
                wrong.append("VALKEY_URL is not an address such as unix://USER:PASSWORD@/run/valkey/valkey.sock")
        port = get("PORT") or str(cls.port)
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            wrong.append(f"PORT is not a port number: {port!r}")
        if wrong:
            raise SettingsError("; ".join(wrong))
        return cls(
            url=get("VALKEY_URL"),
            prefix=get("VALKEY_PREFIX", cls.prefix),
            listen=get("LISTEN") or cls.listen,
            port=int(port),
        )


class Queue:
    """
    The jobs that wait, the one that is worked on, and the results.

    url
        Where Valkey is and who we are there, as redis-py reads it:
        ``unix://USER:PASSWORD@/run/valkey/valkey.sock``.

    prefix
        What all our keys begin with, such as ``queue:``; the ACL user may touch no others.

    connect
        What opens a client: ``redis.Redis.from_url``, or a test's double.

    Every method raises ``Unavailable`` when Valkey does not answer or refuses.
    """

    def __init__(self, url, prefix, connect=redis.Redis.from_url):
        self._url = url
        self._connect = connect
        self._prefix = prefix
        self._waiting, self._working, self._recent, self._worker = (
            f"{prefix}{name}" for name in ("waiting", "working", "recent", "worker")
        )

    def submit(self, text):
        """Put ``text`` into the queue and return its job's id. Raises ``Full``."""
        job = secrets.token_hex(8)
        with self._client() as client:
            if client.llen(self._waiting) >= MOST_WAITING:
                raise Full(f"{MOST_WAITING} jobs are waiting")
            with client.pipeline(transaction=True) as all_or_nothing:
                all_or_nothing.hset(self._job(job), mapping={"text": text, "submitted": f"{time.time():.3f}"})
                all_or_nothing.expire(self._job(job), KEPT)
                all_or_nothing.lpush(self._recent, job)
                all_or_nothing.ltrim(self._recent, 0, SHOWN - 1)
                all_or_nothing.expire(self._recent, KEPT)
                all_or_nothing.lpush(self._waiting, job)
                all_or_nothing.execute()
        return job

    def jobs(self):
        """
        Return the newest jobs first, those that have expired left out.

        Each is a mapping with ``id``, ``text``, ``submitted`` (seconds since 1970, as text) and, once it is done,
        what the worker found.
        """
        with self._client() as client:
            names = client.lrange(self._recent, 0, -1)
            with client.pipeline(transaction=False) as questions:
                for name in names:
                    questions.hgetall(self._job(name))
                answers = questions.execute()
        return [{"id": name, **answer} for name, answer in zip(names, answers, strict=True) if "text" in answer]

    def take(self, wait):
        """
        Wait up to ``wait`` seconds for a job; return its id and text, or None.

        The job stays ours, in the list of what is worked on, until ``finish`` or ``put_back``.
        """
        with self._client(wait) as client:
            job = client.blmove(self._waiting, self._working, wait, "RIGHT", "LEFT")
            if job is None:
                return None
            text = client.hget(self._job(job), "text")
            if text is None:  # it has expired while it waited
                client.lrem(self._working, 1, job)
                return None
            return job, text

    def finish(self, job, result):
        """Store the result (a mapping of text and numbers) of a job that was taken."""
        with self._client() as client, client.pipeline(transaction=True) as all_or_nothing:
            all_or_nothing.hset(self._job(job), mapping=result)
            all_or_nothing.expire(self._job(job), KEPT)
            all_or_nothing.lrem(self._working, 1, job)
            all_or_nothing.execute()

    def put_back(self):
        """
        Let what a worker had taken when it ended wait again, at the front; return how many there were.

        There is one worker. A second one's start would have the first one's current job done twice, with one result.
        """
        jobs = 0
        with self._client() as client:
            while client.lmove(self._working, self._waiting, "LEFT", "RIGHT"):
                jobs += 1
        return jobs

    def beat(self):
        """Say that the worker is alive."""
        with self._client() as client:
            client.set(self._worker, os.getpid(), ex=ALIVE)

    def worker_is_alive(self):
        """Return whether the worker has been heard of lately."""
        with self._client() as client:
            return bool(client.exists(self._worker))

    def check(self):
        """Write a value, read it back and remove it."""
        token = secrets.token_hex(8)
        key = f"{self._prefix}health:{token}"
        with self._client() as client:
            client.set(key, token, ex=KEPT)
            answer = client.getdel(key)
        if answer != token:
            raise Unavailable(f"Valkey: {key} was written but not read back")

    def _job(self, name):
        return f"{self._prefix}job:{name}"

    @contextmanager
    def _client(self, wait=0):
        try:
            with self._connect(
                self._url,
                decode_responses=True,
                socket_timeout=TIMEOUT + wait,
                socket_connect_timeout=TIMEOUT,
                # The library's own retries wait for seconds; whoever calls decides whether to try again.
                retry=Retry(NoBackoff(), 0),
            ) as client:
                yield client
        except redis.RedisError as error:
            raise Unavailable(f"Valkey: {error}") from error
