"""
The phases of a roll-out as states of an orchestration on the master: ``salt-run state.orchestrate orch.deploy``.

A phase is for the runner ``rollout`` to go through. Here its outcome becomes a state's, so that Salt stops after the
first one that fails, shows what has to be shown, and ends with an exit code that is not zero.
"""

import salt.loader
import salt.utils.jid
from salt.exceptions import CommandExecutionError, SaltInvocationError

RUNNERS = "rollout.runners"
IDENTITY = "rollout.identity"
ERRORS = (CommandExecutionError, SaltInvocationError)


def begun(name, kind):
    """
    Begin a roll-out: it is the only one until it is over, and what was asked for can be done.

    name
        A title.

    kind
        ``deploy``, ``upgrade``, ``drain`` or ``undrain``. The options are in the pillar of the orchestration.

    In test mode, says who would do what in which order, and asks no host.

    .. code-block:: yaml

        The roll-out is begun:
          rollout.begun:
            - kind: deploy
    """
    try:
        if __opts__["test"]:
            found = _runner("plan", kind=kind, pillar=_options())
            problems, comment = found["problems"], found["text"]
        else:
            problems = _runner("begin", rollout=_identity(), kind=kind, pillar=_options())
            comment = f"{kind} {_identity()} is begun"
    except ERRORS as error:
        return __utils__["results.failed"](name, str(error))
    if problems:
        return __utils__["results.failed"](name, "\n".join(problems))
    if __opts__["test"]:
        return __utils__["results.planned"](name, {}, comment)
    return __utils__["results.unchanged"](name, comment)


def phase(name):
    """
    Go through a phase. If a host fails in it, the roll-out is over.

    name
        One of those of ``rollout.phase``, the runner's function.

    .. code-block:: yaml

        Every host answers:
          rollout.phase:
            - name: answers
            - require:
              - rollout: The roll-out is begun
            - failhard: True
    """
    if __opts__["test"]:
        return __utils__["results.unchanged"](name, f"{name} would follow")
    try:
        found = _runner("phase", rollout=_identity(), name=name)
    except ERRORS as error:
        return __utils__["results.failed"](name, str(error))
    if found["passed"]:
        return __utils__["results.unchanged"](name, f"{name} passed")
    return __utils__["results.failed"](name, found["verdict"])


def ended(name):
    """
    End a roll-out of which every phase has passed, and say how it went.

    name
        A title.

    .. code-block:: yaml

        The roll-out is over:
          rollout.ended:
            - require:
              - rollout: Everything is verified
    """
    if __opts__["test"]:
        return __utils__["results.unchanged"](name, "the roll-out would be over")
    try:
        verdict = _runner("end", rollout=_identity())
    except ERRORS as error:
        return __utils__["results.failed"](name, str(error))
    # With changes, Salt shows the state whatever it was told to leave out.
    return __utils__["results.changed"](name, {"roll-out": _identity()}, verdict)


def _runner(function, **keywords):
    """
    What a function of the runner ``rollout`` returns.

    Loaded here, and not called by ``saltutil.runner``: that makes a client and a minion of its own each time, which
    takes half a second and leaves them open.
    """
    if RUNNERS not in __context__:
        # Salt merges this pillar, in which is what was said to the orchestration, into each that it compiles
        # (ssh_merge_pillar): the site would seem to have said it.
        opts = {**__opts__, "pillar": {}}
        __context__[RUNNERS] = salt.loader.runner(opts, utils=salt.loader.utils(opts), context={})
    return __context__[RUNNERS][f"rollout.{function}"](**keywords)


def _identity():
    return __context__.setdefault(IDENTITY, salt.utils.jid.gen_jid(__opts__))


def _options():
    return {key: value for key, value in __pillar__.items() if key not in ("rick", "secrets")}
