#!/usr/bin/python3
"""XCLIENT, XFORWARD and EHLO keywords that some clients do not see.

provokes: relay_denied too_many_connections bad_attribute_value
"""
from harness import LOCAL, Postern, run, wait

TRUST = LOCAL + "mynetworks: [203.0.113.0/24]\nrelay_host: \"127.0.0.1:9\"\nxclient_hosts: [127.0.0.1]\nxforward_hosts: [127.0.0.1]\n"


def begin(p):
    r = p.raw()
    assert r.reply().startswith("220 ")
    return r, r.say("EHLO proxy.test")


def send(r, to):
    assert r.say("EHLO client.test").startswith("250")
    assert r.say("MAIL FROM:<you@example.test>").startswith("250 ")
    answer = r.say(f"RCPT TO:<{to}>")
    if answer.startswith("250 "):
        r.say("DATA")
        answer = r.say("Subject: x\r\n\r\nx\r\n.")
    else:
        r.say("RSET")
    return answer


def a_trusted_client_says_who_its_client_is(program):
    with Postern(program, TRUST) as p:
        r, ehlo = begin(p)
        assert "XCLIENT NAME ADDR" in ehlo and "XFORWARD NAME ADDR" in ehlo, ehlo
        assert r.say("XCLIENT NAME=mail.other.test ADDR=IPV6:2001:db8::1 PORT=4711").startswith("220 mx.example.test")
        assert r.say("MAIL FROM:<you@example.test>").startswith("503 ")  # the greeting is forgotten too
        assert send(r, "ann@example.test").startswith("250 ")
        text = wait("the mail", lambda: p.mailbox("ann"))[0].decode()
        assert "from client.test (mail.other.test [IPv6:2001:db8::1])" in text, text
        assert p.event(event="received")["client"] == "mail.other.test[2001:db8::1]"
        event = p.event(event="xclient")
        assert event["client"] == "mail.other.test[2001:db8::1]" and event["detail"] == "unknown[127.0.0.1]", event
        # What is not named stays; there is no name; the right to say it stays with the connection.
        assert r.say("XCLIENT NAME=[UNAVAILABLE]").startswith("220 ")
        assert send(r, "bob@example.test").startswith("250 ")
        assert p.event(event="received", recipient="bob@example.test")["client"] == "unknown[2001:db8::1]"
        assert r.say("XCLIENT ADDR=192.0.2.300")[0] == "5"
        r.close()


def checks_go_by_what_xclient_said(program):
    with Postern(program, TRUST) as p:
        r, _ = begin(p)
        assert send(r, "x@elsewhere.test").startswith("554 5.7.1 ")
        r.say("XCLIENT ADDR=203.0.113.9")
        assert send(r, "x@elsewhere.test").startswith("250 ")
        r.say("XCLIENT ADDR=192.0.2.1")
        assert send(r, "x@elsewhere.test").startswith("554 5.7.1 ")
        r.say("XCLIENT LOGIN=ann@example.test")
        assert send(r, "x@elsewhere.test").startswith("250 ")
        text = p.event(event="received", recipient="x@elsewhere.test")
        assert text, "no event"
        r.say("XCLIENT LOGIN=[UNAVAILABLE]")
        assert send(r, "x@elsewhere.test").startswith("554 5.7.1 ")
        r.close()


def limits_count_the_new_client(program):
    with Postern(program, TRUST + "limits: {{sessions_per_client: 1}}\n") as p:
        first, _ = begin(p)
        assert first.say("XCLIENT ADDR=192.0.2.1").startswith("220 ")
        second, _ = begin(p)  # our own address is free again
        assert second.say("XCLIENT ADDR=192.0.2.1").startswith("421 ")
        first.say("QUIT")
        first.close()
        second.close()
        wait("the first to end", lambda: len(p.events(event="session_closed")) == 2)
        third, _ = begin(p)
        assert third.say("XCLIENT ADDR=192.0.2.1").startswith("220 ")
        third.close()


def nobody_else_may_say_it(program):
    with Postern(program, TRUST.replace("hosts: [127.0.0.1]", "hosts: [192.0.2.0/24]")) as p:
        r, ehlo = begin(p)
        assert "XCLIENT" not in ehlo and "XFORWARD" not in ehlo, ehlo
        assert r.say("XCLIENT ADDR=203.0.113.9")[0] == "5"
        assert r.say("XFORWARD ADDR=203.0.113.9")[0] == "5"
        assert send(r, "x@elsewhere.test").startswith("554 5.7.1 ")
        r.close()


def xforward_is_for_the_record_only(program):
    with Postern(program, TRUST) as p:
        r, _ = begin(p)
        assert r.say("XFORWARD NAME=first.test ADDR=203.0.113.9 IDENT=4ABC").startswith("250 ")
        assert r.say("XFORWARD HELO=first SOURCE=REMOTE PROTO=ESMTP").startswith("250 ")
        assert send(r, "ann@example.test").startswith("250 ")
        event = p.event(event="received")
        assert event["client"] == "unknown[127.0.0.1]", event
        assert event["orig_client"] == "first.test[203.0.113.9]" and event["orig_id"] == "4ABC", event
        text = wait("the mail", lambda: p.mailbox("ann"))[0].decode()
        assert "203.0.113.9" not in text and "(unknown [127.0.0.1])" in text, text
        # It is no permission, and holds for one message.
        assert send(r, "x@elsewhere.test").startswith("554 5.7.1 ")
        assert send(r, "bob@example.test").startswith("250 ")
        assert "orig_client" not in p.event(event="received", recipient="bob@example.test")
        r.close()


def some_clients_see_fewer_keywords(program):
    discard = ("ehlo_discard:\n  - {{networks: [127.0.0.0/8], keywords: [chunking, dsn]}}\n"
               "  - {{networks: [192.0.2.0/24], keywords: [pipelining, xforward]}}\n")
    with Postern(program, TRUST + discard) as p:
        r, ehlo = begin(p)
        words = {line[4:].split()[0] for line in ehlo.splitlines()[1:]}
        assert not words & {"CHUNKING", "DSN"} and words >= {"PIPELINING", "8BITMIME", "XFORWARD"}, ehlo
        r.say("XCLIENT ADDR=192.0.2.1")
        ehlo = r.say("EHLO client.test")
        words = {line[4:].split()[0] for line in ehlo.splitlines()[1:]}
        assert words >= {"CHUNKING", "DSN", "XCLIENT"} and not words & {"PIPELINING", "XFORWARD"}, ehlo
        r.close()


run([a_trusted_client_says_who_its_client_is, checks_go_by_what_xclient_said, limits_count_the_new_client,
     nobody_else_may_say_it, xforward_is_for_the_record_only, some_clients_see_fewer_keywords])
