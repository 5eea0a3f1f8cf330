"""
Each check of the verification that says "refused" or "right", with the protection taken away: it must fail then.
"""

import pytest

# What is done to the machine, and the beginning of the names of the checks that must notice.
WITHOUT_PROTECTION = [
    (
        "chmod 2755 /run/postgresql; chmod 0777 /run/postgresql/.s.PGSQL.5432",
        "an outsider is refused at /run/postgresql",
    ),
    ("chmod 2755 /run/valkey; chmod 0777 /run/valkey/valkey.sock", "an outsider is refused at /run/valkey"),
    (
        "chmod 2755 /run/postgresql; chmod 0777 /run/postgresql/.s.PGSQL.5432",
        "notes without postgres-clients is refused",
    ),
    ("chmod 2755 /run/valkey; chmod 0777 /run/valkey/valkey.sock", "notes without valkey-clients is refused"),
    ("chmod 2770 /run/postgresql", "/run/postgresql belongs to its clients"),
    ("chmod 0777 /run/valkey/valkey.sock", "/run/valkey/valkey.sock belongs to its clients"),
    ("groupmod -n renamed valkey-clients", "facts equal the system"),
    ("chgrp root /run/valkey", "notes gets in at /run/valkey"),
    ("systemctl stop notes-web.service", "notes-web.service is active"),
    ("systemctl stop notes-web.service", "notes-web's process has the ids"),
    ("systemctl stop notes-web.service", "notes answers"),
    ("systemctl stop postgresql@17-main.service", "notes: a query as notes"),
    ("systemctl stop valkey-server.service", "notes: a cache round trip"),
]
MEND = (
    "getent group renamed >/dev/null && groupmod -n valkey-clients renamed;"
    "chmod 2750 /run/postgresql /run/valkey; chgrp valkey-clients /run/valkey;"
    "systemctl start postgresql@17-main.service valkey-server.service notes-web.service"
)


@pytest.mark.parametrize(("damage", "check"), WITHOUT_PROTECTION)
def test_a_check_fails_without_the_protection(main_machine, damage, check):
    main_machine.sh(damage)
    try:
        failing = [name for name, (passed, _) in main_machine.verify().items() if not passed]
        assert any(name.startswith(check) for name in failing), failing
    finally:
        main_machine.sh(MEND)
        main_machine.healthy()


def test_a_tcp_listener_of_a_database_is_noticed(main_machine):
    drop_in = "/etc/postgresql/17/main/conf.d/99-tcp.conf"
    main_machine.write(drop_in, "listen_addresses = '127.0.0.1'\n")
    main_machine.sh(f"chmod 644 {drop_in}; systemctl restart postgresql@17-main.service")
    try:
        passed, detail = main_machine.verify()["PostgreSQL has no TCP listener"]
        assert not passed
        assert "127.0.0.1:5432" in detail
    finally:
        main_machine.sh(f"rm {drop_in}; systemctl restart postgresql@17-main.service")
        main_machine.healthy()


def test_an_impostor_on_the_socket_is_noticed(main_machine):
    script = (
        "import os, socket, time\n"
        "os.rename('/run/valkey/valkey.sock', '/run/valkey/aside')\n"
        "s = socket.socket(socket.AF_UNIX); s.bind('/run/valkey/valkey.sock'); s.listen()\n"
        "print('listening', flush=True)\n"
        "time.sleep(60)\n"
    )
    impostor = main_machine.popen("python3", "-c", script)
    try:
        assert impostor.stdout.readline() == b"listening\n"
        passed, detail = main_machine.verify()["/run/valkey/valkey.sock is answered by valkey-server.service"]
        assert not passed
        assert detail
    finally:
        impostor.terminate()
        impostor.wait()
        main_machine.sh("mv -f /run/valkey/aside /run/valkey/valkey.sock")
        main_machine.healthy()


def test_the_table_and_the_data_say_the_same(main_machine):
    table = main_machine.run("salt-call", "verify.host").stdout
    verification = main_machine.verify()
    assert all(name in table for name in verification)
    assert f"{len(verification)} passed, 0 failed" in table
