"""The page is open to all, or to those who are named: never open by mistake."""

from __future__ import annotations

import pytest

from brain_tumor.ui.login import LOGIN, LOGIN_FILE, LoginError, users


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    monkeypatch.delenv(LOGIN, raising=False)
    monkeypatch.delenv(LOGIN_FILE, raising=False)


def test_without_a_login_the_page_is_open():
    assert users() is None


def test_login_from_the_environment_may_have_colons_and_spaces_in_its_password(monkeypatch):
    monkeypatch.setenv(LOGIN, "ward 7:pass: word ")
    assert users() == [("ward 7", "pass: word ")]


def test_logins_from_a_file(monkeypatch, tmp_path):
    path = tmp_path / "login"
    path.write_bytes("ward7:secret\r\n\nDr. Müller:äöü\n".encode())
    monkeypatch.setenv(LOGIN_FILE, str(path))
    assert users() == [("ward7", "secret"), ("Dr. Müller", "äöü")]


@pytest.mark.parametrize("given", ["", "  ", "ward7", "ward7:", ":secret", "ward7:secret\nsecret2", "a:secret\na:b"])
@pytest.mark.parametrize("way", [LOGIN, LOGIN_FILE])
def test_a_login_that_cannot_be_set_up_stops_the_page_and_tells_no_password(monkeypatch, tmp_path, given, way):
    path = tmp_path / "login"
    path.write_text(given)
    monkeypatch.setenv(way, str(path) if way == LOGIN_FILE else given)
    with pytest.raises(LoginError, match=way) as caught:
        users()
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_stops_the_page(monkeypatch, tmp_path):
    monkeypatch.setenv(LOGIN_FILE, str(tmp_path / "none"))
    with pytest.raises(LoginError, match="cannot be read"):
        users()


def test_two_sources_stop_the_page(monkeypatch, tmp_path):
    monkeypatch.setenv(LOGIN, "a:b")
    monkeypatch.setenv(LOGIN_FILE, str(tmp_path))
    with pytest.raises(LoginError, match="Unset one"):
        users()
