"""
The catalogue as a condition: no service is touched while an entry is wrong.
"""

from salt.exceptions import CommandExecutionError


def valid(name):
    """
    Fail with everything that is wrong in the catalogue, unless nothing is.

    name
        A title. What requires this state does not run on entries that are wrong.

    Nothing is changed, so it is the same in test mode.

    .. code-block:: yaml

        The catalogue is valid:
          catalogue.valid: []
    """
    try:
        problems = __salt__["catalogue.problems"]()
    except CommandExecutionError as error:
        return __utils__["results.failed"](name, str(error))
    if problems:
        return __utils__["results.failed"](name, "\n".join(problems))
    return __utils__["results.unchanged"](name, __salt__["catalogue.check"]())
