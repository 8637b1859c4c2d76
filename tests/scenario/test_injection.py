#!/usr/bin/python3
"""What an attacker writes where a client should be, and a next hop that lies at each step."""
import base64
import os
import smtplib
import ssl
import tempfile

from certificates import Authority
from harness import LIMIT, LOCAL, QUICK, Postern, Raw, run, wait
from peers import Mta

files = tempfile.TemporaryDirectory(prefix="postern-injection-")
authority = Authority(files.name)
authority.make("mx", "localhost", "mx.example.test")

HEAD = """
hostname: mx.example.test
run_directory: "{dir}/run"
workers: 2
spool: {{directory: "{dir}/spool", reserve: 1MiB, minfree: 1MiB}}
history: {{directory: "{dir}/history"}}
log: {{events: "{dir}/events.log"}}
mynetworks: []
limits: {{message_size: 100000}}
listen:
  - {{address: "127.0.0.1:0"}}
  - {{address: "127.0.0.1:0", service: submission}}
tls: {{certificate: "{certs}/mx.pem", key: "{certs}/mx.key", ca_file: "{certs}/ca.pem"}}
auth: {{password_file: "{certs}/passwords"}}
"""
MX, SUBMISSION = 0, 1


def server(program, more=""):
    with open(files.name + "/passwords", "w", encoding="utf-8") as f:
        f.write("# nobody yet\n")
    return Postern(program, extra=LOCAL + QUICK + more, base=HEAD, certs=files.name)


def still_serves(p, user):
    with smtplib.SMTP("127.0.0.1", p.listeners[MX], timeout=LIMIT) as s:
        s.sendmail("a@client.test", [f"{user}@example.test"], b"Subject: after\r\n\r\nstill here\r\n")
    assert b"still here" in wait("the mailbox", lambda: p.mailbox(user))[0]


def talk(p, which=MX):
    r = Raw(p.listeners[which])
    r.reply()
    return r


def all_of(r):
    """What the server says until it closes."""
    try:
        return r.file.read().decode("latin-1")
    except ConnectionResetError:
        return ""


def words_in_clear_behind_starttls_end_the_session(program):
    with server(program) as p:
        for behind in (b"MAIL FROM:<evil@client.test>\r\n", b"EHLO evil\r\nMAIL FROM:<evil@client.test>\r\n", b"x", b"\r\n"):
            r = talk(p)
            r.say("EHLO client.test")
            r.send(b"STARTTLS\r\n" + behind)
            said = all_of(r)
            assert said.startswith("554 5.5.0 ") and said.count("\n") == 1, (behind, said)
            r.close()
        # behind the 220 it is a broken ClientHello, and never a command
        r = talk(p)
        r.say("EHLO client.test")
        assert r.say("STARTTLS").startswith("220 ")
        r.send(b"MAIL FROM:<evil@client.test>\r\nRCPT TO:<you@example.test>\r\nDATA\r\n")
        assert b"250" not in all_of(r).encode("latin-1")
        r.close()
        assert p.event(event="tls_failed")
        assert not p.events(event="received")
        still_serves(p, "one")


def what_was_said_in_clear_does_not_hold_under_tls(program):
    with server(program) as p:
        s = smtplib.SMTP("127.0.0.1", p.listeners[MX], timeout=LIMIT)
        s.ehlo("attacker.test")
        assert s.docmd("MAIL FROM:<evil@client.test>")[0] == 250 and s.docmd("RCPT TO:<you@example.test>")[0] == 250
        s.send(b"BDAT 7\r\nevil: 1")
        assert s.getreply()[0] == 250
        context = authority.context()
        context.check_hostname = False
        assert s.docmd("STARTTLS")[0] == 220
        s.sock = context.wrap_socket(s.sock)
        s.file = None
        assert s.docmd("RCPT TO:<you@example.test>")[0] == 503 and s.docmd("BDAT 0 LAST")[0] == 503
        s.ehlo("client.test")
        s.sendmail("a@client.test", ["you@example.test"], b"Subject: mine\r\n\r\nmine\r\n")
        s.quit()
        [mail] = wait("the mailbox", lambda: p.mailbox("you"))
        assert b"evil" not in mail and b"attacker.test" not in mail, mail
        assert len(p.events(event="received")) == 1


