#!/usr/bin/python3
"""Credentials for a relay host: who gets them, who does not, and what happens when they are wrong."""
import os
import ssl
import tempfile

from certificates import Authority
from harness import LOCAL, QUICK, Postern, run, wait
from peers import Mta

certificates = tempfile.TemporaryDirectory(prefix="postern-certificates-")
authority = Authority(certificates.name)
authority.make("host", "relay.test")
SECRET = "s3cret with blanks"
ROUTES = """
tls: {{ca_file: "{certs}/ca.pem"}}
relay_host: {{to: "127.0.0.1:{port}", tls_names: [relay.test], auth: {{user: me@relay.test, password_file: "{secret}"}}}}
routes:
  - {{domain: implicit.test, to: "127.0.0.1:{port}", tls: implicit, tls_names: [relay.test],
      auth: {{user: me@relay.test, password_file: "{secret}"}}}}
  - {{domain: clear.test, to: "127.0.0.1:{port}", tls: none, auth: {{user: me@relay.test, password_file: "{secret}",
      in_clear: true, mail_parameter: true}}}}
  - {{domain: may.test, to: "127.0.0.1:{port}", tls: may, auth: {{user: me@relay.test, password_file: "{secret}"}}}}
"""
OFFERS = ("PIPELINING", "STARTTLS")
USERS = {"me@relay.test": SECRET}


def context():
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(authority.path("host"), authority.path("host", "key"))
    return c


class World:
    def __init__(self, program, mode=0o600, **host):
        host.setdefault("users", USERS)
        self.host = Mta(**host)
        secret = f"{certificates.name}/secret"
        with open(secret, "w") as f:
            f.write(SECRET + "\n")
        os.chmod(secret, mode)
        self.postern = Postern(program, LOCAL + QUICK + ROUTES, certs=certificates.name, port=self.host.port, secret=secret)

    def __enter__(self):
        self.postern.start()
        return self

    def __exit__(self, *what):
        if not what[0]:
            # The password is in no event, no standard error, and no history.
            for root, _, names in os.walk(self.postern.dir):
                for name in names:
                    if name != "postern.yaml" and os.path.isfile(f"{root}/{name}"):
                        assert SECRET.encode() not in open(f"{root}/{name}", "rb").read(), name
        self.postern.__exit__(*what)
        self.host.close()

    def outcome(self, address):
        self.postern.send(address)
        return wait(f"an attempt for {address}", lambda: [e for e in self.postern.events(recipient=address)
                    if e["event"] in ("delivered", "deferred", "failed")])[-1]


def a_relay_host_gets_the_credentials_under_tls(program):
    for mechanisms in ("PLAIN LOGIN", "CRAM-MD5 LOGIN", "LOGIN PLAIN"):
        with World(program, ehlo=OFFERS, tls_ehlo=["PIPELINING", f"AUTH {mechanisms}"], context=context()) as w:
            e = w.outcome("a@anywhere.test")
            assert e["event"] == "delivered", e
            m = w.host.messages[0]
            assert m["user"] == "me@relay.test" and m["tls"], m
            auth = next(c for c in m["session"].commands if c.startswith("AUTH"))
            assert auth.startswith("AUTH LOGIN" if "CRAM" in mechanisms else "AUTH PLAIN"), auth


def submission_by_implicit_tls(program):
    with World(program, ehlo=["AUTH PLAIN"], context=context(), implicit=True) as w:
        assert w.outcome("a@implicit.test")["event"] == "delivered"
        assert w.host.messages[0]["user"] == "me@relay.test"


def nothing_secret_goes_in_clear(program):
    # AUTH is offered in clear, STARTTLS is not: somebody sits between
    with World(program, ehlo=["AUTH PLAIN LOGIN"]) as w:
        e = w.outcome("a@anywhere.test")
        assert (e["event"], e["enhanced"], e["failure_code"]) == ("deferred", "4.7.4", 4002), e
        e = w.outcome("a@may.test")
        assert (e["event"], e["enhanced"]) == ("deferred", "4.7.8") and "in clear" in e["text"], e
        assert not any(c.startswith("AUTH") for s in w.host.sessions for c in s.commands)


