"""
A site's file: what an entry becomes, and what is refused.
"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import SaltInvocationError
from tree import load

caddy_site = load("utils", "caddy_site")
caddy_directives = load("utils", "caddy_directives")

SITE = {"domains": ["notes.example.org", "www.notes.example.org"], "upstream": "127.0.0.1:20123"}


def text(fingerprint=None, **site):
    site = {**SITE, **site}
    caddy_site.check("notes", site)
    statements = caddy_directives.statements("x", site.get("directives") or "")
    return caddy_site.text("notes", site, statements, fingerprint, caddy_directives.beside_the_route())


def test_a_site_by_itself():
    assert text() == (
        "# rick-infra service notes: written by Salt from its entry; the next run undoes what is changed here."
        """
notes.example.org, www.notes.example.org {
	tls internal
	import access-log
	route {
		import without-identity
		reverse_proxy 127.0.0.1:20123
	}
}
"""
    )


def test_a_file_tells_whose_it_is_and_which_domains_it_has():
    assert caddy_site.owner(text()) == "notes"
    assert caddy_site.domains(text()) == SITE["domains"]


def test_a_wildcard_is_a_domain_and_a_star_elsewhere_is_none():
    assert caddy_site.domains(text(domains=["*.example.org"])) == ["*.example.org"]
    for name in ("*", "a.*.org", "*example.org"):
        with pytest.raises(SaltInvocationError):
            text(domains=[name])


@pytest.mark.parametrize("foreign", ["", "example.org {\n}\n", "# a comment\nexample.org {\n}\n"])
def test_a_file_of_somebody_else_is_nobodys_service(foreign):
    assert caddy_site.owner(foreign) is None
    assert caddy_site.domains(foreign) == []


def test_identity_headers_are_dropped_before_everything_else_in_a_route():
    lines = text(directives="forward_auth 127.0.0.1:9000", login="login", max_body="1MB").splitlines()
    route = lines[lines.index("\troute {") + 1 :]
    assert route[0] == "\t\timport without-identity"
    order = [next(i for i, line in enumerate(route) if word in line) for word in ("import login", "forward_auth")]
    assert order == sorted(order)
    assert route[-3:] == ["\t\treverse_proxy 127.0.0.1:20123", "\t}", "}"]


def test_directives_keep_their_order_and_those_of_a_site_stand_in_the_site():
    lines = text(directives="header A b\nhandle_errors {\n  respond 1\n}\nencode gzip").splitlines()
    route = lines.index("\troute {")
    assert lines.index("\thandle_errors {") < route < lines.index("\t\theader A b") < lines.index("\t\tencode gzip")


@pytest.mark.parametrize(
    ("tls", "lines"),
    [
        ("internal", ["\ttls internal"]),
        ("acme", []),
        ({"certificate": "/c.pem", "key": "/k.pem"}, ['\ttls "/c.pem" "/k.pem"', "\tvars rick_infra_certificate f00"]),
    ],
    ids=["internal", "acme", "own"],
)
def test_each_kind_of_certificate(tls, lines):
    made = text(tls=tls, fingerprint="f00").splitlines()
    assert [line for line in made if "tls" in line or "certificate" in line] == lines


def test_a_renewed_certificate_is_a_changed_file():
    own = {"certificate": "/c.pem", "key": "/k.pem"}
    assert text(tls=own, fingerprint="1") != text(tls=own, fingerprint="2")


def test_a_stopped_site_answers_503_and_leads_nowhere():
    made = text(stopped=True, directives="respond 200", max_body="1MB")
    assert 'respond "This service is stopped." 503' in made
    assert "reverse_proxy" not in made
    assert "respond 200" not in made


def test_without_a_login_open_paths_change_nothing():
    assert text(public_paths=["/a"], health_path="/health") == text()


def test_with_a_login_open_paths_never_enter_it():
    made = text(login="login-all", public_paths=["/static/*"], health_path="/health")
    assert "path /health /static/*" in made
    assert made.index("handle @rick-infra-open {") < made.index("import login-all")


def test_a_domain_can_be_taken_from_a_file_and_the_last_one_takes_the_file():
    left = caddy_site.without(text(), ["notes.example.org"])
    assert caddy_site.domains(left) == ["www.notes.example.org"]
    assert left.splitlines()[2:] == text().splitlines()[2:]
    assert caddy_site.without(text(), SITE["domains"]) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"domains": []}, "domains"),
        ({"domains": "notes.example.org"}, "domains"),
        ({"domains": ["notes.example.org {"]}, "'notes.example.org {'"),
        ({"domains": ["Notes.example.org"]}, "'Notes.example.org'"),
        ({"upstream": "10.0.0.1:80"}, "loopback"),
        ({"upstream": None}, "loopback"),
        ({"tls": "none"}, "tls"),
        ({"tls": {"certificate": "/c.pem"}}, "tls"),
        ({"tls": {"certificate": "/c.pem", "key": '/k" x'}}, "tls"),
        ({"max_body": "10 MB"}, "max_body"),
        ({"login": "../x"}, "login"),
        ({"public_paths": ["/a b"]}, "public_paths"),
        ({"health_path": "x"}, "'x'"),
        ({"directives": ["x"]}, "directives"),
        ({"domain": "x"}, "'domain'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change, words):
    with pytest.raises(SaltInvocationError) as refusal:
        caddy_site.check("notes", {**SITE, **change})
    assert str(refusal.value).startswith("service notes: site: ")
    assert words in str(refusal.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(SaltInvocationError) as refusal:
        caddy_site.check("notes", {"domains": [], "upstream": "x", "tls": "y"})
    assert len(str(refusal.value).splitlines()) == 3


@pytest.mark.parametrize("name", ["", "../x", "a b", "A", "1x", "x\n", None])
def test_a_name_that_is_no_file_is_refused(name):
    with pytest.raises(SaltInvocationError):
        caddy_site.check(name, SITE)


@given(st.dictionaries(st.sampled_from(sorted(caddy_site.KEYS)), st.text() | st.none() | st.lists(st.text())))
def test_any_site_is_refused_or_stays_within_its_block(site):
    site = {**SITE, **site, "directives": ""}
    try:
        made = text(**site)
    except SaltInvocationError:
        return
    lines = made.splitlines()
    assert caddy_site.domains(made) == site["domains"]
    heading = lines[1:3] if site.get("behind_edge") else lines[1:2]
    assert [line for line in lines[1:] if line and not line.startswith("\t")] == [*heading, "}"]


def test_a_site_behind_edges_is_open_to_them_alone_and_sees_what_they_say_of_the_client():
    assert text(behind_edge=True, health_path="/health", login="login") == (
        "# rick-infra service notes: written by Salt from its entry; the next run undoes what is changed here.\n"
        "# edges show it as notes.example.org, www.notes.example.org\n"
        f"""\
