#!/usr/bin/python3
"""Other people's programs: smtplib, swaks and a real Postfix as senders, a real Postfix as next hop."""
import hashlib
import os
import shutil
import smtplib
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))
sys.path.insert(0, HERE)
from harness import LAB, LOCAL, QUICK, Postern, run, wait  # noqa: E402
import postfix  # noqa: E402

UNPACKED, REASON = postfix.have()

BODIES = {
    "plain": b"Hello.\r\n",
    "empty": b"",
    "dots": b".\r\n..\r\n...\r\n.a\r\n\r\n.\r\nend\r\n",
    "8bit": "Gr\u00fc\u00dfe \u2709\r\n".encode() * 3,
    "blank end": b"text\r\n\r\n\r\n",
    "long lines": b"x" * 900 + b"\r\n" + b"y" * 998 + b"\r\n",
    "5 MB": (b"0123456789" * 7 + b"\r\n") * 70000,
}


def message(name, body):
    return b"Subject: " + name.encode() + b"\r\nFrom: you@example.test\r\nTo: x@example.test\r\n\r\n" + body


def body_of(octets):
    return octets.split(b"\n\n", 1)[1]


def same(got, sent):
    """In a Maildir lines end with LF; otherwise every octet is the sender's."""
    return hashlib.sha256(got).digest() == hashlib.sha256(sent.replace(b"\r\n", b"\n")).digest()


def arrived(p, user):
    return wait(f"mail for {user}", lambda: p.mailbox(user))[0]


def smtplib_delivers_every_body_octet_by_octet(program):
    with Postern(program, LOCAL) as p:
        for i, (name, body) in enumerate(BODIES.items()):
            with p.smtp() as s:
                s.sendmail("you@example.test", [f"u{i}@example.test"], message(name, body),
                           ["BODY=8BITMIME"] if name == "8bit" else [])
            assert same(body_of(arrived(p, f"u{i}")), body), name


def swaks_pipelines_and_speaks_dsn(program):
    if not shutil.which("swaks"):
        return "swaks is not installed"
    with Postern(program, LOCAL) as p:
        for i, extra in enumerate(([], ["--pipeline"], ["--protocol", "SMTP"])):
            r = subprocess.run(["swaks", "--server", f"127.0.0.1:{p.port}", "--from", "you@example.test", "--to",
                                f"s{i}@example.test", *extra], capture_output=True, text=True, timeout=60)
            assert r.returncode == 0, r.stdout
            assert "250 2.0.0 Ok: queued as" in r.stdout, r.stdout
            arrived(p, f"s{i}")


def a_real_postfix_sends_to_it(program):
    if not UNPACKED:
        return REASON
    with Postern(program, LOCAL) as p, tempfile.TemporaryDirectory(dir="/var/tmp") as d:
        with postfix.Postfix(d, UNPACKED, {"relayhost": f"[127.0.0.1]:{p.port}"}, "smtp:") as pf:
            for i, (name, body) in enumerate(BODIES.items()):
                with smtplib.SMTP("127.0.0.1", pf.port, timeout=30) as s:
                    s.sendmail("you@example.test", [f"p{i}@example.test"], message(name, body),
                               ["BODY=8BITMIME", "ENVID=abc"] if name == "8bit" else [])
                octets = arrived(p, f"p{i}")
                assert same(body_of(octets), body), name
                assert b"Received: from postfix.example.net" in octets, octets[:500]
            # Refusals are understood by the other side, with their enhanced status codes.
            with smtplib.SMTP("127.0.0.1", pf.port, timeout=30) as s:
                s.sendmail("you@example.test", ["no@relay.test"], message("relay", b"x\r\n"))
            # mynetworks has loopback, so it is taken and then fails by DNS or routes; what counts is the answer.
            assert pf.wait_log(r"to=<no@relay\.test>.*status=(sent|bounced|deferred)")
            m = pf.wait_log(r"to=<p0@example\.test>.*dsn=(\S+), status=sent \((250 2\.0\.0 Ok: queued as \w+)\)")
            assert m and m.group(1) == "2.0.0", pf.log()[-2000:]


ROUTE = "routes: [{{domain: sink.test, to: \"127.0.0.1:{port}\"}}, {{domain: other.test, to: \"127.0.0.1:{port}\"}}]\n"


def a_real_postfix_takes_from_it(program):
    if not UNPACKED:
        return REASON
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
        # What Postfix gets it sends back to a mailbox of ours, so that the octets can be compared.
        with Postern(program, LOCAL) as back, postfix.Postfix(
                d, UNPACKED, {"relayhost": f"[127.0.0.1]:{back.port}", "mynetworks": "127.0.0.0/8",
                              "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination"}, "smtp:") as pf:
            with Postern(program, LOCAL.replace("example.test", "front.test") + ROUTE.replace("sink.test", "example.test"),
                         port=pf.port) as p:
                for i, (name, body) in enumerate(BODIES.items()):
                    p.send(f"f{i}@example.test", sender="you@front.test", body=message(name, body),
                           mail=["BODY=8BITMIME"] if name == "8bit" else [])
                for i, (name, body) in enumerate(BODIES.items()):
                    octets = arrived(back, f"f{i}")
                    assert same(body_of(octets), body), name
                    e = p.event(event="delivered", recipient=f"f{i}@example.test")
                    assert e["code"] == 250 and "queued as" in e["text"], e


