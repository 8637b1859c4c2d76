#!/usr/bin/python3
"""A real Dovecot: its mailboxes by LMTP over its socket and over TCP, its users by its auth socket."""
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))
sys.path.insert(0, HERE)
import dovecot  # noqa: E402
from certificates import Authority  # noqa: E402
from harness import BASE, LOCAL, QUICK, Postern, run, wait  # noqa: E402

unpacked, reason = dovecot.have()
USERS = {"ann@example.test": None, "bob@example.test": None, "full@example.test": 2000, "postmaster@example.test": None}


def through(program, kind):
    if reason:
        return reason
    directory = tempfile.mkdtemp(prefix="pd-")
    try:
        with dovecot.Dovecot(directory, unpacked, USERS) as d:
            to = f"lmtp:unix:{d.socket}" if kind == "unix" else f"lmtp:127.0.0.1:{d.port}"
            config = QUICK + 'local: {{domains: [example.test], delivery: "{to}"}}\n'
            with Postern(program, config, to=to) as p:
                big = b"Subject: big\r\n\r\n" + b"0123456789\r\n" * 1000
                everybody = ["ann@example.test", "bob@example.test", "full@example.test", "nobody@example.test", "postmaster"]
                p.send(everybody, body=big)
                for user in ("ann@example.test", "bob@example.test"):
                    e = p.event(event="delivered", recipient=user)
                    assert e["code"] == 250 and e["attempts"] == 1, e
                p.event(event="delivered", recipient="postmaster")
                full = wait("quota", lambda: [e for e in p.events(recipient="full@example.test")
                            if e["event"] in ("deferred", "failed")])[0]
                assert full["failure_code"] == 3001 and "uota" in full["text"], full
                gone = p.event(event="failed", recipient="nobody@example.test")
                assert gone["failure_code"] == 2001 and gone["stage"] == "rcpt", gone
                for user in ("ann@example.test", "bob@example.test", "postmaster@example.test"):
                    [mail] = d.mailbox(user)
                    assert b"Subject: big\n\n0123456789\n" in mail.replace(b"\r\n", b"\n"), mail[-300:]
                    assert mail.startswith(b"Return-Path: <you@example.test>"), mail[:200]
                assert not d.mailbox("full@example.test")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return None


def over_its_unix_socket_each_recipient_has_an_answer_of_his_own(program):
    return through(program, "unix")


def over_tcp_as_well(program):
    return through(program, "tcp")


def its_users_log_in(program):
    if reason:
        return reason
    directory = tempfile.mkdtemp(prefix="pd-")
    certificates = Authority(directory + "/certs").make("mx", "localhost")
    try:
        with dovecot.Dovecot(directory, unpacked, USERS) as d:
            base = BASE.replace('{{address: "127.0.0.1:0"}}', '{{address: "127.0.0.1:0", service: submission}}')
            config = LOCAL + 'tls: {{certificate: "{certs}/mx.pem", key: "{certs}/mx.key"}}\nauth: {{dovecot_socket: "{socket}", ' \
                "mechanisms: PLAIN LOGIN SCRAM-SHA-256}}\n"
            with Postern(program, config, base=base, certs=certificates.directory, socket=d.auth_socket) as p:
                def tried(*words):
                    r = subprocess.run(["swaks", "--server", f"localhost:{p.listeners[0]}", "--tls", "--from", "ann@example.test",
                                        "--to", "ann@example.test", "--auth-user", "ann@example.test", *words],
                                       capture_output=True, text=True, timeout=60)
                    return r.returncode
                for mechanism in ("PLAIN", "LOGIN"):
                    assert tried("--auth", mechanism, "--auth-password", dovecot.PASSWORD) == 0, d.log()
                    assert tried("--auth", mechanism, "--auth-password", "wrong") != 0
                assert p.event(event="received", recipient="ann@example.test")["user"] == "ann@example.test"
                assert p.event(event="auth_failed")["code"] == 535
                if shutil.which("msmtp"):  # SCRAM's octets pass through us untouched
                    rc = f"{directory}/msmtprc"
                    with open(rc, "w", encoding="utf-8") as f:
                        f.write(f"account default\nhost localhost\nport {p.listeners[0]}\nfrom ann@example.test\ntls on\n"
                                f"tls_trust_file {certificates.path('ca')}\nauth scram-sha-256\nuser ann@example.test\n"
                                f"password {dovecot.PASSWORD}\n")
                    os.chmod(rc, 0o600)
                    r = subprocess.run(["msmtp", "-C", rc, "ann@example.test"], input="Subject: scram\n\nx\n", capture_output=True,
                                       text=True, timeout=60)
                    assert r.returncode == 0, (r.stderr, d.log())
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return None


run([over_its_unix_socket_each_recipient_has_an_answer_of_his_own, over_tcp_as_well, its_users_log_in])
