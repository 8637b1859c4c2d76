#!/usr/bin/python3
"""Notifications of failure: parsed by Python's email, sent when they should be, silent when they should."""
import email
import email.policy
import os

from harness import BASE, LAB, LOCAL, QUICK, Postern, run, wait
from peers import Host


def parse(octets):
    m = email.message_from_bytes(octets, policy=email.policy.default)
    assert m.get_content_type() == "multipart/report", m.get_content_type()
    assert m.get_param("report-type") == "delivery-status"
    assert not m.defects, m.defects
    parts = list(m.iter_parts())
    assert len(parts) == 3, parts
    return m, parts


def notification(p, count=1):
    return wait("a notification", lambda: [m for m in p.mailbox("you") if b"delivery-status" in m][count - 1:])[0]


def every_field_of_rfc_3464_is_there(program):
    with Postern(program) as p:
        p.send("5.1.1@lab.test", mail=["ENVID=QQ314159", "RET=FULL"],
               rcpt=["NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;Old+2BName@example.org"])
        octets = notification(p)
        m, (human, status, original) = parse(octets)
        assert octets.startswith(b"Return-Path: <>\n")
        assert m["Auto-Submitted"] == "auto-replied" and m["From"] and m["Date"] and m["Message-ID"]
        assert m["To"] == "you@example.test", m["To"]
        fields = status.get_payload()
        message, rcpt = fields[0], fields[1]
        assert message["Reporting-MTA"] == "dns; mx.example.test"
        assert message["Original-Envelope-Id"] == "QQ314159"
        assert message["Arrival-Date"]
        assert rcpt["Original-Recipient"] == "rfc822; Old+Name@example.org", rcpt["Original-Recipient"]
        assert rcpt["Final-Recipient"] == "rfc822; 5.1.1@lab.test"
        assert rcpt["Action"] == "failed" and rcpt["Status"] == "5.1.1"
        assert rcpt["Remote-MTA"].startswith("dns;") and rcpt["Diagnostic-Code"].startswith("smtp; 550 5.1.1")
        assert rcpt["Last-Attempt-Date"] and rcpt["X-Postern-Failure-Code"] == "2001"
        assert original.get_content_type() == "message/rfc822"
        assert b"Hello." in octets
        text = human.get_content()
        for word in ("What happened", "What it means", "Who must act", "What to do"):
            assert word in text, text


def ret_hdrs_returns_the_header_only(program):
    with Postern(program) as p:
        p.send("5.1.1@lab.test", mail=["RET=HDRS"])
        octets = notification(p)
        assert parse(octets)[1][2].get_content_type() == "text/rfc822-headers"
        assert b"Subject: hello" in octets and b"Hello." not in octets


def a_large_original_goes_back_as_its_header(program):
    with Postern(program) as p:
        p.send("5.1.1@lab.test", body=b"Subject: big\r\n\r\n" + b"x" * 70 + (b"\r\n" + b"y" * 70) * 3000 + b"\r\n")
        octets = notification(p)
        assert parse(octets)[1][2].get_content_type() == "text/rfc822-headers" and len(octets) < 20000


def notify_never_is_silent(program):
    with Postern(program) as p:
        p.send("5.1.1@lab.test", rcpt=["NOTIFY=NEVER"])
        p.event(event="failed", recipient="5.1.1@lab.test")
        p.event(event="finished")
        assert not p.events(event="bounced") and not p.mailbox("you")


def a_failure_from_the_null_sender_is_an_event_not_a_notification(program):
    with Postern(program) as p:
        p.send("5.1.1@lab.test", sender="<>")
        e = p.event(event="dsn_undeliverable")
        assert e["recipient"] == "5.1.1@lab.test" and e["failure_code"] == 2001
        p.event(event="finished")
        assert not p.events(event="bounced")


def a_notification_that_fails_makes_no_other(program):
    with Postern(program) as p:
        p.send("5.1.1@lab.test", sender="5.7.1@lab.test")
        p.event(event="bounced")
        p.event(event="dsn_undeliverable")
        wait("an empty queue", lambda: "0 recipients" in p.command("queue", "list"))
        assert len(p.events(event="bounced")) == 1