def chunks_and_data_do_not_mix(program):
    attack = b"MAIL FROM:<evil@client.test>\r\nRCPT TO:<you@example.test>\r\nDATA\r\nevil\r\n.\r\n"
    with server(program) as p:
        r = talk(p)
        r.say("EHLO client.test")
        # refused: no transaction, too large, no count of octets; then mixed with DATA
        r.send(b"BDAT %d LAST\r\n" % len(attack) + attack)
        assert r.reply().startswith("503 ")
        r.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<you@example.test>\r\nBDAT 100001\r\n" + attack.ljust(100001, b"x"))
        assert [r.reply()[:3] for _ in range(3)] == ["250", "250", "552"]
        r.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<you@example.test>\r\nBDAT 3\r\na\r\nDATA\r\nBDAT 3 LAST\r\nb\r\n")
        assert [r.reply()[:3] for _ in range(5)] == ["250", "250", "250", "503", "250"]
        r.close()
        for count in (b"100000000000000000000000", b"-1", b"0x10", b"1e3", b"", b"18446744073709551616", b"+5"):
            r = talk(p)
            r.say("EHLO client.test")
            r.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<you@example.test>\r\nBDAT " + count + b" LAST\r\n" + attack)
            said = all_of(r)
            assert said.splitlines()[2].startswith("521 5.5.4 ") and len(said.splitlines()) == 3, (count, said)
            r.close()
        # octet by octet it is the same
        r = talk(p)
        for octet in b"EHLO x\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<slow@example.test>\r\nBDAT 6\r\nslow\r\nBDAT 3 LAST\r\nly\nQUIT\r\n":
            r.send(bytes([octet]))
        said = all_of(r)
        assert "250 2.0.0 Ok: 6 bytes\r\n550 5.5.2 Error: bare <LF> received\r\n221 " in said, said
        r.close()
        [mail] = wait("the mailbox", lambda: p.mailbox("you"))
        assert mail.endswith(b"\na\nb\n"), mail
        assert not [e for e in p.events(event="received") if "evil" in str(e)] and not p.mailbox("slow")
        still_serves(p, "two")


def chunks_cut_at_any_octet_are_the_same_message(program):
    octets = (b"EHLO x\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<cut@example.test>\r\nBDAT 8\r\nSubject:BDAT 14\r\n cut\r\n\r\nQUIT\r\n"
              b"BDAT 0 LAST\r\nQUIT\r\n")
    with server(program) as p:
        for cut in range(1, len(octets)):
            r = talk(p)
            r.send(octets[:cut])
            r.send(octets[cut:])
            said = all_of(r)
            assert said.count("\r\n250 2.0.0 Ok: ") == 3 and "\r\n221 " in said, (cut, said)
            r.close()
        mails = wait("all of them", lambda: (lambda m: m if len(m) == len(octets) - 1 else None)(p.mailbox("cut")))
        assert all(m.endswith(b"\nSubject: cut\n\nQUIT\n") for m in mails)
        still_serves(p, "five")


