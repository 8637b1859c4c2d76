#!/usr/bin/python3
"""8-bit mail for a host without 8BITMIME: every part says the same as before, or the sender is told why it cannot go."""
import email
import email.policy

from harness import LOCAL, QUICK, Postern, run, wait
from peers import Mta

ROUTES = 'routes: [{{domain: out.test, to: "127.0.0.1:{port}"}}]\n'
WITHOUT = ("PIPELINING", "SIZE 10000000")
WITH = WITHOUT + ("8BITMIME",)
PICTURE = bytes(b for b in range(1, 256) if b not in (10, 13)) * 3


class World:
    def __init__(self, program, ehlo=WITHOUT, extra=""):
        self.host = Mta(ehlo=ehlo)
        self.postern = Postern(program, LOCAL + QUICK + ROUTES + extra, port=self.host.port)

    def __enter__(self):
        self.postern.start()
        return self

    def __exit__(self, *what):
        self.postern.__exit__(*what)
        self.host.close()

    def send(self, body, mail=("BODY=8BITMIME",), to="a@out.test"):
        self.postern.send(to, body=body, mail=mail)
        return wait(f"an attempt for {to}", lambda: [e for e in self.postern.events(recipient=to)
                    if e["event"] in ("delivered", "deferred", "failed")])[-1]


def leaves(octets):
    """Type, name and decoded content of every leaf, and of messages their subject, in order."""
    m = email.message_from_bytes(octets, policy=email.policy.SMTP)
    found = []
    for part in m.walk():
        if part.get_content_maintype() == "multipart":
            found.append((part.get_content_type(), part.get_boundary()))
        elif part.get_content_maintype() == "message":
            found.append((part.get_content_type(), part.get_payload(0)["Subject"]))
        else:
            found.append((part.get_content_type(), part.get_filename(), part.get_payload(decode=True)))
    return found


def fits(data):
    return all(c < 128 for c in data) and all(len(line) <= 998 for line in data.split(b"\r\n"))


TEXT = "Subject: plain\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" \
       "Gr\u00fc\u00dfe = \u4f60\u597d \r\n.\r\n..dots\r\nFrom here\r\n\t\r\n" + "l\u00f6ng " * 400 + "\r\n"
NESTED = (b"Subject: nested\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"out er\"\r\n"
          b"Content-Transfer-Encoding: 8bit\r\n\r\npreamble \xe9\r\n"
          b"--out er\r\nContent-Type: multipart/alternative;\r\n\tboundary=inner\r\n\r\n"
          b"--inner\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\ncaf\xe9 --inner\r\n--innerly\r\n"
          b"--inner\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n<p>caf\xe9</p>\r\n--inner--\r\n"
          b"--out er\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: 8bit\r\nContent-Disposition: attachment; filename=x.png\r\n\r\n"
          + PICTURE + b"\r\n--out er\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n/+8=\r\n"
          b"--out er\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: within\r\nMIME-Version: 1.0\r\n"
          b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa9\r\n--out er\r\n\r\nascii stays\r\n--out er--\r\nepilogue\r\n")
SIGNED = (b"Subject: signed\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b; micalg=pgp-sha256;"
          b" protocol=\"application/pgp-signature\"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
          b"Content-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa9\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nabc\r\n--b--\r\n")


def every_part_says_the_same_as_before(program):
    for body in (TEXT.encode(), NESTED):
        with World(program) as w:
            assert w.send(body)["event"] == "delivered"
            m = w.host.messages[0]
            assert "BODY=" not in m["mail"] and fits(m["data"]), m["data"]
            assert leaves(m["data"]) == leaves(body), (leaves(m["data"]), leaves(body))
            got = email.message_from_bytes(m["data"])
            encodings = [p["Content-Transfer-Encoding"] for p in got.walk()]
            assert "8bit" not in encodings, encodings
            if body is NESTED:
                assert encodings == ["7bit", None, "quoted-printable", "quoted-printable", "base64", "base64", "7bit",
                                     "quoted-printable", None], encodings


def a_large_one_is_converted_too(program):
    body = b"Subject: large\r\n" + TEXT.encode().split(b"\r\n", 1)[1] + "\u00fcber".encode() * 100000 + b"\r\n" + b"x\r\n" * 5000
    with World(program) as w:
        assert w.send(body)["event"] == "delivered"
        data = w.host.messages[0]["data"]
        assert fits(data) and leaves(data) == leaves(body)


def a_host_with_8bitmime_gets_it_as_it_is(program):
    with World(program, WITH) as w:
        assert w.send(NESTED)["event"] == "delivered"
        m = w.host.messages[0]
        assert "BODY=8BITMIME" in m["mail"] and m["data"].endswith(NESTED)


def what_is_ascii_after_all_goes_as_it_is(program):
    body = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + b"l" * 900 + b"=\r\n"
    with World(program) as w:
        assert w.send(body)["event"] == "delivered"
        assert w.host.messages[0]["data"].endswith(body)


def what_was_not_declared_is_converted_where_that_can_be(program):
    with World(program) as w:
        assert w.send(TEXT.encode(), mail=())["event"] == "delivered"
        assert w.send(SIGNED, mail=(), to="b@out.test")["event"] == "delivered"
        first, second = [m["data"] for m in w.host.messages]
        assert fits(first) and leaves(first) == leaves(TEXT.encode()) and second.endswith(SIGNED)


def a_notification_goes_whatever_it_returns(program):
    extra = "lab: {{enabled: true}}\n"
    with World(program, extra=extra) as w:
        for body in (NESTED, SIGNED):
            w.postern.send("5.1.1@lab.test", sender="you@out.test", body=body, mail=("BODY=8BITMIME", "RET=FULL"))
        first, second = wait("both", lambda: w.host.messages[1:] and [m["data"] for m in w.host.messages])
        if SIGNED in first:
            first, second = second, first
        parts = leaves(first)
        assert fits(first) and parts[:2][-1][0] == "text/plain" and parts[-9:] == leaves(NESTED), parts
        assert SIGNED in second


def a_signed_message_is_given_up_and_the_sender_told_why(program):
    header = b"Subject: caf\xe9\r\n\r\nx\r\n"
    for body, words in ((SIGNED, "signed or encrypted"), (header, "header")):
        with World(program) as w:
            e = w.send(body)
            assert (e["event"], e["enhanced"], e["failure_code"]) == ("failed", "5.6.3", 4002) and words in e["text"], e
            assert not w.host.messages and not any(c.startswith("MAIL") for s in w.host.sessions for c in s.commands)
            [octets] = wait("the notification", lambda: w.postern.mailbox("you"))
            human, status, original = email.message_from_bytes(octets, policy=email.policy.default).iter_parts()
            r = status.get_payload()[1]
            assert (r["Action"], r["Status"]) == ("failed", "5.6.3") and "8BITMIME" in r["Diagnostic-Code"], r
            assert words in " ".join(human.get_content().split()), human.get_content()
            assert words in " ".join(w.postern.command("why", "a@out.test").split())
        with World(program, WITH) as w:
            assert w.send(body)["event"] == "delivered"


run([every_part_says_the_same_as_before, a_large_one_is_converted_too, a_host_with_8bitmime_gets_it_as_it_is,
     what_is_ascii_after_all_goes_as_it_is, what_was_not_declared_is_converted_where_that_can_be,
     a_notification_goes_whatever_it_returns, a_signed_message_is_given_up_and_the_sender_told_why])
