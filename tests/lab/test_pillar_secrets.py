"""
Secrets that the pillar has encrypted, or elsewhere: what the guide says, done as it says.
"""

import pytest
from machine import LISTENER

PILLAR = "/etc/rick-infra/pillar/site.sls"
KEYS = "/etc/salt/gpgkeys"
STORE, PROFILE = "/etc/rick-infra/passwords.yaml", "/etc/salt/minion.d/60-passwords.conf"
VALUES = {"SMTP_PASSWORD": 'pa$$ "wörd" %n', "API_KEY": "kept elsewhere"}
ENTRY = {
    **LISTENER,
    "host_port": 8098,
    "secrets": {"smtp": {"pillar": "smtp:password"}, "api": {"pillar": "api:key"}},
    "env": {"SMTP_PASSWORD": "{secret.smtp}", "API_KEY": "{secret.api}"},
}
MAKE_KEY = "gpg --homedir {} --batch --passphrase '' --quick-generate-key rick-infra default default never"
ENCRYPT = "gpg --homedir {} --armor --encrypt --recipient rick-infra"


@pytest.fixture(scope="module")
def host(main_machine):
    main_machine.run("apt-get", "install", "--yes", "--quiet", "gnupg")
    main_machine.run("install", "-d", "-m", "0700", KEYS)
    main_machine.sh(MAKE_KEY.format(KEYS))
    smtp, api = (indented(main_machine.sh(ENCRYPT.format(KEYS), text=value)) for value in VALUES.values())
    main_machine.write(PILLAR, f"#!yaml|gpg\nsmtp:\n  password: |\n{smtp}\napi:\n  key: sdb://passwords/api:key\n")
    main_machine.write(STORE, f"api:\n  key: |\n{api}\n")
    main_machine.write(PROFILE, f"passwords:\n  driver: yaml\n  files: [{STORE}]\n  gpg: true\n")
    main_machine.sh(f"chmod 600 {PILLAR} {STORE}")
    main_machine.declare("mailer", ENTRY)
    main_machine.converge()
    yield main_machine
    main_machine.remove("mailer")
    # -f: the agent is only told to end, and takes its own sockets away at the same time
    main_machine.sh(f"gpgconf --homedir {KEYS} --kill all; rm -rf {KEYS} {PILLAR} {STORE} {PROFILE}")


def indented(text):
    return "\n".join(f"    {line}" for line in text.splitlines())


def test_values_arrive_as_they_were_encrypted(host):
    for variable, value in VALUES.items():
        assert host.sh(f"podman exec mailer-web sh -c 'printf %s \"${variable}\"'") == value
    assert host.apply().changed == set()


def test_what_cannot_be_decrypted_stops_the_run_and_delivers_nothing(host):
    before = host.invocations("mailer-*.service")
    host.sh(f"gpgconf --homedir {KEYS} --kill all; mv {KEYS} {KEYS}.away")
    try:
        done = host.run("salt-call", "--log-level=error", "state.highstate", check=False)
    finally:
        host.sh(f"mv {KEYS}.away {KEYS}")
    assert done.returncode != 0
    assert "Pillar failed to render" in done.stdout
    assert "Could not decrypt" in done.stderr
    assert host.invocations("mailer-*.service") == before
    assert host.apply().changed == set()
