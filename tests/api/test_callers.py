"""Who is believed to be who: by the kernel, by trusted fronts, by nobody else."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys

import pytest

JDL = {"name": "test", "clusters": {"tiger": {"exec_file": "run"}}, "params": []}
ME = pwd.getpwuid(os.geteuid()).pw_name
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")

ASK = """
import http.client, json, os, pwd, socket, sys
class Local(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.path.basename(sys.argv[2]))
os.chdir(os.path.dirname(sys.argv[2]))
os.setgroups([])
os.setuid(int(sys.argv[1]))
connection = Local("localhost")
connection.request("POST", "/campaigns", sys.argv[3], json.loads(sys.argv[4]))
answer = connection.getresponse()
print(json.dumps([answer.status, json.loads(answer.read())]))
connection.close()
"""


def ask_as(server, account, **headers):
    """Submit as another account of this machine."""
    os.chmod(os.path.dirname(server.socket), 0o711)
    uid = pwd.getpwnam(account).pw_uid if isinstance(account, str) else account
    sent = json.dumps({name.replace("_", "-"): value for name, value in headers.items()})
    command = [sys.executable, "-c", ASK, str(uid), server.socket, json.dumps(JDL), sent]
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    return json.loads(done.stdout)


def test_the_kernel_says_who_it_is(start):
    """R22."""
    api = start(api_trusted_users=())
    answer = api.ask("POST", "/campaigns", JDL, user=None)
    assert (answer.status, answer.json()["user"]) == (201, ME)


@needs_root
def test_root_may_act_for_another(api):
    assert api.ask("POST", "/campaigns", JDL, user="carol").json()["user"] == "carol"
    assert api.ask("POST", "/campaigns", JDL, user="jos\u00e9".encode().decode("latin-1")).json()["user"] == "jos\u00e9"
    for name in ("", "unknown", "NULL", "a b", "x" * 65, "a/b"):
        answer = api.ask("POST", "/campaigns", JDL, user=name)
        assert answer.status == 403 and "not authenticated" in answer.json()["message"]


@needs_root
def test_others_are_themselves(api):
    status, found = ask_as(api, "daemon")
    assert (status, found["user"]) == (201, "daemon")
    status, found = ask_as(api, "daemon", X_Cigri_User="daemon")
    assert (status, found["user"]) == (201, "daemon")
    status, found = ask_as(api, "daemon", X_Cigri_User="root")
    assert status == 403 and "You are daemon" in found["message"]


@needs_root
def test_accounts_that_do_not_exist_are_nobody(api):
    status, found = ask_as(api, 54321)
    assert status == 403 and "uid 54321 has no account" in found["message"]
    status, found = ask_as(api, 65534)
    assert status == 403 and "65534" in found["message"]


@needs_root
def test_a_trusted_account_names_others_and_is_nobody_itself(start):
    front = start(api_trusted_users=("daemon",))
    assert ask_as(front, "daemon", X_Cigri_User="carol")[1]["user"] == "carol"
    assert ask_as(front, "daemon")[0] == 403
    assert ask_as(front, "daemon", X_Cigri_User="unknown")[0] == 403
    assert ask_as(front, "bin", X_Cigri_User="carol")[0] == 403


def test_a_trusted_address_names_its_users(api):
    """R22."""
    assert api.ask("POST", "/campaigns", JDL, tcp=True).json()["user"] == "alice"
    for user in (None, "", "null"):
        assert api.ask("POST", "/campaigns", JDL, tcp=True, user=user).status == 403
        assert api.ask("GET", "/campaigns", tcp=True, user=user).status == 200


def test_other_addresses_may_read_only(start):
    for trusted in ((), ("10.0.0.0/8", "::1")):
        api = start(api_trusted_addresses=trusted)
        answer = api.ask("POST", "/campaigns", JDL, tcp=True)
        assert answer.status == 403 and "API_TRUSTED_ADDRESSES" in answer.json()["message"]
        assert api.get("/campaigns", tcp=True)["items"] == []


def test_the_header_has_the_configured_name(start):
    api = start(api_header_username="Remote-User", api_trusted_addresses=("127.0.0.0/8",))
    assert api.ask("POST", "/campaigns", JDL, tcp=True).status == 403
    answer = api.ask("POST", "/campaigns", JDL, tcp=True, user=None, Remote_User="dave")
    assert answer.json()["user"] == "dave"
