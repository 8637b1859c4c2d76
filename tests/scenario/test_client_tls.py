#!/usr/bin/python3
"""TLS to other hosts: none, may, encrypt, verify; handshakes that fail, and hosts that lie at each step."""
import ssl
import tempfile

from certificates import Authority
from harness import BASE, LOCAL, QUICK, Postern, run, wait
from peers import Dns, Mta

certificates = tempfile.TemporaryDirectory(prefix="postern-certificates-")
authority = Authority(certificates.name)
authority.make("host", "host.zone.test").make("other", "other.zone.test").make("self", "host.zone.test", itself=True)

ROUTES = """
tls: {{ca_file: "{certs}/ca.pem"}}
dns: {{stubs: ["zone.test. 127.0.0.1@{dns}"], timeout: 2s}}
routes:
  - {{domain: none.test, to: "host.zone.test:{port}", tls: none}}
  - {{domain: may.test, to: "host.zone.test:{port}"}}
  - {{domain: encrypt.test, to: "host.zone.test:{port}", tls: encrypt}}
  - {{domain: verify.test, to: "host.zone.test:{port}", tls: verify}}
  - {{domain: named.test, to: "host.zone.test:{port}", tls: verify, tls_names: [other.zone.test]}}
  - {{domain: implicit.test, to: "host.zone.test:{port}", tls: implicit}}
  - {{domain: unverified.test, to: "host.zone.test:{port}", tls: implicit_unverified}}
  - {{domain: mx.test, to: "mx:zone.test:{port}", tls: verify}}
"""
SERVER = 'tls: {{ca_file: "{certs}/ca.pem", certificate: "{certs}/other.pem", key: "{certs}/other.key"}}'
OFFERS = ("PIPELINING", "8BITMIME", "STARTTLS")


def context(name="host"):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(authority.path(name), authority.path(name, "key"))
    return c


class World:
    def __init__(self, program, routes=ROUTES, **host):
        host.setdefault("ehlo", OFFERS)
        self.host = Mta(**host)
        self.dns = Dns("zone.test", {("zone.test", "MX"): [(10, "host.zone.test")], ("host.zone.test", "A"): ["127.0.0.1"]})
        # one worker: each remembers for itself which hosts had no good TLS
        self.postern = Postern(program, LOCAL + QUICK + routes, base=BASE.replace("workers: 2", "workers: 1"), certs=certificates.name, dns=self.dns.port,
                               port=self.host.port)

    def __enter__(self):
        self.postern.start()
        return self

    def __exit__(self, *what):
        self.postern.__exit__(*what)
        self.host.close()
        self.dns.close()

    def outcome(self, address):
        self.postern.send(address)
        return wait(f"an attempt for {address}", lambda: [e for e in self.postern.events(recipient=address)
                    if e["event"] in ("delivered", "deferred", "failed")])[-1]


def starttls_is_used_when_it_is_offered_and_the_event_says_how(program):
    with World(program, context=context()) as w:
        e = w.outcome("a@may.test")
        assert e["event"] == "delivered" and e["tls"].startswith("TLSv1.3 TLS_"), e
        m = w.host.messages[0]
        assert m["tls"]
        # greeted again after the handshake, and nothing of the message before it
        assert [c.split()[0] for c in m["session"].commands[:4]] == ["EHLO", "STARTTLS", "EHLO", "MAIL"], m["session"].commands
        assert "tls" in w.postern.command("why", "a@may.test")
        e = w.outcome("a@none.test")
        assert e["event"] == "delivered" and "tls" not in e and not w.host.messages[1]["tls"], e


def a_host_without_tls_gets_mail_in_clear_unless_it_must_not(program):
    with World(program, ehlo=("PIPELINING",)) as w:
        assert w.outcome("a@may.test")["event"] == "delivered"
        for domain in ("encrypt", "verify"):
            e = w.outcome(f"a@{domain}.test")
            assert (e["event"], e["failure_code"], e["enhanced"]) == ("deferred", 4002, "4.7.4"), e
            assert "STARTTLS" in e["text"] and e["stage"] == "starttls", e
            assert "does not offer STARTTLS" in " ".join(w.postern.command("why", f"a@{domain}.test").split())
        assert len(w.host.messages) == 1


def a_refused_starttls_is_no_tls(program):
    for answer in (b"454 4.7.0 not today\r\n", b"502 5.5.1 no\r\n"):
        with World(program, answers={"STARTTLS": answer}) as w:
            assert w.outcome("a@may.test")["event"] == "delivered"
            e = w.outcome("a@encrypt.test")
            assert (e["event"], e["failure_code"]) == ("deferred", 4002) and str(e["code"]) == answer[:3].decode(), e


def a_handshake_that_fails_goes_in_clear_at_once_and_for_a_while(program):
    # 220, and then no TLS at all: garbage, or the end of the connection
    def garbage(session, line):
        return b"220 go\r\n"
    # a server that talks only of suites that we do not: TLS 1.2 with a suite without forward secrecy
    weak = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    weak.load_cert_chain(authority.path("host"), authority.path("host", "key"))
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-SHA")
    for kind in ({"context": weak}, {"answers": {"STARTTLS": garbage}}):
        with World(program, **kind) as w:
            e = w.outcome("a@may.test")
            assert e["event"] == "delivered" and e["attempts"] == 1 and "tls" not in e, e
            assert w.postern.events(event="notice", host="host.zone.test"), "nobody was told"
            before = len(w.host.sessions)
            assert before == 2
            w.host.drop()
            assert w.outcome("b@may.test")["event"] == "delivered"
            assert not any("STARTTLS" in s.commands for s in w.host.sessions[before:])
            e = w.outcome("a@encrypt.test")
            assert (e["event"], e["failure_code"], e["enhanced"]) == ("deferred", 4002, "4.7.5"), e
            assert "TLS with host.zone.test failed" in e["text"], e
            assert len(w.host.messages) == 2


