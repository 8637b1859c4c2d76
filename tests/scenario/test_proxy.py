#!/usr/bin/python3
"""The PROXY protocol in front of SMTP and of TLS: whose address counts, and who may send a header.

provokes: too_many_connections relay_denied
"""
import socket
import ssl
import struct
import tempfile

from certificates import Authority
from harness import LIMIT, LOCAL, Postern, Raw, run, wait

HEAD = """
hostname: mx.example.test
run_directory: "{dir}/run"
workers: 2
spool: {{directory: "{dir}/spool", reserve: 1MiB, minfree: 1MiB}}
history: {{directory: "{dir}/history"}}
log: {{events: "{dir}/events.log"}}
mynetworks: [203.0.113.0/24]
relay_host: "127.0.0.1:9"
listen:
  - {{address: "127.0.0.1:0", proxy: [127.0.0.0/8]}}
  - {{address: "127.0.0.1:0", proxy: [127.0.0.0/8], tls: implicit}}
  - {{address: "127.0.0.1:0", proxy: [192.0.2.0/24]}}
  - {{address: "127.0.0.1:0"}}
tls: {{certificate: "{certs}/mx.pem", key: "{certs}/mx.key"}}
"""
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"

certificates = tempfile.TemporaryDirectory(prefix="postern-certificates-")
authority = Authority(certificates.name).make("mx", "mx.example.test")

PLAIN, IMPLICIT, OTHERS, DIRECT = range(4)


def version_2(source, command=0x21, more=b""):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    dest = "::1" if ":" in source else "127.0.0.1"
    body = socket.inet_pton(family, source) + socket.inet_pton(family, dest) + struct.pack("!HH", 4711, 25) + more
    return SIGNATURE + struct.pack("!BBH", command, 0x21 if ":" in source else 0x11, len(body)) + body


def server(program, more=""):
    return Postern(program, extra=LOCAL + more, base=HEAD, certs=certificates.name)


def begin(p, header, listener=PLAIN):
    r = Raw(p.listeners[listener])
    r.send(header)
    return r


def mail(r, to="ann@example.test"):
    assert r.reply().startswith("220 ")
    r.say("EHLO client.test")
    r.say("MAIL FROM:<you@example.test>")
    answer = r.say(f"RCPT TO:<{to}>")
    if answer.startswith("250 "):
        r.say("DATA")
        answer = r.say("Subject: x\r\n\r\nx\r\n.")
    r.say("QUIT")
    r.close()
    return answer


def the_address_in_the_header_is_the_client(program):
    cases = ((LINE, "192.0.2.7"), (version_2("192.0.2.8"), "192.0.2.8"),
             (version_2("2001:db8::9", more=b"\x04\0\x03abc"), "2001:db8::9"),
             (b"PROXY TCP6 2001:db8::a ::1 1 25\r\n", "2001:db8::a"))
    with server(program) as p:
        for number, (header, address) in enumerate(cases):
            user = f"user{number}"
            assert mail(begin(p, header), f"{user}@example.test").startswith("250 ")
            text = wait("the mail", lambda: p.mailbox(user))[0].decode()
            tag = "IPv6:" if ":" in address else ""
            assert f"(unknown [{tag}{address}])" in text, text
            assert p.event(event="received", recipient=f"{user}@example.test")["client"] == f"unknown[{address}]"


def a_header_without_addresses_leaves_the_connection(program):
    with server(program) as p:
        for header in (b"PROXY UNKNOWN\r\n", version_2("192.0.2.8", command=0x20)):
            assert mail(begin(p, header)).startswith("250 ")
        wait("both messages", lambda: len(p.events(event="received", client="unknown[127.0.0.1]")) == 2)


def checks_go_by_the_address_in_the_header(program):
    with server(program) as p:
        assert mail(begin(p, LINE), "x@elsewhere.test").startswith("554 5.7.1 ")
        assert mail(begin(p, version_2("203.0.113.5")), "x@elsewhere.test").startswith("250 ")


