#!/usr/bin/python3
"""BDAT to other hosts (RFC 3030): binary messages, chunks that are refused midway, and hosts that cannot."""
import email

from harness import BASE, LOCAL, QUICK, Postern, run, wait
from peers import Mta

ROUTES = 'routes: [{{domain: out.test, to: "127.0.0.1:{port}"}}]\n'
ALL = ("PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME")
CHUNKING = QUICK.replace("delivery: {{", "delivery: {{chunking: true, ")
BINARY = b"Subject: binary\r\nContent-Transfer-Encoding: binary\r\n\r\n" + bytes(range(256)) * 1500 + b"\n.\r\n\r\r\n.\nend"


class World:
    def __init__(self, program, delivery=QUICK, **host):
        host.setdefault("ehlo", ALL)
        self.host = Mta(**host)
        self.postern = Postern(program, LOCAL + delivery + ROUTES, base=BASE.replace("workers: 2", "workers: 1"),
                               port=self.host.port)

    def __enter__(self):
        self.postern.start()
        return self

    def __exit__(self, *what):
        self.postern.__exit__(*what)
        self.host.close()

    def binary(self, to, body=BINARY):
        r = self.postern.raw()
        r.reply()
        r.say("EHLO client.test")
        assert r.say("MAIL FROM:<you@example.test> BODY=BINARYMIME").startswith("250")
        assert r.say(f"RCPT TO:<{to}>").startswith("250")
        r.send(b"BDAT %d LAST\r\n" % len(body) + body)
        assert r.reply().startswith("250")
        r.close()
        return self.outcome(to)

    def outcome(self, to):
        return wait(f"an attempt for {to}", lambda: [e for e in self.postern.events(recipient=to)
                    if e["event"] in ("delivered", "deferred", "failed")])[-1]


def received(octets):
    """What is behind our Received field."""
    at = octets.index(b"Subject: ")
    return octets[at:]


def a_binary_message_goes_octet_by_octet_in_chunks(program):
    for ehlo in (ALL, ALL[1:]):
        with World(program, ehlo=ehlo) as w:
            assert w.binary("a@out.test")["event"] == "delivered"
            m = w.host.messages[0]
            assert "BODY=BINARYMIME" in m["mail"] and received(m["data"]) == BINARY
            assert len(m["chunks"]) > 3 and sum(m["chunks"]) == len(m["data"]), m["chunks"]
            assert "DATA" not in m["session"].commands


def a_host_that_cannot_take_it_gets_it_converted(program):
    for ehlo in (("PIPELINING", "8BITMIME"), ("CHUNKING",), ("BINARYMIME",)):
        with World(program, ehlo=ehlo) as w:
            assert w.binary("a@out.test")["event"] == "delivered"
            m = w.host.messages[0]
            assert "BINARYMIME" not in m["mail"] and not any(c > 126 for c in m["data"])
            got = email.message_from_bytes(m["data"])
            assert got["Content-Transfer-Encoding"] == "quoted-printable"
            assert got.get_payload(decode=True) == BINARY.split(b"\r\n\r\n", 1)[1], ehlo


def a_binary_original_goes_back_in_lines(program):
    extra = QUICK + "lab: {{enabled: true}}\n"
    with World(program, extra) as w:
        body = BINARY[:2000] + b"end"
        assert w.binary("5.1.1@lab.test", body)["event"] == "failed"
        [octets] = wait("the notification", lambda: w.postern.mailbox("you"))
        assert b"\0" not in octets and max(map(len, octets.split(b"\n"))) < 998
        original = list(email.message_from_bytes(octets).walk())[-1]
        assert original["Subject"] == "binary" and original["Content-Transfer-Encoding"] == "quoted-printable"
        assert original.get_payload(decode=True).replace(b"\r\n", b"\n") == body.split(b"\r\n\r\n", 1)[1]


SEALED = (b"Subject: sealed\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n"
          b"Content-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\n\r\n--b--\r\n")


def a_host_that_cannot_take_a_sealed_one_gets_nothing_and_the_sender_is_told(program):
    for ehlo in (("PIPELINING", "8BITMIME"), ("CHUNKING",), ("BINARYMIME",)):
        with World(program, ehlo=ehlo) as w:
            e = w.binary("a@out.test", SEALED)
            assert (e["event"], e["enhanced"]) == ("failed", "5.6.3") and "BINARYMIME" in e["text"], e
            assert not w.host.messages and not any(c.startswith("MAIL") for s in w.host.sessions for c in s.commands)
            wait("the notification", lambda: [m for m in w.postern.mailbox("you") if b"5.6.3" in m])


def text_goes_by_data_unless_the_operator_wants_chunks(program):
    body = b"Subject: dots\r\n\r\n.\r\n..\r\n" + b"x" * 60 + b"\r\n" + b"y\r\n" * 60000
    for delivery in (QUICK, CHUNKING):
        with World(program, delivery) as w:
            w.postern.send("a@out.test", body=body)
            assert w.outcome("a@out.test")["event"] == "delivered"
            m = w.host.messages[0]
            assert received(m["data"]) == body
            assert bool(m["chunks"]) == (delivery is CHUNKING) and ("DATA" in m["session"].commands) != bool(m["chunks"])


def a_small_message_is_one_chunk(program):
    with World(program, CHUNKING) as w:
        w.postern.send("a@out.test")
        w.outcome("a@out.test")
        assert len(w.host.messages[0]["chunks"]) == 1


def a_chunk_refused_midway_stops_it_and_the_next_message_goes(program):
    def refuse(session, line):
        return b"452 4.3.1 full\r\n" if not line.endswith("LAST") and line.startswith("BDAT 6") else None
    for ehlo in (ALL, ALL[1:]):
        with World(program, ehlo=ehlo, answers={"BDAT": refuse}) as w:
            e = w.binary("a@out.test")
            assert (e["event"], e["code"], e["stage"]) == ("deferred", 452, "message"), e
            # small enough for one chunk: taken, whatever became of the other
            assert w.binary("b@out.test", b"Subject: small\r\n\r\n\0")["event"] == "delivered"
            assert [received(m["data"]) for m in w.host.messages][-1] == b"Subject: small\r\n\r\n\0"


def a_host_that_lies_about_chunks_delivers_nothing(program):
    for answer in (b"354 go\r\n", b"hello\r\n", None, b"421 4.3.2 bye\r\n"):
        with World(program, answers={"BDAT": answer}) as w:
            e = w.binary("a@out.test")
            assert e["event"] == "deferred" and e["stage"] == "message", (answer, e)


run([a_binary_message_goes_octet_by_octet_in_chunks, a_host_that_cannot_take_it_gets_it_converted, a_binary_original_goes_back_in_lines,
     a_host_that_cannot_take_a_sealed_one_gets_nothing_and_the_sender_is_told,
     text_goes_by_data_unless_the_operator_wants_chunks, a_small_message_is_one_chunk,
     a_chunk_refused_midway_stops_it_and_the_next_message_goes, a_host_that_lies_about_chunks_delivers_nothing])
