"""
The hosts of a fleet behind Salt's client, for tests of what a master does with their answers.
"""

FINE = {"pod_|-x_|-x_|-healthy": {"result": True, "changes": {}, "__run_num__": 0, "__id__": "x", "comment": ""}}
BROKEN = {
    "pod_|-x_|-x_|-healthy": {
        "result": False,
        "changes": {"x": "restarted"},
        "__run_num__": 0,
        "__id__": "Service notes is healthy",
        "comment": "notes is not healthy",
    }
}
ANSWERS = {
    "catalogue.problems": [],
    "fleet.problems": [],
    "barrier.problems": [],
    "state.running": [],
    "state.apply": FINE,
    "state.highstate": FINE,
    "verify.host": {"passed": True, "checks": []},
    "verify.service": {"passed": True, "checks": []},
    "daemon.status": {},
}


class Hosts:
    """The client, and all hosts behind it. ``answer(host, function)`` may return None: nobody is there."""

    def __init__(self):
        self.jobs = []
        self.odd = {}

    def answer(self, host, function):
        answer = self.odd.get((host, function), self.odd.get(host, ANSWERS.get(function, True)))
        if answer is None:
            return None
        return {"ret": answer, "retcode": 2 if answer is BROKEN else 0}

    def cmd_iter_no_block(self, hosts, function, arguments, **options):
        self.jobs.append((function, sorted(hosts), list(arguments), options["kwarg"]))
        for host in hosts:
            answer = self.answer(host, function)
            yield {host: answer} if answer else {}

    def get_iter_returns(self, *_arguments, **_options):
        return iter(())

    def get_cache_returns(self, _jid):
        return {}

    def cmd(self, hosts, function, _arguments, **_options):
        answers = {host: self.answer(host, function) for host in hosts}
        return {host: answer["ret"] if answer else False for host, answer in answers.items()}

    def sent(self, *functions):
        """The jobs of some functions, ``(function, hosts)``, in their order."""
        return [(function, hosts) for function, hosts, _, _ in self.jobs if function in functions]
