#!/usr/bin/python3
"""A real Postfix and TLS: as sender that verifies us, with XFORWARD and addresses beyond ASCII; as next hop that we verify."""
import os
import smtplib
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))
sys.path.insert(0, HERE)
from certificates import Authority  # noqa: E402
from harness import LOCAL, QUICK, Postern, run, wait  # noqa: E402
import postfix  # noqa: E402

UNPACKED, REASON = postfix.have()
TLS = 'tls: {{certificate: "{certs}/mx.pem", key: "{certs}/mx.key", ca_file: "{certs}/ca.pem"}}\n'
BODY = b"Subject: x\r\nFrom: you@example.test\r\n\r\nhello\r\n"


def certificates(directory):
    """In the root of Postfix, where both see them."""
    made = Authority(f"{directory}/postfix-root/etc/certs").make("mx", "mx.example.test", "localhost")
    for name in ("mx.key", "ca.key"):
        os.chmod(f"{made.directory}/{name}", 0o600)
    return made.directory


def it_verifies_us_and_says_whom_it_has_the_mail_from(program):
    if not UNPACKED:
        return REASON
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
        certs = certificates(d)
        with Postern(program, LOCAL + TLS + 'xforward_hosts: ["127.0.0.0/8"]\n', certs=certs) as p:
            settings = {"relayhost": f"[127.0.0.1]:{p.port}", "smtp_tls_security_level": "secure", "smtp_tls_CAfile": "/etc/certs/ca.pem",
                        "smtp_tls_secure_cert_match": "mx.example.test", "smtp_send_xforward_command": "yes",
                        "smtputf8_enable": "yes", "smtp_tls_loglevel": "1"}
            with postfix.Postfix(d, UNPACKED, settings, "smtp:") as pf:
                with smtplib.SMTP("127.0.0.1", pf.port, timeout=30) as s:
                    s.ehlo("first.client.test")
                    s.sendmail("you@example.test", ["ann@example.test"], BODY)
                e = wait("the message", lambda: p.events(event="received", recipient="ann@example.test") or
                         ("status=deferred" in pf.log() and [{"postfix": pf.log()[-1500:]}]))[0]
                assert e.get("protocol") == "ESMTPS", e
                assert e["orig_client"].endswith("[127.0.0.1]") and e["orig_id"], e
                assert pf.wait_log(r"Verified TLS connection established to 127\.0\.0\.1.*TLSv1\.3"), pf.log()[-2000:]
                [mail] = wait("the mailbox", lambda: p.mailbox("ann"))
                assert b"using TLSv1.3 with cipher" in mail and b"with ESMTPS id" in mail, mail
                with smtplib.SMTP("127.0.0.1", pf.port, timeout=30) as s:
                    s.ehlo("first.client.test")
                    if s.has_extn("smtputf8"):
                        s.command_encoding = "utf-8"
                        s.sendmail("jürgen@example.test", ["käthe@example.test"], BODY, ["SMTPUTF8"])
                        e = wait("the second message", lambda: p.events(event="received", recipient="käthe@example.test") or
                                 ("status=bounced" in pf.log() and [{"postfix": pf.log()[-1500:]}]))[0]
                        assert e.get("protocol") == "UTF8SMTPS" and e["sender"] == "jürgen@example.test", e


def a_certificate_of_somebody_else_is_not_good_enough_for_it(program):
    if not UNPACKED:
        return REASON
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
        certs = certificates(d)
        with Postern(program, LOCAL + TLS, certs=certs) as p:
            settings = {"relayhost": f"[127.0.0.1]:{p.port}", "smtp_tls_security_level": "secure", "smtp_tls_CAfile": "/etc/certs/ca.pem",
                        "smtp_tls_secure_cert_match": "other.test"}
            with postfix.Postfix(d, UNPACKED, settings, "smtp:") as pf:
                with smtplib.SMTP("127.0.0.1", pf.port, timeout=30) as s:
                    s.sendmail("you@example.test", ["ann@example.test"], BODY)
                assert pf.wait_log(r"status=deferred \(Server certificate not verified\)"), pf.log()[-2000:]
                assert not p.events(event="received")


def we_verify_it_as_next_hop(program):
    if not UNPACKED:
        return REASON
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
        certs = certificates(d)
        settings = {"smtpd_tls_cert_file": "/etc/certs/mx.pem", "smtpd_tls_key_file": "/etc/certs/mx.key", "smtpd_tls_loglevel": "1",
                    "smtpd_tls_security_level": "encrypt", "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination"}
        with postfix.Postfix(d, UNPACKED, settings) as pf:
            routes = ('routes: [{{domain: good.test, to: "127.0.0.1:{port}", tls: verify, tls_names: [mx.example.test]}}, '
                      '{{domain: bad.test, to: "127.0.0.1:{port}", tls: verify, tls_names: [other.test]}}, '
                      '{{domain: clear.test, to: "127.0.0.1:{port}", tls: none}}]\n')
            with Postern(program, LOCAL.replace("example.test", "front.test") + QUICK + TLS + routes, certs=certs, port=pf.port) as p:
                for domain in ("good", "bad", "clear"):
                    p.send(f"x@{domain}.test", sender="you@front.test", body=BODY)
                e = p.event(event="delivered", recipient="x@good.test")
                assert "TLSv1.3" in e["tls"] and "verified" in e["tls"], e
                assert pf.wait_log(r"TLS connection established from .*TLSv1\.3"), pf.log()[-2000:]
                e = p.event(event="deferred", recipient="x@bad.test")
                assert "certificate is for mx.example.test" in e["text"] and e["failure_code"] == 4002, e
                e = wait("an outcome", lambda: [e for e in p.events(recipient="x@clear.test") if e["event"] in ("failed", "deferred")])[0]
                assert e["code"] == 530 and "STARTTLS" in e["text"], e


if __name__ == "__main__":
    run([it_verifies_us_and_says_whom_it_has_the_mail_from, a_certificate_of_somebody_else_is_not_good_enough_for_it,
         we_verify_it_as_next_hop])
