#!/usr/bin/python3
"""The server on its socket: who may send, what is refused, limits, a clean stop, a restart.

provokes: relay_denied rcpt_unknown server_ports_busy too_many_connections timeout size_fixed_limit message_too_big closing bare_lf mail_loop
"""
import os
import re
import smtplib

from harness import BASE, LAB, LOCAL, QUICK, Postern, run, wait

STRANGER = LOCAL + "mynetworks: []\nreply_style: postfix\n"


def a_letter_ends_in_the_maildir_with_its_trace(program):
    with Postern(program) as p:
        p.send(["ann@example.test", "bob@example.test"], sender="you@example.test")
        for user in ("ann", "bob"):
            octets = wait(user, lambda: p.mailbox(user))[0]
            assert octets.startswith(b"Return-Path: <you@example.test>\nDelivered-To: " + user.encode())
            assert re.search(rb"^Received: from \S+ \(unknown \[127\.0\.0\.1\]\)\n\tby mx\.example\.test \(Postern\) with "
                             rb"ESMTP id \w+; ", octets, re.M), octets
            assert octets.endswith(b"\n\nHello.\n") and b"\r" not in octets


def postmaster_is_always_accepted(program):
    with Postern(program, STRANGER.replace("]", "], recipients: [ann@example.test]", 1)) as p:
        with p.smtp() as s:
            s.ehlo()
            s.docmd("MAIL FROM:<a@b.test>")
            assert s.docmd("RCPT TO:<postmaster>")[0] == 250
            assert s.docmd("RCPT TO:<PostMaster@example.test>")[0] == 250
            code, text = s.docmd("RCPT TO:<nobody@example.test>")
            assert (code, text) == (550, b"5.1.1 <nobody@example.test>: Recipient address rejected: User unknown in "
                                         b"local recipient table"), text
        e = p.event(event="refused", recipient="nobody@example.test")
        assert e["reply_id"] == "rcpt_unknown" and "reject_unlisted_recipient" in e["trace"], e
        why = p.command("why", "nobody@example.test")
        assert p.command("why", e["session"]).count("our answer") == 1
        assert "refused" in why and "checks" in why, why


def a_stranger_may_not_relay(program):
    with Postern(program, STRANGER) as p:
        with p.smtp() as s:
            s.ehlo()
            s.docmd("MAIL FROM:<a@b.test>")
            for to in ("<x@elsewhere.test>", "<x%elsewhere.test@other.test>", "<@example.test:x@elsewhere.test>"):
                code, text = s.docmd(f"RCPT TO:{to}")
                assert code == 554 and text.startswith(b"5.7.1 <") and text.endswith(b">: Relay access denied"), text


def bare_line_feeds_are_refused_and_smuggle_nothing(program):
    with Postern(program) as p:
        for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n"):
            r = p.raw()
            r.reply()
            r.say("EHLO x")
            r.say("MAIL FROM:<a@b.test>")
            r.say("RCPT TO:<ann@example.test>")
            assert r.say("DATA").startswith("354")
            r.send(b"Subject: x\r\n\r\nbefore" + end + b"MAIL FROM:<evil@b.test>\r\nRCPT TO:<bob@example.test>\r\n"
                   b"DATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n")
            answer = r.reply()
            assert answer.startswith("5"), (end, answer)
            r.close()
        p.event(event="refused", reply_id="bare_lf")
        assert not p.mailbox("ann") and not p.mailbox("bob")


def a_loop_ends(program):
    with Postern(program) as p:
        try:
            p.send("ann@example.test", body=b"Received: by x; now\r\n" * 60 + b"\r\nhi\r\n")
            raise AssertionError("taken")
        except smtplib.SMTPDataError as e:
            assert e.smtp_code == 554 and e.smtp_error.startswith(b"5.4.6"), e


def sizes_are_limited_before_and_after(program):
    with Postern(program, LOCAL + "limits: {{message_size: 10k}}\n") as p:
        with p.smtp() as s:
            s.ehlo()
            assert s.esmtp_features["size"] == "10240"
            code, text = s.docmd("MAIL FROM:<a@b.test> SIZE=20000")
            assert code == 552 and text.startswith(b"5.3.4"), text
            s.docmd("MAIL FROM:<a@b.test>")
            s.docmd("RCPT TO:<ann@example.test>")
            code, text = s.data(b"x" * 70 + (b"\r\n" + b"y" * 70) * 200)
            assert code == 552 and text.startswith(b"5.3.4"), text
        assert not p.mailbox("ann")


