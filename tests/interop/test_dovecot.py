#!/usr/bin/python3
"""Mailboxes of a real Dovecot, by LMTP over its socket and over TCP."""
import os
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))
sys.path.insert(0, HERE)
import dovecot  # noqa: E402
from harness import QUICK, Postern, run, wait  # noqa: E402

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


run([over_its_unix_socket_each_recipient_has_an_answer_of_his_own, over_tcp_as_well])