def a_real_postfix_s_refusals_are_understood(program):
    if not UNPACKED:
        return REASON
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
        settings = {"mynetworks": "192.0.2.0/24", "smtpd_relay_restrictions": "reject_unauth_destination",
                    "relay_domains": "sink.test", "relay_recipient_maps": "inline:{{known@sink.test=x}}",
                    "message_size_limit": "20000"}
        with postfix.Postfix(d, UNPACKED, settings) as pf:
            with Postern(program, LOCAL + QUICK + ROUTE, port=pf.port) as p:
                p.send("a@other.test")
                e = p.event(event="failed", recipient="a@other.test")
                assert (e["code"], e["failure_code"]) == (554, 4006) and "Relay access denied" in e["text"], e
                p.send("unknown@sink.test")
                e = p.event(event="failed", recipient="unknown@sink.test")
                assert (e["code"], e["failure_code"], e["enhanced"]) == (550, 2001, "5.1.1"), e
                p.send("known@sink.test", body=message("big", b"x" * 70 + (b"\r\n" + b"y" * 70) * 500))
                e = p.event(event="failed", recipient="known@sink.test")
                assert e["failure_code"] == 1004, e


def dsn_parameters_reach_a_real_postfix(program):
    if not UNPACKED:
        return REASON
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d, Postern(
            program, LOCAL + "restrictions: {{recipient: [reject_unauth_destination]}}\n") as back:
        # What `back` refuses is a failure of Postfix's; its notifications go there too.
        refused = f"smtp:[127.0.0.1]:{back.port}"
        settings = {"relayhost": f"[127.0.0.1]:{back.port}",
                    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
                    "transport_maps": "inline:{{gone@sink.test=%s} {never@sink.test=%s} {ok@sink.test=discard:}}"
                                      % (refused, refused)}
        with postfix.Postfix(d, UNPACKED, settings, "smtp:") as pf:
            with Postern(program, LOCAL.replace("example.test", "front.test") + ROUTE, port=pf.port) as p:
                p.send("never@sink.test", rcpt=["NOTIFY=NEVER"])
                bounced = pf.wait_log(r"(\w+): to=<never@sink\.test>.* dsn=5\.7\.1, status=bounced")
                assert bounced, pf.log()[-2000:]
                queue_id = bounced.group(1)
                assert pf.wait_log(queue_id + ": removed"), pf.log()[-2000:]
                assert "notification" not in pf.log(), pf.log()
                p.send("gone@sink.test", mail=["ENVID=QQ+2B1", "RET=HDRS"],
                       rcpt=["NOTIFY=FAILURE", "ORCPT=rfc822;k+2Bl@x.test"])
                assert pf.wait_log(r"sender non-delivery notification: \w+"), pf.log()[-2000:]
                octets = arrived(back, "you")
                assert b"\nOriginal-Envelope-Id: QQ+1\n" in octets, octets
                assert b"\nOriginal-Recipient: rfc822;k+l@x.test\n" in octets, octets
                assert b"\nContent-Type: text/rfc822-headers" in octets, octets
                p.send("ok@sink.test", rcpt=["NOTIFY=SUCCESS"])
                assert pf.wait_log(r"sender delivery status notification: \w+"), pf.log()[-2000:]


def dsn_parameters_come_from_a_real_postfix(program):
    if not UNPACKED:
        return REASON
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d, Postern(program, LOCAL + LAB + QUICK) as p:
        with postfix.Postfix(d, UNPACKED, {"relayhost": f"[127.0.0.1]:{p.port}"}, "smtp:") as pf:
            with smtplib.SMTP("127.0.0.1", pf.port, timeout=30) as s:
                s.sendmail("you@example.test", ["5.1.1@lab.test"], message("dsn", b"secret\r\n"),
                           ["ENVID=QQ+2B2", "RET=HDRS"], ["NOTIFY=FAILURE", "ORCPT=rfc822;k+2Bl@x.test"])
            octets = arrived(p, "you")
            assert b"\nOriginal-Envelope-Id: QQ+2\n" in octets, octets
            assert b"\nOriginal-Recipient: rfc822; k+l@x.test\n" in octets, octets
            assert b"secret" not in octets, octets


if __name__ == "__main__":
    tests = [smtplib_delivers_every_body_octet_by_octet, swaks_pipelines_and_speaks_dsn, a_real_postfix_sends_to_it,
             a_real_postfix_takes_from_it, a_real_postfix_s_refusals_are_understood,
             dsn_parameters_reach_a_real_postfix, dsn_parameters_come_from_a_real_postfix]
    run(tests)