def limits_go_by_the_address_in_the_header(program):
    with server(program, "limits: {{sessions_per_client: 1}}\n") as p:
        first = begin(p, version_2("192.0.2.8"))
        assert first.reply().startswith("220 ")
        other = begin(p, version_2("192.0.2.9"))
        assert other.reply().startswith("220 ")
        again = begin(p, version_2("192.0.2.8"))
        assert again.reply().startswith("421 ")
        for r in (first, other, again):
            r.close()


def the_header_may_come_octet_by_octet_and_nobody_hears_of_us_before(program):
    with server(program) as p:
        r = Raw(p.listeners[PLAIN])
        r.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(LINE)):
            r.send(LINE[at:at + 1])
        assert mail(r).startswith("250 ")
        assert p.event(event="received")["client"] == "unknown[192.0.2.7]"


def commands_behind_the_header_are_an_early_talkers(program):
    with server(program) as p:
        r = begin(p, LINE + b"EHLO client.test\r\n")
        assert r.reply().startswith("220 ")
        assert r.reply().startswith("250-")
        r.close()
        assert p.event(event="early_talker")["client"] == "unknown[192.0.2.7]"


def the_header_comes_before_the_handshake(program):
    with server(program) as p:
        # In a segment of its own, and in one with the ClientHello.
        for together in (False, True):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = authority.context().wrap_bio(incoming, outgoing, server_hostname="mx.example.test")
            r = Raw(p.listeners[IMPLICIT])
            if not together:
                r.send(LINE)
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            r.send((LINE if together else b"") + outgoing.read())

            def until(what):
                while True:
                    try:
                        result = what()
                        r.send(outgoing.read())
                        return result
                    except ssl.SSLWantReadError:
                        r.send(outgoing.read())
                        got = r.socket.recv(65536)
                        assert got, "the server hung up"
                        incoming.write(got)

            until(tls.do_handshake)
            assert until(lambda: tls.read(1000)).startswith(b"220 ")
            tls.write(b"EHLO client.test\r\n")
            assert until(lambda: tls.read(1000)).startswith(b"250")
            r.close()
        wait("both", lambda: len(p.events(event="tls", client="unknown[192.0.2.7]")) == 2)


def what_is_no_header_ends_the_connection(program):
    with server(program) as p:
        cases = (b"EHLO client.test\r\n", b"PROXY TCP4 bad\r\n", b"PROXY TCP4 " + b"1" * 200, SIGNATURE + b"\x21\x11\xff\xff")
        for octets in cases:
            r = begin(p, octets)
            r.eof()  # the end, or a reset
            r.close()
        wait("all refused", lambda: len(p.events(event="proxy_refused")) == len(cases))
        assert not p.events(event="refused")
        r = begin(p, LINE[:20])  # and then the end
        r.close()
        wait("the half one", lambda: p.events(event="proxy_refused", text="no PROXY header came"))


def nobody_else_may_come_to_that_listener(program):
    with server(program) as p:
        r = Raw(p.listeners[OTHERS])
        assert r.file.read() == b""
        r.close()
        assert "load balancers" in p.event(event="proxy_refused")["text"]


def elsewhere_a_header_is_another_protocols(program):
    with server(program) as p:
        r = begin(p, LINE, DIRECT)
        assert r.reply().startswith("220 ")
        assert r.reply()[0] == "5"
        r.close()
        assert p.event(event="early_talker")["client"] == "unknown[127.0.0.1]"


def a_balancer_that_says_nothing_is_not_waited_for(program):
    with server(program) as p:
        r = Raw(p.listeners[PLAIN])
        assert r.file.read() == b""
        r.close()
        assert p.event(event="proxy_refused")["text"] == "no PROXY header came"


run([the_address_in_the_header_is_the_client, a_header_without_addresses_leaves_the_connection,
     checks_go_by_the_address_in_the_header, limits_go_by_the_address_in_the_header,
     the_header_may_come_octet_by_octet_and_nobody_hears_of_us_before, commands_behind_the_header_are_an_early_talkers,
     the_header_comes_before_the_handshake, what_is_no_header_ends_the_connection, nobody_else_may_come_to_that_listener,
     elsewhere_a_header_is_another_protocols, a_balancer_that_says_nothing_is_not_waited_for])