def verify_wants_the_name_and_the_chain(program):
    for certificate, domains in (("host", {"verify": 1, "mx": 1, "encrypt": 1, "named": 0}),
                                 ("other", {"verify": 0, "named": 1, "encrypt": 1}), ("self", {"verify": 0, "encrypt": 1})):
        with World(program, context=context(certificate)) as w:
            for domain, good in domains.items():
                e = w.outcome(f"a@{domain}.test")
                if good:
                    assert e["event"] == "delivered", e
                    assert e["tls"].endswith(", verified") or domain == "encrypt", e
                else:
                    assert (e["event"], e["failure_code"], e["enhanced"]) == ("deferred", 4002, "4.7.5"), e
                    assert "certificate" in e["text"], e


def implicit_tls_speaks_it_from_the_first_octet(program):
    with World(program, context=context(), implicit=True) as w:
        e = w.outcome("a@implicit.test")
        assert e["event"] == "delivered" and e["tls"].endswith(", verified"), e
        assert w.host.messages[0]["session"].commands[0].startswith("EHLO")
    with World(program, context=context("other"), implicit=True) as w:
        e = w.outcome("a@implicit.test")
        assert (e["event"], e["enhanced"]) == ("deferred", "4.7.5"), e
        assert w.outcome("a@unverified.test")["event"] == "delivered"


def replies_in_clear_behind_the_220_end_the_session_and_deliver_nothing(program):
    injected = b"220 go\r\n250-mta.test\r\n250 AUTH PLAIN\r\n250 ok\r\n250 ok\r\n354 go\r\n"
    with World(program, answers={"STARTTLS": injected}) as w:
        for domain in ("may", "encrypt"):
            e = w.outcome(f"a@{domain}.test")
            assert (e["event"], e["failure_code"], e["stage"]) == ("deferred", 4002, "starttls"), e
        assert not w.host.messages and not any("MAIL" in c for s in w.host.sessions for c in s.commands)


def what_was_offered_in_clear_is_forgotten(program):
    ehlo = ("PIPELINING", "SIZE 10", "SMTPUTF8", "CHUNKING", "STARTTLS")
    with World(program, ehlo=ehlo, tls_ehlo=[], context=context()) as w:
        # larger than the SIZE in clear, and one command at a time
        assert w.outcome("a@encrypt.test")["event"] == "delivered"
        assert "SIZE" not in w.host.messages[0]["mail"]


def a_host_that_ends_or_lies_after_the_handshake_is_a_trouble_of_the_dialogue(program):
    def after_tls(answer):
        return lambda session, line: answer if session.tls else None
    for answer, text in ((b"354 what\r\n", "protocol"), (b"hello\r\n", "protocol"), (b"421 4.3.2 bye\r\n", "bye")):
        with World(program, context=context(), answers={"EHLO": after_tls(answer)}) as w:
            e = w.outcome("a@encrypt.test")
            assert e["event"] == "deferred" and text in e["text"] and e["failure_code"] in (4001, 4002), e
            assert not w.host.messages


def send_requiretls(p, to):
    with p.smtp() as s:
        s.starttls(context=authority.context(check=False))
        s.ehlo("client.test")
        assert s.has_extn("requiretls"), s.esmtp_features
        s.sendmail("you@example.test", [to], b"Subject: secret\r\n\r\nx\r\n", ["REQUIRETLS"])


def what_requires_tls_goes_only_to_verified_hosts_that_promise_the_same(program):
    # certificate, keywords under TLS, the end, its status
    cases = (("host", ["REQUIRETLS"], "delivered", None), ("host", [], "failed", "5.7.30"), ("self", ["REQUIRETLS"], "failed", "5.7.10"),
             (None, ["REQUIRETLS"], "failed", "5.7.10"))
    for certificate, keywords, end, status in cases:
        offers = OFFERS if certificate else ("PIPELINING",)
        with World(program, ehlo=offers, tls_ehlo=keywords, context=context(certificate) if certificate else None, routes=ROUTES.replace(
                   'tls: {{ca_file: "{certs}/ca.pem"}}', SERVER)) as w:
            send_requiretls(w.postern, "a@may.test")
            e = wait("an attempt", lambda: [e for e in w.postern.events(recipient="a@may.test")
                     if e["event"] in ("delivered", "deferred", "failed")])[-1]
            assert e["event"] == end and (end == "delivered" or e["enhanced"] == status), e
            assert len(w.host.messages) == (end == "delivered")
            if end == "delivered":
                assert w.host.messages[0]["mail"].endswith(" REQUIRETLS") and e["tls"].endswith(", verified")
            else:
                assert "requires TLS all the way" in e["text"], e
                # another message for the same host is none of its business
                w.postern.send("b@may.test")
                assert w.postern.event(event="delivered", recipient="b@may.test")


run([starttls_is_used_when_it_is_offered_and_the_event_says_how, a_host_without_tls_gets_mail_in_clear_unless_it_must_not,
     a_refused_starttls_is_no_tls, a_handshake_that_fails_goes_in_clear_at_once_and_for_a_while,
     verify_wants_the_name_and_the_chain, implicit_tls_speaks_it_from_the_first_octet,
     replies_in_clear_behind_the_220_end_the_session_and_deliver_nothing, what_was_offered_in_clear_is_forgotten,
     a_host_that_ends_or_lies_after_the_handshake_is_a_trouble_of_the_dialogue,
     what_requires_tls_goes_only_to_verified_hosts_that_promise_the_same])