def early_talkers_are_counted(program):
    # Octets must be in the socket before the server looks; with a backlog of clients some are.
    with Postern(program) as p:
        def talk():
            r = p.raw()
            r.send(b"EHLO x\r\n")
            r.reply()
            r.close()
            return p.events(event="early_talker")
        wait("an early talker that is seen", talk)


def one_client_has_so_many_sessions(program):
    with Postern(program, LOCAL + "limits: {{sessions_per_client: 2}}\nreply_style: postfix\n") as p:
        a, b, c = p.raw(), p.raw(), p.raw()
        greetings = sorted(x.reply() for x in (a, b, c))
        assert greetings[0].startswith("220") and greetings[1].startswith("220"), greetings
        assert greetings[2].startswith("421 4.7.0") and "too many connections from unknown[127.0.0.1]" in greetings[2]
        for x in (a, b, c):
            x.close()


def all_clients_together_have_so_many_sessions(program):
    with Postern(program, LOCAL + "limits: {{sessions: 2}}\nreply_style: postfix\n") as p:
        clients = [p.raw() for _ in range(3)]
        greetings = sorted(x.reply() for x in clients)
        assert [g[:3] for g in greetings] == ["220", "220", "421"], greetings
        assert greetings[2] == "421 4.3.2 All server ports are busy\r\n", greetings[2]
        for x in clients:
            x.close()


def a_client_with_many_errors_is_slowed_down_then_put_out(program):
    with Postern(program, LOCAL + "limits: {{errors_soft: 3, errors_hard: 5}}\nreply_style: postfix\n") as p:
        r = p.raw()
        r.reply()
        answers = [r.say("NONSENSE") for _ in range(6)]
        assert all(a.startswith("502 5.5.2") for a in answers[:5]), answers
        assert answers[5].startswith("421 4.7.0") and "too many errors" in answers[5], answers
        assert r.eof()
        r.close()


def silence_ends_a_session(program):
    with Postern(program, LOCAL + "limits: {{command_timeout: 1s}}\nreply_style: postfix\n") as p:
        r = p.raw()
        r.reply()
        answer = r.reply()
        assert answer.startswith("421 4.4.2") and "timeout exceeded" in answer, answer
        assert r.eof()
        r.close()


def a_clean_stop_lets_a_message_in_and_loses_nothing(program):
    with Postern(program, LOCAL) as p:
        idle, busy = p.raw(), p.raw()
        idle.reply()
        busy.reply()
        for line in ("EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<ann@example.test>", "DATA"):
            busy.say(line)
        busy.send(b"Subject: late\r\n\r\nhi\r\n")
        p.process.terminate()
        assert idle.reply().startswith("421"), "an idle session is told"
        busy.send(b".\r\n")
        assert busy.reply().startswith("250 2.0.0 Ok: queued as ")
        assert busy.reply().startswith("421")
        assert p.process.wait(timeout=60) == 0
        p.process.stdout.close()
        p.process = None
        p.start()
        wait("the letter", lambda: p.mailbox("ann"))
        idle.close()
        busy.close()


def what_is_queued_survives_a_restart(program):
    with Postern(program) as p:
        p.send("4.2.2@lab.test")
        p.event(event="deferred", recipient="4.2.2@lab.test")
        p.stop()
        assert "4.2.2@lab.test" in p.command("queue", "list"), "the stopped spool can be read"
        p.start()
        assert '"attempts":1' in p.command("queue", "list", "--json").replace(" ", "")
        p.command("queue", "retry", "id=*")
        wait("a second attempt", lambda: len(p.events(event="deferred", recipient="4.2.2@lab.test")) == 2)


def two_servers_do_not_share_a_spool(program):
    with Postern(program) as p:
        r = p.command("serve", ok=False)
        assert r.returncode == 1 and "another postern is running" in r.stderr, r.stderr


def a_busy_port_is_named(program):
    with Postern(program) as p:
        other = Postern(program, LOCAL, BASE.replace("127.0.0.1:0", f"127.0.0.1:{p.port}"))
        r = other.command("serve", ok=False)
        assert r.returncode == 1 and f"port {p.port}" in r.stderr and "postern.yaml:5" in r.stderr, r.stderr
        other.process = None
        other.__exit__(None)


