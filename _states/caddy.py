"""
Caddy's configuration and its sites: in its files and in the running Caddy, without a restart.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError


def configuration_present(name, text):
    """
    Ensure Caddy's own configuration is as given, and that a Caddy which runs has what its files say.

    name
        A title.

    text
        The Caddyfile. Its first line names the tree, or the file would be taken for somebody else's.

    What runs is compared at each run: a load that a killed run has missed, or a
    configuration that somebody posted to the admin API, is put right. A Caddy
    that does not answer on its socket reads the files when it starts, which
    comes after this state. A Caddyfile that was here before is kept as
    ``/etc/caddy/Caddyfile.before-rick-infra``.

    .. code-block:: yaml

        Caddy's configuration:
          caddy.configuration_present:
            - text: {{ caddyfile | json }}
            - require:
              - debian_packages: Caddy is installed
    """
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["caddy.configuration_differences"](text, check=__opts__["test"]),
        apply=lambda: __salt__["caddy.configuration_apply"](text),
        fine="Caddy has its configuration",
        plan="Caddy would get its configuration",
    )


def site_present(name, site):
    """
    Ensure Caddy serves a service's site.

    The site is tried together with all others, then the running Caddy gets it,
    then it is written to ``/etc/caddy/sites-enabled/NAME.caddy``. If Caddy
    refuses it, nothing has changed, and the state fails with Caddy's words.
    Whether the running Caddy has what the files say is seen to by
    ``caddy.configuration_present``, once for all sites.

    Headers that tell an application who its user is (``Remote-*``, and all with
    ``Authentik`` in their name) are taken out of every request. WebSockets work.

    name
        Name of the service.

    site
        A mapping. ``domains``: a list. ``upstream``: the service's port on the
        loopback, ``127.0.0.1:8080``. ``tls``: ``internal`` (the host's own
        authority, the default), ``acme`` (a public one), or ``{certificate:
        PATH, key: PATH}``, which root and Caddy can read and nobody else.
        ``max_body``: the largest request, for example ``10MB``.
        ``directives``: further lines, as in a Caddyfile. They stand before the
        application, in a route, so they work in the order in which they are
        written. ``stopped``: true if all requests are to be answered with 503.
        ``login``: a snippet of ``/etc/caddy/snippets`` through which all
        requests go, except those to ``health_path`` and ``public_paths``.

    .. code-block:: yaml

        Service notes has its site:
          caddy.site_present:
            - name: notes
            - site:
                domains: [notes.example.org]
                upstream: 127.0.0.1:20123
                tls: internal
            - require:
              - sls: infra.caddy
    """
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["caddy.site_differences"](name, site, check=__opts__["test"]),
        apply=lambda: __salt__["caddy.site_apply"](name, site),
        fine=f"Service {name} has its site",
        plan=f"Service {name} would have its site",
    )


def site_acceptable(name, site):
    """
    Fail if Caddy would not accept a service's site. Changes nothing.

    It belongs before the pod is changed: what Caddy refuses afterwards would leave the old site in front of a pod that
    has moved. Costs a process of Caddy's only for a site that differs. Before Caddy is installed, nobody can say.

    name, site
        As for ``caddy.site_present``.

    .. code-block:: yaml

        Service notes's site is acceptable:
          caddy.site_acceptable:
            - name: notes
            - site:
                domains: [notes.example.org]
                upstream: 127.0.0.1:20123
    """
    try:
        __salt__["caddy.site_differences"](name, site, plan=False)
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))
    return __utils__["results.unchanged"](name, f"Caddy has nothing against the site of service {name}")


def site_kept(name):
    """
    Ensure Caddy serves the site of a service's last healthy generation, while what its entry declares is refused.

    A site that it did not have then goes. A domain that another service's site has by now stays there.

    name
        Name of the service. Without a generation, nothing is done.

    .. code-block:: yaml

        Service notes keeps its site:
          caddy.site_kept:
            - name: notes
            - require:
              - sls: infra.caddy
    """
    try:
        kept = __salt__["generation.show"](name)
        if not kept:
            return __utils__["results.unchanged"](name, f"Service {name} has never been healthy")
        site = kept["site"] and __salt__["caddy.site_untaken"](name, kept["site"])
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))
    return site_present(name, site) if site else site_absent(name)


def site_absent(name):
    """
    Ensure Caddy serves no site of a service. A file of that name which this tree did not write stays.

    name
        Name of the service.

    .. code-block:: yaml

        Service notes has no site:
          caddy.site_absent:
            - name: notes
    """
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["caddy.site_remnants"](name),
        apply=lambda: __salt__["caddy.site_remove"](name),
        fine=f"Service {name} has no site",
        plan=f"Service {name} would have no site",
    )


def authorities_present(name, internal):
    """
    Ensure there is a file with all certificate authorities that a container may trust: those that this host trusts
    and, if asked for, its own, ``/etc/caddy/authorities/ca-certificates.crt``.

    name
        Anything.

    internal
        Whether Caddy's own authority (``tls: internal``) is one of them. It has to be there, which a site sees to.

    A container that has the directory sees a new file at once.

    .. code-block:: yaml

        Containers know whom to trust:
          caddy.authorities_present:
            - internal: true
    """
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["caddy.authorities_differences"](internal),
        apply=lambda: __salt__["caddy.authorities_apply"](internal),
        fine="Containers know whom to trust",
    )
