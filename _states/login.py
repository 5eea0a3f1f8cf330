"""
Logins of services: what Authentik has of each, as its entry says (``auth``).

.. code-block:: yaml

    Service notes has its login:
      login.present:
        - name: notes
        - auth: __slot__:salt:catalogue.part(notes, auth)

    Other services have no login:
      login.absent:
        - services: [wiki]

One state for all objects of a service, since they only make sense together. If Authentik does not answer, the state
fails with the reason; a site that asks for a login stays closed until it does.
"""


def present(name, auth):
    """
    Ensure Authentik has what a service's login needs, and nothing that it needed before: groups, policies, scopes,
    provider, application, bindings, accounts of programs.

    name
        The service.

    auth
        Its resolved ``auth``, as ``catalogue.part`` returns it.

    Objects of these names that are not the service's are refused.

    .. code-block:: yaml

        Service notes has its login:
          login.present:
            - name: notes
            - auth: __slot__:salt:catalogue.part(notes, auth)
    """
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["login.differences"](name, auth),
        apply=lambda: __salt__["login.apply"](name, auth),
        fine=f"Service {name} has its login",
    )


def absent(name, services):
    """
    Ensure Authentik has nothing of some services: neither groups nor objects, nor accounts of programs.

    name
        Anything.

    services
        Names of services. Who was in their groups is told in the changes.

    .. code-block:: yaml

        Other services have no login:
          login.absent:
            - services: [wiki]
    """

    def gone():
        return [service for service in __salt__["login.owners"]() if service in services]

    def differences():
        return {
            f"{service}: {thing}": change
            for service in gone()
            for thing, change in __salt__["login.remnants"](service).items()
        }

    def apply():
        for service in gone():
            __salt__["login.remove"](service)

    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=differences,
        apply=apply,
        fine="No other service has a login",
    )