https://notes.rick-infra.internal:8443 {{
	tls internal {{
		import edges
	}}
	import access-log
	route {{
		request_header Host {{header.X-Forwarded-Host}}
		import without-identity
		@rick-infra-elsewhere not host notes.example.org
		redir @rick-infra-elsewhere https://notes.example.org{{uri}} 308
		@rick-infra-open {{
			path /health
			not vars_regexp {{http.request.uri}} {caddy_site.AMBIGUOUS}
		}}
		handle @rick-infra-open {{
			reverse_proxy 127.0.0.1:20123 {{
				trusted_proxies 0.0.0.0/0 ::/0
			}}
		}}
		import login-behind-edge
		reverse_proxy 127.0.0.1:20123 {{
			trusted_proxies 0.0.0.0/0 ::/0
		}}
	}}
}}
"""
    )


def test_domains_can_be_taken_from_a_site_behind_edges_too():
    made = text(behind_edge=True)
    assert caddy_site.domains(made) == SITE["domains"]
    left = caddy_site.without(made, ["notes.example.org"])
    assert caddy_site.domains(left) == ["www.notes.example.org"]
    assert left.splitlines()[2] == "https://notes.rick-infra.internal:8443 {"
    assert caddy_site.without(made, SITE["domains"]) is None


EDGE = {"domains": ["notes.example.org"], "tls": "acme"}
AUTHORITIES = ["/etc/caddy/fleet/cell1.pem", "/etc/caddy/fleet/cell2.pem"]


def of_an_edge(**site):
    caddy_site.check("notes", {**EDGE, **site})
    return caddy_site.text("notes", {**EDGE, **site}, [], None, ())


def test_an_edge_knows_each_cell_by_its_authority_and_shows_its_own_key():
    assert of_an_edge(cells=["192.0.2.1", "2001:db8::1"], authorities=AUTHORITIES).endswith(
        """
notes.example.org {
	import access-log
	route {
		import without-identity
		reverse_proxy https://192.0.2.1:8443 https://[2001:db8::1]:8443 {
			header_up Host notes.rick-infra.internal
			lb_try_duration 5s
			fail_duration 10s
			transport http {
				tls_client_auth /etc/caddy/identity/certificate.pem /etc/caddy/identity/key.pem
				tls_server_name notes.rick-infra.internal
				tls_trusted_ca_certs /etc/caddy/fleet/cell1.pem /etc/caddy/fleet/cell2.pem
			}
		}
	}
}
"""
    )


def test_an_edge_without_a_cell_that_is_awake_says_so():
    made = of_an_edge(cells=[], authorities=[])
    assert 'respond "This service is stopped." 503' in made
    assert "reverse_proxy" not in made


@pytest.mark.parametrize(
    "wrong",
    [
        {"cells": "192.0.2.1"},
        {"cells": ["here {\n}"]},
        {"cells": [None]},
        {"cells": [], "authorities": None},
        {"cells": [], "authorities": "/x.pem"},
        {"cells": [], "authorities": ["relative.pem"]},
        {"cells": [], "authorities": ["/x.pem {"]},
    ],
)
def test_what_an_edge_is_told_wrongly_is_refused(wrong):
    with pytest.raises(SaltInvocationError):
        of_an_edge(**{"authorities": [], **wrong})


@pytest.mark.parametrize(
    "uri",
    [
        "/open/../x",
        "/open/..;/x",
        "/open;x",
        "/a\\b",
        "/%2e%2e/x",
        "/..%2Fx",
        "/%5Cx",
        "/%3bx",
        "/%252e/x",
        "/%00",
        "/a?b=/..",
        "/health%20",
        "/health.",
        "/health%20?a=b",
    ],
)
def test_what_may_be_another_path_to_an_application_is_not_open(uri):
    assert re.search(caddy_site.AMBIGUOUS.strip("`"), uri)


@pytest.mark.parametrize(
    "uri", ["/health", "/static/style.css", "/static/a-b_c~d.e", "/a/b/?c=d&e=f+g", "/%C3%BC", "/a%20b"]
)
def test_ordinary_paths_are(uri):
    assert not re.search(caddy_site.AMBIGUOUS.strip("`"), uri)


def test_a_login_knows_one_domain_and_users_come_to_it_from_the_others():
    made = text(login="login", domains=["a.example.org", "b.example.org"])
    redirect = made.index("redir @rick-infra-elsewhere https://a.example.org{uri} 308")
    assert made.index("@rick-infra-elsewhere not host a.example.org") < redirect < made.index("import login")
    assert "rick-infra-elsewhere" not in text(domains=["a.example.org", "b.example.org"])
