"""
The firewall between pods and other hosts, as the kernel has it.
"""


def loaded(name, rules):
    """
    Ensure that pods answer other hosts by published ports only, now and after a boot.

    name
        A title.

    rules
        The file whose rules ``rick-infra-pod-firewall.service`` loads.

    Compares live facts: rules that somebody flushed or changed are loaded again, and so are Podman's own, without
    which published ports lead nowhere.

    .. code-block:: yaml

        Pods answer other hosts by published ports only:
          pod_firewall.loaded:
            - rules: /etc/rick-infra/pod-firewall.nft
    """
    planned = __utils__["results.planned_files"](__running__, [rules]) if __opts__["test"] else []

    def differences():
        wrong = [f"{path} changes" for path in planned] or __salt__["pod_firewall.problems"](rules)
        return {"rules": {"old": "; ".join(wrong), "new": "loaded"}} if wrong else {}

    return __utils__["results.converge"](
        name, __opts__["test"], differences, __salt__["pod_firewall.load"], f"The kernel has the rules of {rules}"
    )
