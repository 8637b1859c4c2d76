#!/usr/bin/python3
"""Chunks, binary bodies, international addresses, ETRN: what EHLO announces works from the socket to the mailbox."""
import socket

from harness import LOCAL, QUICK, Postern, run, wait
from peers import Host


def greeted(p):
    r = p.raw()
    assert r.reply().startswith("220 ")
    said = r.say("EHLO client.test")
    assert said.startswith("250"), said
    return r, [line[4:].strip() for line in said.splitlines()]


def the_extensions_are_announced(program):
    with Postern(program) as p:
        r, words = greeted(p)
        for word in ("SMTPUTF8", "CHUNKING", "BINARYMIME", "LIMITS RCPTMAX=1000", "ETRN", "8BITMIME", "DSN"):
            assert word in words, (word, words)
        assert not any(w.startswith(("AUTH", "STARTTLS", "XCLIENT", "XFORWARD", "REQUIRETLS")) for w in words), words
        r.close()


def a_binary_message_in_chunks_arrives_octet_by_octet(program):
    body = b"Subject: binary\r\nContent-Transfer-Encoding: binary\r\n\r\n" + bytes(range(256)) * 300 + b"\n.\r\n\r"
    with Postern(program) as p:
        r, _ = greeted(p)
        r.send(b"MAIL FROM:<a@client.test> BODY=BINARYMIME\r\nRCPT TO:<you@example.test>\r\n")
        assert r.reply().startswith("250 2.1.0") and r.reply().startswith("250 2.1.5")
        for at in range(0, len(body), 30000):
            piece = body[at:at + 30000]
            last = b" LAST" if at + 30000 >= len(body) else b""
            r.send(b"BDAT %d%s\r\n" % (len(piece), last) + piece)
            reply = r.reply()
            assert reply.startswith("250 2.0.0 Ok: "), reply
        assert f"{len(body)} bytes queued as " in reply, reply
        queue_id = reply.split()[-1]
        r.close()
        p.event(event="delivered", queue_id=queue_id)
        [stored] = p.mailbox("you")
        assert stored.endswith(b"\r\n" + body), stored[-200:]
        assert f"id {queue_id}".encode() in stored


def a_chunk_too_many_is_refused_and_nothing_of_it_is_run(program):
    with Postern(program, extra=LOCAL + QUICK + "limits: {{message_size: 1000}}\n") as p:
        r, _ = greeted(p)
        r.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<you@example.test>\r\n")
        r.reply(), r.reply()
        attack = b"RSET\r\nMAIL FROM:<evil@client.test>\r\n".ljust(1001, b"\n")
        r.send(b"BDAT 1001 LAST\r\n" + attack + b"NOOP\r\n")
        assert r.reply().startswith("552 5.3.4 "), "too big"
        assert r.reply().startswith("250 2.0.0 "), "NOOP"
        assert p.event(event="refused", reply_id="chunk_too_big")["code"] == 552
        r.close()


def letters_beyond_ascii_are_addresses_only_when_declared(program):
    with Postern(program, extra=LOCAL.replace("[example.test]", "[example.test, bücher.test]") + QUICK + "mynetworks: []\n") as p:
        r, _ = greeted(p)
        r.send("MAIL FROM:<jürgen@client.test>\r\n".encode())
        assert r.reply().startswith("553 5.6.7 "), "undeclared"
        r.send("MAIL FROM:<jürgen@client.test> SMTPUTF8\r\n".encode())
        assert r.reply().startswith("250 2.1.0 ")
        r.send("RCPT TO:<用户@example.test>\r\n".encode())
        assert r.reply().startswith("250 2.1.5 ")
        assert r.say("DATA").startswith("354")
        r.send("Subject: grüße\r\n\r\nhallo\r\n.\r\n".encode())
        reply = r.reply()
        assert reply.startswith("250 2.0.0 "), reply
        r.close()
        done = p.event(event="delivered", recipient="用户@example.test")
        assert done["sender"] == "jürgen@client.test", done
        p.send("info@xn--bcher-kva.test")
        p.event(event="delivered", recipient="info@xn--bcher-kva.test")
        r, _ = greeted(p)
        r.send("MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<info@BÜCHER.test>\r\nRCPT TO:<info@büro.test>\r\n".encode())
        assert [r.reply()[:9] for _ in range(3)] == ["250 2.1.0", "250 2.1.5", "554 5.7.1"], "ours, not ours"
        assert r.say("DATA").startswith("354") and r.say("Subject: x\r\n\r\nx\r\n.").startswith("250 ")
        p.event(event="delivered", recipient="info@BÜCHER.test")
        assert len(p.mailbox("info", domain="xn--bcher-kva.test")) == 2  # one domain, one mailbox
        [stored] = p.mailbox("用户")
        assert "Return-Path: <jürgen@client.test>".encode() in stored and b"with UTF8SMTP id" in stored, stored


def etrn_tries_what_waits_for_a_domain_that_we_relay_for(program):
    away = socket.socket()  # bound and not listening: connections are refused
    away.bind(("127.0.0.1", 0))
    port = away.getsockname()[1]
    extra = LOCAL + QUICK + 'relay_domains: [relayed.test]\nroutes: [{{domain: relayed.test, to: "127.0.0.1:{port}"}}]\n'
    with Postern(program, extra=extra, port=port) as p:
        p.send("user@relayed.test")
        p.event(event="deferred", recipient="user@relayed.test")
        r, _ = greeted(p)
        for other in ("example.test", "elsewhere.test", "@elsewhere.test"):
            assert r.say(f"ETRN {other}").startswith("459 4.7.1 "), other
        away.close()
        host = Host("127.0.0.1", port)
        def flushed():  # a message whose attempt is just ending is passed over
            reply = r.say("ETRN relayed.test")
            assert reply.startswith("250 2.0.0 "), reply
            return p.events(event="delivered", recipient="user@relayed.test")
        wait("the delivery", flushed)
        r.close()
        host.close()


run([the_extensions_are_announced, a_binary_message_in_chunks_arrives_octet_by_octet,
     a_chunk_too_many_is_refused_and_nothing_of_it_is_run, letters_beyond_ascii_are_addresses_only_when_declared,
     etrn_tries_what_waits_for_a_domain_that_we_relay_for])