def the_queue_is_listed_and_changed(program):
    with Postern(program) as p:
        p.send(["4.2.2@lab.test", "POL-T1@lab.test", "timeout@lab.test"])
        for a in ("4.2.2", "POL-T1", "timeout"):
            p.event(event="deferred", recipient=f"{a}@lab.test")
        wait("the message at rest", lambda: "3 recipients of 1 message\n" in p.command("queue", "list"))
        assert "1 recipient of" in p.command("queue", "list", "failure=1002")
        assert "2 recipients" in p.command("queue", "list", "code=4xx", "recipient=*@LAB.test")
        assert "0 recipients" in p.command("queue", "list", "age>1h")
        assert "3 recipients" in p.command("queue", "list", "age<1h", "attempts>=1", "status=deferred,held")
        shown = p.command("queue", "show", "POL-T1@lab.test")
        assert "last attempt" in shown and "POL-T1" in shown
        assert "dry run" in p.command("queue", "hold", "--dry-run", "id=*")
        assert "0 recipients" in p.command("queue", "list", "status=held")
        assert "changed 1" in p.command("queue", "hold", "POL-T1@lab.test")
        assert "on hold" in p.command("why", "POL-T1@lab.test")
        assert "1 recipient of" in p.command("queue", "list", "status=held")
        p.command("queue", "release", "POL-T1@lab.test")
        wait("an attempt after the release", lambda: len(p.events(event="deferred", recipient="POL-T1@lab.test")) == 2)
        # It is busy until the new state is on disk, a little after the event.
        wait("the message at rest", lambda: "changed 1" in p.command("queue", "delete", "4.2.2@lab.test"))
        p.event(event="deleted", recipient="4.2.2@lab.test")
        p.command("queue", "bounce", "timeout@lab.test")
        p.event(event="bounced")
        wait("the notification", lambda: p.mailbox("you"))
        assert "1 recipient of" in p.command("queue", "list")
        r = p.command("queue", "list", "colour=red", ok=False)
        assert r.returncode == 1 and "no field" in r.stderr, r.stderr
        assert p.command("queue", "delete", ok=False).returncode == 2


def why_answers_by_every_name(program):
    with Postern(program) as p:
        p.send("4.2.2@lab.test", body=b"Message-ID: <m-1@example.test>\r\nSubject: x\r\n\r\nhi\r\n")
        queue_id = p.event(event="deferred")["queue_id"]
        for key in (queue_id, "<m-1@example.test>", "m-1@example.test", "4.2.2@lab.test", "you@example.test"):
            text = p.command("why", key)
            assert queue_id in text and "attempt 2 in" in text, (key, text)
        r = p.command("why", "stranger@nowhere.test", ok=False)
        assert r.returncode == 1 and "nothing is known" in r.stderr


def try_says_what_a_session_would_say(program):
    with Postern(program, STRANGER.replace("]", "], recipients: [ann@example.test]", 1)) as p:
        r = p.command("try", "--to", "x@elsewhere.test", ok=False)
        assert r.returncode == 1 and r.stdout.startswith("554 5.7.1 <x@elsewhere.test>: Relay access denied"), r.stdout
        assert "domain_class(elsewhere.test)=none -> reject" in r.stdout, r.stdout
        assert p.command("try", "--to", "nobody@example.test", ok=False).stdout.startswith("550 5.1.1")
        assert p.command("try", "--to", "ann@example.test").startswith("250 2.1.5")
        assert p.command("try", "--to", "x@elsewhere.test", "--user", "ann").startswith("250 2.1.5")


run([try_says_what_a_session_would_say, a_letter_ends_in_the_maildir_with_its_trace, postmaster_is_always_accepted, a_stranger_may_not_relay,
     bare_line_feeds_are_refused_and_smuggle_nothing, a_loop_ends, sizes_are_limited_before_and_after,
     early_talkers_are_counted, one_client_has_so_many_sessions, all_clients_together_have_so_many_sessions,
     a_client_with_many_errors_is_slowed_down_then_put_out, silence_ends_a_session,
     a_clean_stop_lets_a_message_in_and_loses_nothing, what_is_queued_survives_a_restart,
     two_servers_do_not_share_a_spool, a_busy_port_is_named, the_queue_is_listed_and_changed,
     why_answers_by_every_name])