def recipients(status):
    """The fields of each recipient of a message/delivery-status part, by its address."""
    return {r["Final-Recipient"].split("; ")[1]: r for r in status.get_payload()[1:]}


def success_is_told_to_who_asked_of_what_ends_here(program):
    with Postern(program) as p:
        p.send("ann@example.test", mail=["ENVID=E1", "RET=FULL"], rcpt=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;ann@old.test"])
        octets = notification(p)
        m, (human, status, original) = parse(octets)
        assert status.get_payload()[0]["Original-Envelope-Id"] == "E1"
        r = recipients(status)["ann@example.test"]
        assert (r["Action"], r["Status"], r["Original-Recipient"]) == ("delivered", "2.0.0", "rfc822; ann@old.test"), r
        assert r["Remote-MTA"] is None and r["X-Postern-Failure-Code"] is None, r
        # Even with RET=FULL: nothing failed.
        assert original.get_content_type() == "text/rfc822-headers" and b"Hello." not in octets
        assert m["Subject"].startswith("Delivered mail") and "was delivered" in human.get_content()
        assert p.mailbox("ann")
        # Who did not ask hears nothing, nor does the null sender; a host that knows DSN tells by itself.
        p.send("bob@example.test", rcpt=["NOTIFY=FAILURE"])
        p.send("bob@example.test", sender="<>", rcpt=["NOTIFY=SUCCESS"])
        p.send("ok@lab.test", rcpt=["NOTIFY=SUCCESS"])
        wait("all of it to leave", lambda: len(p.events(event="finished")) == 5)
        assert len(p.events(event="bounced")) == 1 and not p.events(event="dsn_undeliverable")


def a_host_without_dsn_makes_it_relayed(program):
    host = Host("127.0.0.1")
    with Postern(program, LOCAL + QUICK + 'routes: [{{domain: far.test, to: "127.0.0.1:{port}"}}]\n', port=host.port) as p:
        p.send("x@far.test", rcpt=["NOTIFY=SUCCESS"])
        m, (human, status, _) = parse(notification(p))
        r = recipients(status)["x@far.test"]
        assert (r["Action"], r["Status"], r["Remote-MTA"]) == ("relayed", "2.0.0", "dns; 127.0.0.1"), r
        assert r["Diagnostic-Code"] == "smtp; 250 2.0.0 taken" and "no confirmations" in " ".join(human.get_content().split())
        p.send("y@far.test")
        p.event(event="delivered", recipient="y@far.test")
    host.close()


def one_notification_tells_of_failures_first_and_of_successes_below(program):
    with Postern(program) as p:
        with p.smtp() as s:
            s.ehlo()
            s.mail("you@example.test", ["RET=FULL"])
            for address, notify in (("ann@example.test", "SUCCESS"), ("5.1.1@lab.test", "FAILURE"), ("bob@example.test", "NEVER"),
                                    ("5.2.1@lab.test", "SUCCESS"), ("4.2.2@lab.test", "SUCCESS,FAILURE"),
                                    ("5.7.1@lab.test", "SUCCESS,FAILURE")):
                assert s.rcpt(address, [f"NOTIFY={notify}"])[0] == 250
            s.data(b"Subject: hello\r\n\r\nHello.\r\n")
        octets = notification(p)
        m, (human, status, original) = parse(octets)
        assert [r["Action"] for r in status.get_payload()[1:]] == ["failed", "failed", "delivered"], octets
        assert set(recipients(status)) == {"ann@example.test", "5.1.1@lab.test", "5.7.1@lab.test"}
        assert original.get_content_type() == "message/rfc822" and m["Subject"].startswith("Undelivered mail")
        text = human.get_content()
        assert text.index("could not be delivered") < text.index("<5.7.1@") < text.index("was delivered") < text.index("<ann@")
        p.event(event="deferred", recipient="4.2.2@lab.test")
        assert len(p.events(event="bounced")) == 1


BIG = b"Subject: big\r\n\r\n" + (b"y" * 70 + b"\r\n") * 20000


def a_notification_that_cannot_be_written_waits_and_nobody_gets_the_mail_twice(program):
    p = Postern(program, LOCAL + LAB + QUICK + "dsn: {{return_size: 100M}}\n",
                BASE.replace("reserve:", "segment_size: 128KiB, reserve:"))
    # The original fits in a file, the notification around it does not.
    p.file_limit = len(BIG) + 1500
    with p:
        p.send(["ann@example.test", "5.1.1@lab.test"], body=BIG)
        p.event(event="delivered", recipient="ann@example.test")
        p.event(event="failed", recipient="5.1.1@lab.test")
        e = p.event(event="notice")
        assert "notification" in e["text"] and e["queue_id"], e
        e = p.event(event="deferred", recipient="5.1.1@lab.test")
        assert e["failure_code"] == 2001 and e["next"], e
        row = wait("the message at rest", lambda: [r for r in p.command("queue", "list", "--json").splitlines()
                                                   if '"attempts":1' in r])
        assert len(row) == 1 and '"5.1.1@lab.test"' in row[0] and '"status":"deferred"' in row[0], row
        assert "waiting" in p.command("why", "5.1.1@lab.test"), p.command("why", "5.1.1@lab.test")
        assert len(p.mailbox("ann")) == 1 and not p.mailbox("you")
        # An operator's wish is told to have failed, and has changed nothing.
        r = p.command("queue", "bounce", "5.1.1@lab.test", ok=False)
        assert "failed 1" in r.stdout or "1 could not" in r.stdout, r.stdout
        p.stop()
        p.file_limit = None
        p.start()
        p.command("queue", "retry", "5.1.1@lab.test")
        _, (_, status, original) = parse(notification(p))
        assert set(recipients(status)) == {"5.1.1@lab.test"} and original.get_content_type() == "message/rfc822"
        wait("an empty queue", lambda: "0 recipients" in p.command("queue", "list"))
        assert len(p.events(event="delivered", recipient="ann@example.test")) == 1


def an_original_that_cannot_be_read_is_told_of_without_it(program):
    with Postern(program) as p:
        p.send("4.2.2@lab.test", body=BIG)
        p.event(event="deferred", recipient="4.2.2@lab.test")
        wait("the message at rest", lambda: '"attempts":1' in p.command("queue", "list", "--json"))
        p.stop()
        bodies = f"{p.dir}/spool/bodies"
        for name in os.listdir(bodies):
            os.unlink(f"{bodies}/{name}")
        p.start()
        wait("the bounce", lambda: "changed 1" in p.command("queue", "bounce", "4.2.2@lab.test", ok=False).stdout)
        _, (human, status, original) = parse(notification(p))
        assert recipients(status)["4.2.2@lab.test"]["Action"] == "failed"
        assert "could not be read" in original.get_payload(), original


EXPIRE = LOCAL + LAB + ("delivery: {{retry_first: 100ms, retry_max: 300ms, queue_lifetime: 1s, connect_timeout: 1s, "
                        "rcpt_timeout: 1s}}\n")


def an_expired_message_keeps_its_last_real_cause(program):
    with Postern(program, EXPIRE) as p:
        p.send(["452-4.2.2@lab.test", "greylist-1h@lab.test", "any@refused.connect.lab.test"])
        want = {"452-4.2.2@lab.test": 3001, "greylist-1h@lab.test": 3003, "any@refused.connect.lab.test": 4003}
        for address, code in want.items():
            e = p.event(event="failed", recipient=address)
            assert e["failure_code"] == code and e["attempts"] > 1, e
        wait("the notifications", lambda: sum(m.count(b"Status: 5.4.7") for m in p.mailbox("you")) == 3)


LATE = LOCAL + LAB + ("delivery: {{retry_first: 100ms, retry_max: 1h, queue_lifetime: 2h, rcpt_timeout: 1s}}\n"
                      "dsn: {{delay_after: {after}}}\n")


def who_waits_long_is_told_once_and_between_attempts_too(program):
    # The second attempt is an hour away, the notification is not.
    extra = LATE.replace("retry_first: 100ms", "retry_first: 1h")
    with Postern(program, extra, after="300ms") as p:
        p.send("4.2.2@lab.test", mail=["ENVID=E2", "RET=FULL"], rcpt=["ORCPT=rfc822;old@lab.test"])
        octets = notification(p)
        m, (human, status, original) = parse(octets)
        r = recipients(status)["4.2.2@lab.test"]
        assert (r["Action"], r["Status"], r["Original-Recipient"]) == ("delayed", "4.2.2", "rfc822; old@lab.test"), r
        for name in ("Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date", "Will-Retry-Until"):
            assert r[name], name
        until = email.utils.parsedate_to_datetime(str(r["Will-Retry-Until"]))
        arrival = email.utils.parsedate_to_datetime(str(status.get_payload()[0]["Arrival-Date"]))
        assert abs((until - arrival).total_seconds() - 7200) <= 1, (until, arrival)
        assert m["Subject"].startswith("Delayed mail") and "tried again" in human.get_content()
        # Nothing is lost yet, so the header will do.
        assert original.get_content_type() == "text/rfc822-headers"
        assert p.event(event="bounced")["detail"] == "delay"
        assert "The sender was told of the delay: notification" in p.command("why", "4.2.2@lab.test")
        # Once: neither another attempt nor a restart tells it again.
        p.stop()
        p.start()
        p.command("queue", "retry", "4.2.2@lab.test")
        wait("a second attempt", lambda: len(p.events(event="deferred", recipient="4.2.2@lab.test")) == 2)
        p.send("5.1.1@lab.test")
        wait("the other's notification", lambda: len(p.events(event="bounced")) == 2)
        assert [e["detail"] for e in p.events(event="bounced")] == ["delay", "failure"]
        assert len(p.events(event="deferred")) == 2


def nobody_is_told_of_a_delay_who_does_not_want_it(program):
    with Postern(program, LATE, after="1ms") as p:
        for notify in ("NEVER", "FAILURE", "SUCCESS"):
            p.send(f"4.2.2@lab.test", rcpt=["NOTIFY=" + notify])
        p.send("4.2.2@lab.test", sender="<>")
        wait("later attempts", lambda: sum(e["attempts"] == 2 for e in p.events(event="deferred")) == 4)
        assert not p.events(event="bounced")
        p.send("4.2.2@lab.test", rcpt=["NOTIFY=DELAY"])
        p.event(event="bounced", detail="delay")
    with Postern(program, LATE, after="0") as p:
        p.send("4.2.2@lab.test")
        wait("later attempts", lambda: [e for e in p.events(event="deferred") if e["attempts"] == 2])
        assert not p.events(event="bounced")


def international_mail_is_told_of_in_utf8(program):
    with Postern(program, LOCAL + LAB + QUICK) as p:
        r = p.raw()
        r.reply()
        r.say("EHLO client.test")
        for line in ("MAIL FROM:<you@example.test> SMTPUTF8 BODY=8BITMIME RET=FULL",
                     "RCPT TO:<5.1.1@lab.test> ORCPT=utf-8;\u00e9ric@old.test",
                     "RCPT TO:<5.7.1@lab.test> ORCPT=utf-8;\\x{E9}ric\\x{2B}x@old.test", "DATA"):
            r.send(line.encode() + b"\r\n")
            assert r.reply()[0] in "23", line
        r.send("Subject: Gr\u00fc\u00dfe\r\n\r\nK\u00f6rper\r\n.\r\n".encode())
        assert r.reply().startswith("250")
        for line in ("MAIL FROM:<you@example.test>", "RCPT TO:<5.1.1@lab.test> ORCPT=utf-8;\\x{D800}@old.test"):
            answer = r.say(line)
        assert answer.startswith("501"), answer
        r.close()
        octets = notification(p)
        m = email.message_from_bytes(octets, policy=email.policy.default)
        human, status, original = m.iter_parts()
        assert [x.get_content_type() for x in (human, status, original)] == [
            "text/plain", "message/global-delivery-status", "message/global"]
        assert all(x["Content-Transfer-Encoding"] == "8bit" for x in (m, human, status, original))
        text = octets.decode()
        assert "Original-Recipient: utf-8; \u00e9ric@old.test" in text and "utf-8; \u00e9ric\\x{2B}x@old.test" in text, text
        assert "Subject: Gr\u00fc\u00dfe" in text and "K\u00f6rper" in text


COPIES = "dsn: {{postmaster_copies: [bounce, delay, double_bounce], delay_after: 1ms}}\n"


def the_postmaster_gets_copies_of_the_header(program):
    with Postern(program, LOCAL + LAB + QUICK + COPIES) as p:
        p.send(["5.1.1@lab.test", "4.2.2@lab.test"], mail=["RET=FULL"])
        details = lambda: sorted(e["detail"] for e in p.events(event="bounced"))
        copies = wait("copies", lambda: (lambda b: b if sum(x.count(b"Action:") for x in b) == 2 else None)(
            p.mailbox("postmaster")))
        octets = b"".join(copies)
        assert b"Hello." not in octets and octets.count(b"Subject: hello") == len(copies)
        for c in copies:
            m, (human, status, original) = parse(c)
            assert m["To"] == "postmaster@example.test" and m["Subject"].startswith("Postmaster copy: ")
            assert original.get_content_type() == "text/rfc822-headers"
        assert {r["Action"] for c in copies for r in parse(c)[1][1].get_payload()[1:]} == {"failed", "delayed"}
        assert set(details()) <= {"failure", "delay", "copy of failure", "copy of delay"} and len(details()) >= 2


def a_notification_without_a_way_goes_to_the_postmaster_once(program):
    # Its failure is the end of it.
    local = LOCAL.replace("}}", ', postmaster: "5.7.1@lab.test"}}')
    with Postern(program, local + LAB + QUICK + COPIES) as p:
        p.send("5.1.1@lab.test", sender="<>")
        p.event(event="dsn_undeliverable", recipient="5.7.1@lab.test")
        wait("an empty queue", lambda: "0 recipients" in p.command("queue", "list"))
        assert len(p.events(event="bounced")) == 1
    with Postern(program, LOCAL + LAB + QUICK + COPIES) as p:
        p.send("5.1.1@lab.test", sender="<>")
        e = p.event(event="bounced")
        assert e["detail"] == "double bounce" and e["recipient"] == "postmaster@example.test", e
        [octets] = wait("it", lambda: p.mailbox("postmaster"))
        m, (human, status, original) = parse(octets)
        assert "The postmaster was told: notification" in p.command("why", "5.1.1@lab.test")
        assert m["Subject"].startswith("Postmaster, no sender") and "no sender" in human.get_content()
        assert recipients(status)["5.1.1@lab.test"]["Action"] == "failed"


run([international_mail_is_told_of_in_utf8, who_waits_long_is_told_once_and_between_attempts_too, nobody_is_told_of_a_delay_who_does_not_want_it,
     the_postmaster_gets_copies_of_the_header, a_notification_without_a_way_goes_to_the_postmaster_once, every_field_of_rfc_3464_is_there, ret_hdrs_returns_the_header_only, a_large_original_goes_back_as_its_header,
     notify_never_is_silent, a_failure_from_the_null_sender_is_an_event_not_a_notification,
     success_is_told_to_who_asked_of_what_ends_here, a_host_without_dsn_makes_it_relayed,
     one_notification_tells_of_failures_first_and_of_successes_below,
     a_notification_that_cannot_be_written_waits_and_nobody_gets_the_mail_twice,
     an_original_that_cannot_be_read_is_told_of_without_it, a_notification_that_fails_makes_no_other, an_expired_message_keeps_its_last_real_cause])
