"""
Jobs for several hosts, each answer as it comes.

Whoever is switched off, or dies at work, is waited for no longer than Salt needs to find that out (``timeout`` and
``gather_job_timeout`` of the master); who is at work, as long as that takes.
"""

import time

PAUSE = 0.02  # seconds between two looks at what has come; as in Salt's own batch mode


def ask(client, jobs, patient=True):
    """
    Send jobs, all at once, and yield ``(id, answer)`` as answers come; the answer of a host that gave none is None.

    client
        Salt's ``LocalClient``.

    jobs
        ``[{"jid", "hosts", "function", "arguments", "keywords"}]``, of different hosts.

    patient
        Whether a host that does not answer is asked again if it is at work. It may be too busy to hear the first time.
    """
    left = {host for job in jobs for host in job["hosts"]}

    def fresh(answers):
        for host, answer in answers.items():
            if isinstance(answer, dict) and "ret" in answer and host in left:
                left.remove(host)
                yield host, answer

    yield from _drained([_sent(client, job) for job in jobs], fresh)
    yield from _kept(client, jobs, left, fresh)
    late = [job for job in jobs if patient and left & set(job["hosts"])]
    yield from _drained([_waited_for(client, job, left & set(job["hosts"])) for job in late], fresh)
    yield from _kept(client, late, left, fresh)
    for host in sorted(left):
        yield host, None


def _sent(client, job):
    return client.cmd_iter_no_block(
        job["hosts"],
        job["function"],
        job["arguments"],
        tgt_type="list",
        kwarg=job["keywords"],
        jid=job["jid"],
    )


def _waited_for(client, job, missing):
    return client.get_iter_returns(job["jid"], missing, tgt=sorted(missing), tgt_type="list", block=False)


def _kept(client, jobs, left, fresh):
    """What has come while nobody listened is in the master's job cache."""
    for job in jobs:
        if left & set(job["hosts"]):
            yield from fresh(client.get_cache_returns(job["jid"]))


def _drained(streams, fresh):
    while streams:
        idle = True
        for stream in list(streams):
            try:
                answers = next(stream)
            except StopIteration:
                streams.remove(stream)
                continue
            if answers:
                idle = False
                yield from fresh(answers)
        if idle and streams:
            time.sleep(PAUSE)
