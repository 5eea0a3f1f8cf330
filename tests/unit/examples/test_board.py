"""
The board believes the proxy's headers, and nothing that only looks like them.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

ADMINS = "board_admins"
ANNA = {
    "Remote-User": "anna",
    "Remote-Name": "Anna Blum",
    "Remote-Email": "anna@example.test",
    "Remote-Groups": "readers|board_admins",
}


def header(text):
    """A header as a WSGI server hands it over: the bytes of its UTF-8, read as Latin-1."""
    return text.encode().decode("latin-1")


@pytest.fixture
def client(board):
    return board.create_app(ADMINS).test_client()


def test_the_page_shows_who_the_proxy_says_is_there(client):
    answer = client.get("/", headers=ANNA)
    assert answer.status_code == 200
    for shown in ("Anna Blum", "anna@example.test", "readers, board_admins", "/outpost.goauthentik.io/sign_out"):
        assert shown in answer.text


@pytest.mark.parametrize("path", ["/", "/admin", "/whoami", "/nowhere", "/healthy", "/health/", "/static"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Remote-User": ""},
        {"Remote-User": " "},
        {"Remote-User": "{http.reverse_proxy.header.X-Authentik-Username}"},
        {"Remote-Groups": ADMINS, "Remote-Name": "Anna Blum"},
        {"X-Authentik-Username": "anna", "X-Forwarded-User": "anna"},
    ],
)
def test_without_a_user_there_is_no_page(client, path, headers):
    assert client.get(path, headers=headers).status_code == 401


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "POST", "PUT"])
def test_no_other_method_gets_past(client, method):
    assert client.open("/", method=method).status_code == 401


def test_the_server_s_own_variable_is_not_the_header(client):
    assert client.get("/", environ_overrides={"REMOTE_USER": "anna"}).status_code == 401


def test_health_and_the_style_sheet_are_for_everybody_and_read_no_header(client):
    unreadable = {"Remote-User": "\xff", "Remote-Name": "\xff", "Remote-Groups": "\xff"}
    for headers in ({}, ANNA, unreadable):
        assert client.get("/health", headers=headers).json == {"status": "ok"}
        assert client.get("/static/style.css", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/static/../admin", "/static/%2e%2e/admin", "/static/..%2fadmin", "/static//admin"])
def test_what_is_public_leads_to_nothing_else(client, path):
    answer = client.get(path)
    assert answer.status_code in (401, 404)
    assert "Administration" not in answer.text


@pytest.mark.parametrize("groups", [ADMINS, f"readers|{ADMINS}", f"{ADMINS}|readers", f"|{ADMINS}|"])
def test_administrators_are_let_in(client, groups):
    assert client.get("/admin", headers={**ANNA, "Remote-Groups": groups}).status_code == 200


@pytest.mark.parametrize(
    "groups",
    [
        "",
        "|",
        "readers",
        "not_board_admins",
        "board_admins2",
        "board",
        "Board_Admins",
        "board_admins,readers",
        "board_admins readers",
        "xboard_admins|board_adminsx",
    ],
)
def test_a_group_whose_name_is_similar_is_another_group(client, groups):
    answer = client.get("/admin", headers={**ANNA, "Remote-Groups": groups})
    assert answer.status_code == 403
    assert "/admin" not in client.get("/", headers={**ANNA, "Remote-Groups": groups}).text


@given(
    name=st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda n: n == n.strip())
)
def test_any_name_is_shown_as_it_is(name):
    import board

    client = board.create_app(ADMINS).test_client()
    assert client.get("/whoami", headers={**ANNA, "Remote-Name": header(name)}).json["name"] == name


def test_groups_may_have_any_letters(board):
    client = board.create_app("Büro").test_client()
    for groups, status in (("Leser|Büro", 200), ("Buro", 403), ("Büros", 403)):
        assert client.get("/admin", headers={**ANNA, "Remote-Groups": header(groups)}).status_code == status


@pytest.mark.parametrize("name", ["Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups"])
def test_what_is_no_text_is_refused(client, name):
    assert client.get("/", headers={**ANNA, name: "anna\xff"}).status_code == 400


def test_what_the_proxy_says_is_escaped(client):
    answer = client.get("/", headers={**ANNA, "Remote-Name": "<script>alert(1)</script>"})
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text


@pytest.mark.parametrize("path", ["/", "/health", "/nowhere", "/static/style.css"])
def test_every_answer_forbids_foreign_content(client, path):
    for headers in ({}, ANNA):
        assert "default-src 'none'" in client.get(path, headers=headers).headers["Content-Security-Policy"]


def test_a_page_is_kept_by_nobody(client):
    assert client.get("/", headers=ANNA).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("group", [{}, {"ADMIN_GROUP": ""}, {"ADMIN_GROUP": "a|b"}])
def test_wrong_settings_are_named_at_once(board, group):
    with pytest.raises(board.SettingsError, match=r"ADMIN_GROUP.*PORT"):
        board.Settings.read({"PORT": "http", **group})


def test_settings_are_read_from_the_environment(board):
    found = board.Settings.read({"ADMIN_GROUP": ADMINS, "LISTEN": "::1", "PORT": "9000"})
    assert found == board.Settings(ADMINS, "::1", 9000)
