"""
The verification as a table for people; ``--out=json`` gives the same as data.
"""

MARKS = {True: "ok", False: "FAIL"}


def output(data, **_options):
    """
    Return the checks of ``verify.host`` as a table, one line each, and how many passed and failed.
    """
    return "\n".join(_host(name, result) for name, result in data.items())


def _host(name, result):
    if not isinstance(result, dict) or "checks" not in result:
        return f"{name}: {result}"
    checks = result["checks"]
    width = max((len(check["name"]) for check in checks), default=0)
    lines = [f"{name}:"]
    for check in checks:
        detail = " / ".join(check["detail"].splitlines())  # systemd's words may have several
        lines.append(f"  {MARKS[check['passed']]:<4}  {check['name']:<{width}}  {detail}".rstrip())
    failed = sum(not check["passed"] for check in checks)
    lines.append(f"  {len(checks) - failed} passed, {failed} failed")
    return "\n".join(lines)