def octets_that_no_command_may_hold_are_refused_wherever_they_stand(program):
    with server(program) as p:
        commands = [b"EHLO cl%sient", b"MAIL FROM:<a%s@client.test>", b"MAIL FROM:<a@client.test> BODY=8BIT%sMIME", b"RCPT TO:<y%sou@example.test>",
                    b"VRFY y%sou", b"NO%sOP", b"AUTH PL%sAIN", b"ETRN ex%sample.test", b"XCLIENT NA%sME=x", b"HELP %s"]
        for octet in (b"\0", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xc3\x28", b"\r", b"\x0b"):
            r = talk(p)
            r.say("EHLO client.test")
            for command in commands[:8]:
                r.send(command.replace(b"%s", octet) + b"\r\n")
                assert r.reply()[:3] in ("500", "501", "502", "503", "553"), (octet, command)
            r.close()
        # in a message they are only octets, but for the ends of lines
        r = talk(p)
        r.say("EHLO client.test")
        r.send(b"MAIL FROM:<a@client.test> BODY=8BITMIME\r\nRCPT TO:<octets@example.test>\r\n")
        r.reply(), r.reply()
        assert r.say("DATA").startswith("354")
        every = bytes(c for c in range(256) if c not in (10, 13))
        r.send(b"Subject: " + every + b"\r\nX\0Y: z\r\n\r\n" + every + b"\r\n.\r\n")
        assert r.reply().startswith("250 2.0.0 ")
        r.send(b"x" * 100000 + b"\r\nNOOP\r\n")
        assert r.reply().startswith("500 ") and r.reply().startswith("250 ")
        r.close()
        [mail] = wait("the mailbox", lambda: p.mailbox("octets"))
        assert mail.endswith(every + b"\n"), mail[-300:]
        still_serves(p, "three")


def guessing_passwords_ends_the_session(program):
    with server(program) as p:
        def secured():
            s = smtplib.SMTP("127.0.0.1", p.listeners[SUBMISSION], timeout=LIMIT)
            s.ehlo("client.test")
            context = authority.context()
            context.check_hostname = False
            assert s.docmd("STARTTLS")[0] == 220
            s.sock = context.wrap_socket(s.sock)
            s.file = None
            s.ehlo("client.test")
            return s
        s = secured()
        codes = []
        try:
            for i in range(30):
                codes.append(s.docmd("AUTH PLAIN " + base64.b64encode(b"\0ann\0guess%d" % i).decode())[0])
        except smtplib.SMTPServerDisconnected:
            pass
        assert codes[:19] == [535] * 19 and 421 in codes[19:21], codes
        s = secured()
        for line, code in (("AUTH PLAIN", 334), ("*", 501), ("AUTH LOGIN", 334), ("not base64!", 501), ("AUTH PLAIN =", 334), ("*", 501),
                           ("AUTH PLAIN " + base64.b64encode(b"\0a\0b\0c\0d").decode(), 535),
                           ("AUTH SCRAM-SHA-256 " + base64.b64encode(b"n,,n=a,r=" + b"x" * 5000).decode(), 334), ("AAAA", 535),
                           ("AUTH PLAIN", 334), ("A" * 12288, 535), ("AUTH PLAIN", 334), ("A" * 12292, 500), ("NOOP", 250)):
            got = s.docmd(line)[0]
            assert got == code, (line[:40], got, code)
        # commands behind AUTH in one segment are responses, and then commands
        s.send(b"AUTH LOGIN\r\nTUFJTA==\r\nUkNQVA==\r\nNOOP\r\n")
        assert [s.getreply()[0] for _ in range(4)] == [334, 334, 535, 250]
        s.quit()
        assert not p.events(event="received")
        still_serves(p, "four")


LIES = {
    "banner": (b"354 go\r\n", b"250 ok\r\n", b"garbage\r\n", b"220", b"220 x\r\n250 y\r\n250 z\r\n", b"2" * 100000),
    "EHLO": (b"354 go\r\n", b"250-x\r\n999 y\r\n", b"250 x\r\n250 y\r\n", None, b"\0\xff\r\n"),
    "MAIL": (b"354 go\r\n", b"250 a\r\n250 b\r\n250 c\r\n", None, b"250-never\r\n" * 5000),
    "RCPT": (b"354 go\r\n", b"250 a\r\n354 b\r\n", None, b"25\r\n"),
    "DATA": (b"250 ok\r\n", b"354 go\r\n250 2.0.0 taken\r\n", None, b"220 x\r\n"),
    ".": (b"354 more\r\n", None, b"garbage\r\n", b"2000 x\r\n"),
}


def a_next_hop_that_lies_loses_no_letter_and_doubles_none(program):
    for step, lies in LIES.items():
        for lie in lies:
            with Mta(answers={step: lie}) as host:
                route = 'relay_domains: [far.test]\nroutes: [{{domain: far.test, to: "127.0.0.1:%d", tls: none}}]\n' % host.port
                with server(program, route) as p:
                    with smtplib.SMTP("127.0.0.1", p.listeners[MX], timeout=LIMIT) as s:
                        s.sendmail("a@client.test", ["you@far.test"], b"Subject: x\r\n\r\nx\r\n")
                    e = wait("an outcome", lambda: [e for e in p.events(recipient="you@far.test")
                                                    if e["event"] in ("deferred", "failed", "delivered")])[0]
                    assert e["event"] == "deferred", (step, lie and lie[:40], e)
                    assert e["failure_code"] in (4002, 3003, 4003, 3999), (step, lie and lie[:40], e)
                    host.answers = {}
                    p.command("queue", "retry", "id=*")
                    wait("the delivery", lambda: p.events(event="delivered", recipient="you@far.test") or
                         (p.command("queue", "retry", "id=*") and None))
                    # only a host that took it, and said so in no reply that can be understood, has it twice
                    assert len(host.messages) == (2 if lie == b"2000 x\r\n" else 1), (step, lie and lie[:40], len(host.messages))


def a_password_never_goes_where_tls_was_stripped(program):
    secret = files.name + "/secret"
    with open(secret, "w", encoding="utf-8") as f:
        f.write("very-secret\n")
    os.chmod(secret, 0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.path("mx"), authority.path("mx", "key"))
    worlds = [dict(ehlo=["AUTH PLAIN"]), dict(ehlo=["STARTTLS", "AUTH PLAIN"], answers={"STARTTLS": b"454 4.7.0 not now\r\n"}),
              dict(ehlo=["STARTTLS", "AUTH PLAIN"], answers={"STARTTLS": b"502 5.5.1 what\r\n"}),
              dict(ehlo=["STARTTLS", "AUTH PLAIN"], answers={"STARTTLS": b"220 go\r\n250-x\r\n250 AUTH PLAIN\r\n"}, context=context)]
    for world in worlds:
        with Mta(users={"me": "very-secret"}, **world) as host:
            relay = ('relay_domains: [far.test]\nrelay_host: {{to: "127.0.0.1:%d", tls_names: [localhost], '
                     'auth: {{user: me, password_file: "%s"}}}}\n' % (host.port, secret))
            with server(program, relay) as p:
                with smtplib.SMTP("127.0.0.1", p.listeners[MX], timeout=LIMIT) as s:
                    s.sendmail("a@client.test", ["you@far.test"], b"Subject: x\r\n\r\nx\r\n")
                e = p.event(event="deferred", recipient="you@far.test")
                said = "".join(str(vars(s)) for s in host.sessions)
                assert "AUTH" not in [str(c)[:4] for s in host.sessions for c in getattr(s, "commands", [])], said
                assert base64.b64encode(b"\0me\0very-secret").decode() not in said and not host.messages, (world, said)
                assert "very-secret" not in open(p.log, encoding="utf-8").read(), e


run([words_in_clear_behind_starttls_end_the_session, what_was_said_in_clear_does_not_hold_under_tls, chunks_and_data_do_not_mix,
     chunks_cut_at_any_octet_are_the_same_message, octets_that_no_command_may_hold_are_refused_wherever_they_stand, guessing_passwords_ends_the_session,
     a_next_hop_that_lies_loses_no_letter_and_doubles_none, a_password_never_goes_where_tls_was_stripped])