def with_may_a_failed_handshake_puts_off_what_needs_a_password(program):
    with World(program, ehlo=["STARTTLS", "AUTH PLAIN"], answers={"STARTTLS": b"454 4.7.0 no\r\n"}) as w:
        e = w.outcome("a@may.test")
        assert (e["event"], e["stage"]) == ("deferred", "auth") and "in clear" in e["text"], e
        assert not any(c.startswith("AUTH") for s in w.host.sessions for c in s.commands)


def in_clear_when_the_operator_allows_it(program):
    with World(program, ehlo=["AUTH PLAIN"]) as w:
        assert w.outcome("a@clear.test")["event"] == "delivered"
        m = w.host.messages[0]
        assert m["user"] == "me@relay.test" and m["mail"].endswith(" AUTH=<>"), m["mail"]


def a_wrong_password_puts_mail_off_and_why_says_so(program):
    with World(program, ehlo=OFFERS, tls_ehlo=["AUTH PLAIN"], context=context(), users={"me@relay.test": "other"}) as w:
        e = w.outcome("a@anywhere.test")
        assert (e["event"], e["code"], e["enhanced"], e["stage"]) == ("deferred", 535, "5.7.8", "auth"), e
        assert e["failure_code"] == 3004 and e["rule"] == "our authentication", e
        why = " ".join(w.postern.command("why", "a@anywhere.test").split())
        assert "535 5.7.8 wrong" in why and "our authentication" in why, why
        assert not any(c.startswith("MAIL") for s in w.host.sessions for c in s.commands)


def a_host_without_auth_or_without_a_mechanism_of_ours_gets_nothing(program):
    for keywords, word in (([], "does not offer AUTH"), (["AUTH GSSAPI DIGEST-MD5"], "GSSAPI DIGEST-MD5")):
        with World(program, ehlo=OFFERS, tls_ehlo=keywords, context=context()) as w:
            e = w.outcome("a@anywhere.test")
            assert (e["event"], e["enhanced"], e["stage"]) == ("deferred", "4.7.8", "auth") and word in e["text"], e


def a_host_that_lies_in_the_exchange_delivers_nothing(program):
    for answer in (b"250 ok\r\n", b"334 !!!\r\n", b"334 QQ==\r\n" * 3, b"354 go\r\n", b"220 go\r\n"):
        with World(program, ehlo=OFFERS, tls_ehlo=["AUTH PLAIN"], context=context(), answers={"AUTH": answer}) as w:
            e = w.outcome("a@anywhere.test")
            assert (e["event"], e["stage"]) == ("deferred", "auth"), e
            assert not any(c.startswith("MAIL") for s in w.host.sessions for c in s.commands)


def a_password_that_others_can_read_is_refused(program):
    w = World(program, mode=0o644)
    r = w.postern.command("check-config", ok=False)
    assert r.returncode != 0 and "can be read or written by others" in r.stderr + r.stdout, r
    assert SECRET not in r.stderr + r.stdout
    w.host.close()


def tls_none_with_a_password_is_an_error_of_the_configuration(program):
    w = World(program)
    with open(w.postern.config, "a") as f:
        f.write(f'sender_routes: [{{sender: "@a.test", to: "127.0.0.1:25", tls: none, '
                f'auth: {{user: u, password_file: "{certificates.name}/secret"}}}}]\n')
    r = w.postern.command("check-config", ok=False)
    assert r.returncode != 0 and "in clear" in r.stderr + r.stdout, r
    w.host.close()


run([a_relay_host_gets_the_credentials_under_tls, submission_by_implicit_tls, nothing_secret_goes_in_clear,
     with_may_a_failed_handshake_puts_off_what_needs_a_password, in_clear_when_the_operator_allows_it,
     a_wrong_password_puts_mail_off_and_why_says_so, a_host_without_auth_or_without_a_mechanism_of_ours_gets_nothing,
     a_host_that_lies_in_the_exchange_delivers_nothing, a_password_that_others_can_read_is_refused,
     tls_none_with_a_password_is_an_error_of_the_configuration])
