"""
A PostgreSQL that is not the tree's: a second cluster on a lab machine, reached by TLS on an address of its own.
"""

import json

HOST, ADDRESS, PORT = "db.example.test", "198.51.100.5", 6432
ADMINISTRATOR, PASSWORD = "rick", "planted-password-of-the-administrator"
PASSWORD_FILE, AUTHORITY_FILE = "/etc/rick-infra/db.key", "/etc/ssl/outside-ca.crt"
SETTINGS = {"port": PORT, "user": ADMINISTRATOR, "password": {"file": PASSWORD_FILE}, "authority": AUTHORITY_FILE}
FOLDER = "/etc/outside"


class Outside:
    """The server on a machine whose infrastructure is converged."""

    def __init__(self, machine, authority):
        self.machine, self.authority = machine, authority
        self.version = machine.salt("catalogue.infrastructure", "postgresql")["version"]
        # Of no interface's network: pods reach it as they would another host, by their gateway.
        machine.run("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo")
        machine.sh(f"echo '{ADDRESS} {HOST}' >> /etc/hosts")
        machine.run("pg_createcluster", self.version, "outside", f"--port={PORT}", "--", "--locale=C.UTF-8")
        folder = f"/etc/postgresql/{self.version}/outside"
        machine.write(
            f"{folder}/conf.d/outside.conf",
            f"listen_addresses = '{ADDRESS}'\nssl = on\n"
            f"ssl_cert_file = '{FOLDER}/server.crt'\nssl_key_file = '{FOLDER}/server.key'\n",
        )
        machine.write(f"{folder}/pg_hba.conf", "local all postgres peer\nhostssl all all 0.0.0.0/0 scram-sha-256\n")
        self.show(*authority.issue(HOST), running=False)
        machine.run("systemctl", "start", f"postgresql@{self.version}-outside")
        self.sql(f"CREATE ROLE {ADMINISTRATOR} LOGIN CREATEROLE CREATEDB PASSWORD '{PASSWORD}'")
        machine.write(PASSWORD_FILE, f"{PASSWORD}\n")
        machine.run("chmod", "600", PASSWORD_FILE)
        self.trust(authority)

    def show(self, certificate, key, running=True):
        """Have the server show a certificate."""
        self.machine.write(f"{FOLDER}/server.crt", certificate)
        self.machine.write(f"{FOLDER}/server.key", key)
        self.machine.sh(f"chown postgres {FOLDER}/server.key; chmod 600 {FOLDER}/server.key")
        if running:
            self.machine.run("systemctl", "reload", f"postgresql@{self.version}-outside")

    def trust(self, authority):
        """Have the host know the server by another authority. The file stays the same one, as containers see it."""
        self.machine.write(AUTHORITY_FILE, authority.certificate)

    def settings(self, **changed):
        """Tell the tree of the server."""
        servers = {HOST: {**SETTINGS, **changed}}
        self.machine.write(
            "/etc/rick-infra/pillar/site.sls", json.dumps({"rick": {"postgresql": {"servers": servers}}})
        )

    def sql(self, statement, database="postgres"):
        """What a statement answers to the server's superuser."""
        command = ["runuser", "-u", "postgres", "--", "psql", "-qAt", f"-p{PORT}", "-d", database]
        return self.machine.run(*command, "-v", "ON_ERROR_STOP=1", "-c", statement).stdout.strip()
