#!/usr/bin/python3
"""LMTP (RFC 2033): an answer for each recipient, over TCP and over a unix socket, for routes and for local domains."""
import os
import tempfile

from harness import LOCAL, QUICK, Postern, run, wait
from peers import Mta

ROUTES = """
routes:
  - {{domain: tcp.test, to: "lmtp:127.0.0.1:{port}"}}
  - {{domain: unix.test, to: "lmtp:unix:{path}"}}
  - {{domain: nobody.test, to: "lmtp:unix:{path}.not"}}
"""
OFFERS = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES")
ANSWERS = [b"250 2.0.0 a\r\n", b"452 4.2.2 Quota exceeded\r\n", b"552 5.2.2 Quota exceeded\r\n", b"250 2.0.0 d\r\n"]


class World:
    def __init__(self, program, config=LOCAL + QUICK + ROUTES, **host):
        host.setdefault("ehlo", OFFERS)
        self.dir = tempfile.TemporaryDirectory(prefix="postern-lmtp-")
        path = f"{self.dir.name}/lmtp"
        self.tcp, self.unix = Mta(lmtp=True, **host), Mta(lmtp=True, path=path, **host)
        self.postern = Postern(program, config, port=self.tcp.port, path=path)

    def __enter__(self):
        self.postern.start()
        return self

    def __exit__(self, *what):
        self.postern.__exit__(*what)
        self.tcp.close()
        self.unix.close()
        self.dir.cleanup()

    def outcomes(self, to, **how):
        self.postern.send(to, **how)
        return [wait(f"an attempt for {t}", lambda: [e for e in self.postern.events(recipient=t)
                if e["event"] in ("delivered", "deferred", "failed")])[-1] for t in to]


def check_each(w, host, domain):
    to = [f"{u}@{domain}" for u in ("a", "b", "refused", "c", "d")]
    es = w.outcomes(to)
    assert [e["event"] for e in es] == ["delivered", "deferred", "failed", "failed", "delivered"], es
    assert [e["code"] for e in es] == [250, 452, 550, 552, 250], es
    assert es[1]["failure_code"] == es[3]["failure_code"] == 3001 and es[2]["failure_code"] == 2001, es
    assert es[0]["text"] == "a" and es[4]["text"] == "d", es
    assert es[2]["stage"] == "rcpt" and es[3]["stage"] == "message", es
    assert len(host.messages) == 1 and host.sessions[0].commands[0].startswith("LHLO ")
    # Who is to be tried again is the one, and only he.
    wait("the retry", lambda: w.postern.command("queue", "retry", f"recipient=b@{domain}", ok=False) and
         w.postern.events(event="retry", recipient=f"b@{domain}"))
    wait("the second attempt", lambda: len([e for e in w.postern.events(recipient=f"b@{domain}")
         if e["event"] in ("delivered", "deferred")]) == 2)
    assert [r.split(" ")[1] for r in host.messages[-1]["rcpts"]] == [f"TO:<b@{domain}>"], host.messages[-1]["rcpts"]


def refuse(session, line):
    return b"550 5.1.1 no such mailbox\r\n" if "refused" in line else None


def by_number(session, line):
    """Four recipients: one answer for each; one of them alone: taken."""
    accepted = [c for c in session.commands if c.startswith("RCPT") and "refused" not in c]
    return ANSWERS if len(accepted) == 4 else [b"250 2.0.0 b\r\n"]


def each_recipient_gets_his_own_answer_over_tcp(program):
    with World(program, answers={"RCPT": refuse, ".": by_number}) as w:
        check_each(w, w.tcp, "tcp.test")


def each_recipient_gets_his_own_answer_over_a_unix_socket(program):
    with World(program, answers={"RCPT": refuse, ".": by_number}) as w:
        check_each(w, w.unix, "unix.test")
        assert w.postern.events(event="delivered", recipient="a@unix.test")[0]["address"].startswith("unix:/")


def each_recipient_gets_his_own_answer_in_chunks(program):
    config = LOCAL + QUICK.replace("delivery: {{", "delivery: {{chunking: true, ") + ROUTES
    with World(program, config, ehlo=OFFERS + ("CHUNKING",), answers={"RCPT": refuse, "BDAT": by_number}) as w:
        check_each(w, w.tcp, "tcp.test")
        assert w.tcp.messages[0]["chunks"]


def a_connection_lost_between_the_answers_counts_for_those_without(program):
    with World(program, answers={".": [b"250 2.0.0 a\r\n", None]}) as w:
        es = w.outcomes(["a@tcp.test", "b@tcp.test", "c@tcp.test"])
        assert [e["event"] for e in es] == ["delivered", "deferred", "deferred"], es
        assert es[1]["failure_code"] == 4002 and es[1]["stage"] == "message", es


def a_socket_that_is_not_there_puts_mail_off(program):
    with World(program) as w:
        [e] = w.outcomes(["a@nobody.test"])
        assert (e["event"], e["failure_code"]) == ("deferred", 4003) and "unix:/" in e["text"], e


def local_domains_are_delivered_by_lmtp_when_it_is_said(program):
    config = QUICK + 'local: {{domains: [example.test], delivery: "lmtp:unix:{path}", postmaster: root}}\n'
    with World(program, config) as w:
        es = w.outcomes(["ann@example.test", "bob@example.test", "postmaster"], sender="x@far.test",
                        rcpt=["NOTIFY=SUCCESS"])
        assert [e["event"] for e in es] == ["delivered"] * 3, es
        assert w.unix.messages[0]["rcpts"] == ["RCPT TO:<ann@example.test>", "RCPT TO:<bob@example.test>",
                                               "RCPT TO:<root@example.test>"], w.unix.messages[0]["rcpts"]
        assert w.unix.messages[0]["mail"].startswith("MAIL FROM:<x@far.test>")
        assert not os.path.exists(f"{w.postern.dir}/mail")
        # A mailbox is the end of the way: the sender who asked is told "delivered", not "relayed".
        w.postern.send("ann@example.test", sender="bob@example.test", rcpt=["NOTIFY=SUCCESS"])
        dsn = wait("the notification", lambda: [m for m in w.unix.messages if b"delivery-status" in m["data"]])[0]
        assert b"Action: delivered" in dsn["data"] and dsn["rcpts"] == ["RCPT TO:<bob@example.test>"], dsn


def what_is_no_lmtp_gets_no_mail(program):
    # an SMTP host answers LHLO with 500; there is no HELO to fall back on
    with World(program, answers={"LHLO": b"500 5.5.1 what?\r\n"}) as w:
        [e] = w.outcomes(["a@tcp.test"])
        assert e["event"] in ("deferred", "failed") and e["stage"] == "helo", e
        assert [c.split(" ")[0] for c in w.tcp.sessions[0].commands] == ["LHLO", "QUIT"]


run([each_recipient_gets_his_own_answer_over_tcp, each_recipient_gets_his_own_answer_over_a_unix_socket,
     each_recipient_gets_his_own_answer_in_chunks, a_connection_lost_between_the_answers_counts_for_those_without,
     a_socket_that_is_not_there_puts_mail_off, local_domains_are_delivered_by_lmtp_when_it_is_said,
     what_is_no_lmtp_gets_no_mail])
