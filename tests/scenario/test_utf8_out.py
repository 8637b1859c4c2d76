#!/usr/bin/python3
"""International mail to other hosts (RFC 6531): sent where it can be, given up as 5.6.7 where it cannot."""
from harness import LOCAL, QUICK, Postern, run, wait
from peers import Mta

ROUTES = 'routes: [{{domain: out.test, to: "127.0.0.1:{port}"}}, {{domain: "b\u00fccher.test", to: "127.0.0.1:{port}"}}]\n'
UTF8 = ("PIPELINING", "8BITMIME", "SMTPUTF8")
PLAIN = ("PIPELINING", "8BITMIME")
ASCII_BODY = b"Subject: plain\r\n\r\nx\r\n"
UTF8_BODY = "Subject: Gr\u00fc\u00dfe\r\n\r\nx\r\n".encode()


class World:
    def __init__(self, program, ehlo):
        self.host = Mta(ehlo=ehlo)
        self.postern = Postern(program, LOCAL + QUICK + ROUTES, port=self.host.port)

    def __enter__(self):
        self.postern.start()
        return self

    def __exit__(self, *what):
        self.postern.__exit__(*what)
        self.host.close()

    def send(self, to, sender="you@example.test", body=ASCII_BODY, parameter=" SMTPUTF8"):
        r = self.postern.raw()
        r.reply()
        r.say("EHLO client.test")
        for line in [f"MAIL FROM:<{sender}> BODY=8BITMIME{parameter}"] + [f"RCPT TO:<{t}>" for t in to]:
            r.send(line.encode() + b"\r\n")
            answer = r.reply()
            assert answer.startswith("250"), (line, answer)
        r.say("DATA")
        r.send(body + b".\r\n")
        assert r.reply().startswith("250")
        r.close()
        return [wait(f"an attempt for {t}", lambda: [e for e in self.postern.events(recipient=t)
                if e["event"] in ("delivered", "deferred", "failed")])[-1] for t in to]


def international_mail_goes_as_such_where_it_can(program):
    with World(program, UTF8) as w:
        [e] = w.send(["\u00e9ric@out.test"], "j\u00f6rg@example.test", UTF8_BODY)
        assert e["event"] == "delivered", e
        m = w.host.messages[0]
        assert m["mail"].startswith("MAIL FROM:<j\u00f6rg@example.test>") and " SMTPUTF8" in m["mail"], m["mail"]
        assert m["rcpts"] == ["RCPT TO:<\u00e9ric@out.test>"] and UTF8_BODY in m["data"]


def what_needs_it_is_given_up_where_it_cannot_go_and_why_says_so(program):
    with World(program, PLAIN) as w:
        for number, (sender, to, body) in enumerate((("j\u00f6rg@example.test", "a{}@out.test", ASCII_BODY),
                                                     ("you@example.test", "\u00e9ric{}@out.test", ASCII_BODY),
                                                     ("you@example.test", "c{}@out.test", UTF8_BODY))):
            to = to.format(number)
            [e] = w.send([to], sender, body)
            assert (e["event"], e["enhanced"], e["failure_code"]) == ("failed", "5.6.7", 4002), e
            why = " ".join(w.postern.command("why", to).split())
            assert "does not offer SMTPUTF8" in why, why
        assert not w.host.messages and not any(c.startswith("MAIL") for s in w.host.sessions for c in s.commands)


def what_only_says_smtputf8_and_does_not_need_it_goes_without(program):
    for ehlo in (PLAIN, UTF8):
        with World(program, ehlo) as w:
            [e] = w.send(["a@out.test"])
            assert e["event"] == "delivered" and "SMTPUTF8" not in w.host.messages[0]["mail"], (e, w.host.messages)


def one_international_recipient_does_not_stop_the_others(program):
    with World(program, PLAIN) as w:
        es = w.send(["a@out.test", "\u00e9ric@out.test", "b@out.test"])
        assert [e["event"] for e in es] == ["delivered", "failed", "delivered"], es
        assert es[1]["enhanced"] == "5.6.7" and len(w.host.messages[0]["rcpts"]) == 2


def a_domain_alone_has_an_ascii_form(program):
    with World(program, PLAIN) as w:
        [e] = w.send(["a@b\u00fccher.test"])
        assert e["event"] == "delivered", e
        assert w.host.messages[0]["rcpts"] == ["RCPT TO:<a@xn--bcher-kva.test>"], w.host.messages[0]["rcpts"]


run([international_mail_goes_as_such_where_it_can, what_needs_it_is_given_up_where_it_cannot_go_and_why_says_so,
     what_only_says_smtputf8_and_does_not_need_it_goes_without, one_international_recipient_does_not_stop_the_others,
     a_domain_alone_has_an_ascii_form])
