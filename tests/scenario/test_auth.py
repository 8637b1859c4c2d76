#!/usr/bin/python3
"""Logging in: each mechanism, both backends, what users may write as, and what nobody may see.

provokes: auth_ok auth_failed auth_temporary auth_required encryption_required auth_not_enabled sender_login_mismatch
"""
import base64
import glob
import hashlib
import hmac
import os
import smtplib
import socket
import socketserver
import subprocess
import tempfile
import threading

from certificates import Authority
from harness import LAB, LIMIT, LOCAL, QUICK, Postern, Raw, run, wait

HEAD = """
hostname: mx.example.test
run_directory: "{dir}/run"
workers: 2
spool: {{directory: "{dir}/spool", reserve: 1MiB, minfree: 1MiB}}
history: {{directory: "{dir}/history"}}
log: {{events: "{dir}/events.log"}}
mynetworks: []
listen:
  - {{address: "127.0.0.1:0"}}
  - {{address: "127.0.0.1:0", service: submission}}
  - {{address: "127.0.0.1:0", service: submission, tls: implicit}}
  - {{address: "127.0.0.1:0", service: submission, tls: none, auth_without_tls: true}}
tls: {{certificate: "{certs}/mx.pem", key: "{certs}/mx.key"}}
"""
TABLE = 'auth: {{password_file: "{certs}/passwords"}}\n'
MX, SUBMISSION, IMPLICIT, CLEAR = range(4)
PASSWORD = "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n-7!secret"

certificates = tempfile.TemporaryDirectory(prefix="postern-certificates-")
authority = Authority(certificates.name)
authority.make("mx", "mx.example.test", "localhost")
table = certificates.name + "/passwords"


def passwd(program, *words, text=PASSWORD + "\n"):
    return subprocess.run([os.path.abspath(program), "passwd", "--file", table, *words], input=text, text=True,
                          capture_output=True, timeout=60)


def users(program):
    if os.path.exists(table):
        os.unlink(table)
    assert passwd(program, "ann@example.test").returncode == 0
    assert passwd(program, "--senders", "sales@example.test,@lists.example.test", "bob@example.test").returncode == 0


def server(program, auth=TABLE, **names):
    users(program)
    return Postern(program, extra=auth + LOCAL + LAB + QUICK, base=HEAD, certs=certificates.name, **names)


def submission(p, which=SUBMISSION):
    if which == IMPLICIT:
        s = smtplib.SMTP_SSL("localhost", p.listeners[which], timeout=LIMIT, context=authority.context())
    else:
        s = smtplib.SMTP("127.0.0.1", p.listeners[which], timeout=LIMIT)
    s._host = "localhost"
    s.ehlo("client.test")
    if which == SUBMISSION:
        s.starttls(context=authority.context())
        s.ehlo("client.test")
    return s


def plain(user, password):
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def scram(s, user, password):
    """SCRAM-SHA-256 of RFC 7677, the client's half; the last code, and whether the server proved itself."""
    first = f"n={user},r=rOprNGfwEbeRWgbNEkqO"
    code, text = s.docmd("AUTH", "SCRAM-SHA-256 " + base64.b64encode(("n,," + first).encode()).decode())
    if code != 334:
        return code, False
    challenge = base64.b64decode(text).decode()
    words = dict(w.split("=", 1) for w in challenge.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(words["s"]), int(words["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    bare = f"c=biws,r={words['r']}"
    message = f"{first},{challenge},{bare}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()
    code, text = s.docmd(base64.b64encode(f"{bare},p={proof}".encode()).decode())
    if code != 334:
        return code, False
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    proven = base64.b64decode(text).decode() == "v=" + base64.b64encode(hmac.digest(server_key, message, "sha256")).decode()
    return s.docmd("")[0], proven


def the_table_of_passwords_is_kept_by_a_command(program):
    users(program)
    assert oct(os.stat(table).st_mode & 0o777) == "0o600"
    assert PASSWORD not in open(table, encoding="utf-8").read()
    assert "ann@example.test" in passwd(program, "--list").stdout and "sales@" in passwd(program, "--list").stdout
    assert passwd(program, "--check", "ann@example.test").returncode == 0
    assert passwd(program, "--check", "ANN@example.test", text="wrong\n").returncode == 1
    assert passwd(program, "--check", "nobody").returncode == 1
    assert "changed" in passwd(program, "ann@example.test", text="other\n").stdout
    assert passwd(program, "--check", "ann@example.test").returncode == 1
    assert passwd(program, "--check", "bob@example.test").returncode == 0
    assert passwd(program, "--delete", "ann@example.test").returncode == 0
    assert passwd(program, "--delete", "ann@example.test").returncode == 1
    assert passwd(program, "carl", text="").returncode == 1
    assert passwd(program, "a:b").returncode == 2 and passwd(program).returncode == 2
    line = passwd(program, "--print", "dora").stdout
    assert line.startswith("dora:SCRAM-SHA-256$10000:") and line.endswith("=\n"), line
    with open(table, "a", encoding="utf-8") as f:
        f.write("eve:secret\n")
    r = passwd(program, "--list")
    assert r.returncode == 1 and f"{table}:2: " in r.stderr, r
    assert not glob.glob(table + ".new")


def each_mechanism_lets_a_user_in_under_tls(program):
    with server(program) as p:
        for which in (SUBMISSION, IMPLICIT):
            for mechanism in ("PLAIN", "LOGIN"):
                s = submission(p, which)
                offered = s.esmtp_features["auth"].split()
                assert offered == ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"], offered
                s.user, s.password = "ann@example.test", PASSWORD
                method = s.auth_plain if mechanism == "PLAIN" else s.auth_login
                if mechanism == "PLAIN":
                    assert s.docmd("AUTH", "PLAIN " + plain(s.user, PASSWORD))[0] == 235
                else:
                    for word, code in (("AUTH LOGIN", 334), (base64.b64encode(s.user.encode()).decode(), 334),
                                       (base64.b64encode(PASSWORD.encode()).decode(), 235)):
                        assert s.docmd(word)[0] == code, (word, method)
                s.sendmail("ann@example.test", ["ok@lab.test"], b"Subject: out\r\n\r\nfrom a user\r\n")
                s.quit()
            s = submission(p, which)
            assert scram(s, "ann@example.test", PASSWORD) == (235, True)
            s.quit()
            s = submission(p, which)
            assert scram(s, "ann@example.test", "wrong") == (535, False)
            s.quit()
        e = p.event(event="received", recipient="ok@lab.test")
        assert e["user"] == "ann@example.test", e
        wait("deliveries", lambda: len(p.events(event="delivered", recipient="ok@lab.test")) == 4)


def a_user_who_does_not_exist_is_told_nothing_else_than_a_wrong_password(program):
    with server(program) as p:
        answers = set()
        for user, password in (("ann@example.test", "wrong"), ("nobody@example.test", PASSWORD), ("", ""), ("ann@example.test", "")):
            s = submission(p)
            answers.add(s.docmd("AUTH", "PLAIN " + plain(user, password)))
            s.close()
        assert len(answers) == 1 and answers.pop()[0] == 535
        e = p.event(event="auth_failed", user="nobody@example.test")
        assert e["mechanism"] == "PLAIN" and e["code"] == 535 and e["client"].endswith("[127.0.0.1]"), e
        # SCRAM names a salt for anybody, always the same
        salts = []
        for _ in range(2):
            s = submission(p)
            first = base64.b64encode(b"n,,n=nobody,r=abcdefgh").decode()
            salts.append(base64.b64decode(s.docmd("AUTH", "SCRAM-SHA-256 " + first)[1]).split(b",")[1])
            s.close()
        assert salts[0] == salts[1], salts


def nothing_goes_without_logging_in_and_nobody_logs_in_in_clear(program):
    with server(program) as p:
        s = submission(p)
        assert s.docmd("MAIL", "FROM:<ann@example.test>")[0] == 530
        s.quit()
        r = Raw(p.listeners[SUBMISSION])
        r.reply()
        assert "AUTH" not in r.say("EHLO client.test")
        assert r.say("AUTH PLAIN " + plain("ann@example.test", PASSWORD)).startswith("530 5.7.0 Must issue a STARTTLS")
        r.close()
        r = Raw(p.listeners[MX])
        r.reply()
        assert "AUTH" not in r.say("EHLO client.test")
        assert r.say("AUTH PLAIN " + plain("ann@example.test", PASSWORD)).startswith("503 5.5.1 ")
        r.close()
        r = Raw(p.listeners[CLEAR])  # where the operator says so
        r.reply()
        said = r.say("EHLO client.test")
        assert "AUTH PLAIN LOGIN SCRAM-SHA-256\r\n" in said, said
        assert r.say("AUTH PLAIN " + plain("ann@example.test", PASSWORD)).startswith("235 ")
        assert r.say("AUTH PLAIN " + plain("ann@example.test", PASSWORD)).startswith("503 5.5.1 ")
        r.close()


def secrets_are_nowhere_in_the_record(program):
    with server(program) as p:
        r = Raw(p.listeners[CLEAR])
        r.reply()
        secret = plain("ann@example.test", PASSWORD)
        wrong = plain("ann@example.test", "wrong-and-secret")
        for line in ("AUTH PLAIN " + secret, "EHLO client.test", "AUTH PLAIN " + secret + " x", "AUTH FOO " + secret,
                     "AUTH PLAIN " + wrong, "AUTH LOGIN " + secret + "*"):
            assert not r.say(line).startswith("235")
        r.close()
        p.event(event="auth_failed")
        p.event(event="session_closed")
        record = open(p.log, encoding="utf-8").read() + p.stderr()
        for word in (secret, wrong, "wrong-and-secret", PASSWORD, secret[10:]):
            assert word not in record, word
        why = p.command("why", "ann@example.test", ok=False)
        assert "wrong-and-secret" not in why.stdout


def users_write_as_themselves(program):
    with server(program) as p:
        for user, sender, code in (("ann@example.test", "ann@example.test", 250), ("ann@example.test", "Ann@Example.test", 250),
                                   ("ann@example.test", "", 250), ("ann@example.test", "bob@example.test", 553),
                                   ("bob@example.test", "sales@example.test", 250), ("bob@example.test", "x@lists.example.test", 250),
                                   ("bob@example.test", "ann@example.test", 553)):
            s = submission(p)
            assert s.docmd("AUTH", "PLAIN " + plain(user, PASSWORD))[0] == 235
            assert s.docmd("MAIL", f"FROM:<{sender}>")[0] == 250
            got, text = s.docmd("RCPT", "TO:<you@example.test>")
            assert got == code, (user, sender, got, text)
            s.quit()
        assert "reject_sender_login_mismatch" in p.event(event="refused", reply_id="sender_login_mismatch")["trace"]


def a_submission_gets_the_fields_that_it_lacks_and_relayed_mail_does_not(program):
    with server(program) as p:
        s = submission(p)
        s.docmd("AUTH", "PLAIN " + plain("ann@example.test", PASSWORD))
        s.sendmail("ann@example.test", ["one@example.test"], b"Subject: x\r\n\r\nhello\r\n")
        s.sendmail("ann@example.test", ["two@example.test"], b"date: then\r\nmessage-id: <a@b>\r\nSubject: x\r\n\r\nDate: no\r\n")
        s.quit()
        with smtplib.SMTP("127.0.0.1", p.listeners[MX], timeout=LIMIT) as mx:
            mx.sendmail("you@client.test", ["three@example.test"], b"Subject: x\r\n\r\nhello\r\n")
        for user in ("one", "two", "three"):
            p.event(event="delivered", recipient=f"{user}@example.test")
        one, two, three = (p.mailbox(user)[0].split(b"\n\n")[0] for user in ("one", "two", "three"))
        queue_id = p.event(event="received", recipient="one@example.test")["queue_id"]
        assert f"\nMessage-ID: <{queue_id}@mx.example.test>\n".encode() in one + b"\n" and b"\nDate: " in one, one
        assert p.event(event="received", recipient="one@example.test")["message_id"] == f"{queue_id}@mx.example.test"
        assert two.lower().count(b"\ndate:") == 1 and two.lower().count(b"\nmessage-id:") == 1, two
        assert b"Date:" not in three and b"Message-ID:" not in three, three
        assert b"with ESMTPSA id" in one and b"with ESMTP id" in three, one


def a_table_that_cannot_be_read_is_no_wrong_password(program):
    with server(program) as p:
        with open(table, "a", encoding="utf-8") as f:
            f.write("broken line\n")
        s = submission(p)
        code, text = s.docmd("AUTH", "PLAIN " + plain("ann@example.test", PASSWORD))
        assert code == 454 and b"4.7.0" in text, (code, text)
        s.close()
        assert p.event(event="auth_failed")["code"] == 454
    r = subprocess.run([os.path.abspath(program), "check-config", p.config], capture_output=True, text=True, timeout=60)
    assert r.returncode == 1, r


class Dovecot:
    """Speaks the auth-client protocol; knows ann, whose password is PASSWORD."""

    def __init__(self, path):
        self.requests, self.mute = [], False
        self.connections = []
        dovecot = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                dovecot.connections.append(self.connection)
                self.wfile.write(b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\tx\nDONE\n")
                rounds = {}
                for line in self.rfile:
                    words = line.decode().rstrip("\n").split("\t")
                    dovecot.requests.append(words)
                    if words[0] not in ("AUTH", "CONT") or dovecot.mute:
                        continue
                    data = words[2] if words[0] == "CONT" else next((w[5:] for w in words if w.startswith("resp=")), None)
                    self.wfile.write(dovecot.answer(words, data, rounds).encode())

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self.server = Server(path, Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @staticmethod
    def answer(words, data, rounds):
        number = words[1]
        if words[0] == "AUTH":
            rounds[number] = [words[2]]
        if data is not None:
            rounds[number].append(base64.b64decode(data).decode())
        mechanism, *said = rounds[number]
        if mechanism == "PLAIN" and said:
            said = said[0].split("\0")[1:]
        if len(said) < 2:
            return f"CONT\t{number}\t" + ("" if mechanism == "PLAIN" else base64.b64encode(b"Word:").decode()) + "\n"
        if said[0] == "database":
            return f"FAIL\t{number}\tuser={said[0]}\ttemp\n"
        if said == ["ann", PASSWORD]:
            return f"OK\t{number}\tuser=ann@example.test\n"
        return f"FAIL\t{number}\tuser={said[0]}\treason=no\n"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        for c in self.connections:
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def dovecot_is_asked_and_its_troubles_are_never_a_wrong_password(program):
    with tempfile.TemporaryDirectory(prefix="postern-dovecot-") as d:
        path = d + "/auth-client"
        dovecot = Dovecot(path)
        with server(program, auth='auth: {{dovecot_socket: "{path}"}}\n', path=path) as p:
            def login(user, password, mechanism="PLAIN"):
                s = submission(p)
                if mechanism == "PLAIN":
                    code = s.docmd("AUTH", "PLAIN " + plain(user, password))[0]
                else:
                    assert s.docmd("AUTH LOGIN")[0] == 334
                    assert s.docmd(base64.b64encode(user.encode()).decode())[0] == 334
                    code = s.docmd(base64.b64encode(password.encode()).decode())[0]
                s.close()
                return code
            assert login("ann", PASSWORD) == 235 and login("ann", PASSWORD, "LOGIN") == 235
            assert login("ann", "wrong") == 535 and login("ann", "wrong", "LOGIN") == 535
            assert login("database", "x") == 454
            asked = [w for w in dovecot.requests if w[0] == "AUTH"][0]
            assert "service=smtp" in asked and "secured" in asked and "rip=127.0.0.1" in asked, asked
            s = submission(p)
            dovecot.mute = True
            s.putcmd("AUTH", "PLAIN " + plain("ann", PASSWORD))
            wait("the request", lambda: sum(w[0] == "AUTH" for w in dovecot.requests) >= 6)
            dovecot.close()  # it dies with a question open
            assert s.getreply()[0] == 454
            os.unlink(path)
            assert s.docmd("AUTH", "PLAIN " + plain("ann", PASSWORD))[0] == 454
            s.close()
            dovecot = Dovecot(path)
            assert login("ann", PASSWORD) == 235
            # a client that leaves within the exchange harms nobody
            s = submission(p)
            assert s.docmd("AUTH LOGIN")[0] == 334
            s.sock.close()
            assert login("ann", PASSWORD) == 235
            dovecot.close()


def a_relay_host_is_convinced_by_scram(program):
    """Two servers: the one relays through the other, which takes nothing but SCRAM-SHA-256."""
    only_scram = TABLE.replace("}}", ', mechanisms: SCRAM-SHA-256}}')
    secret = f"{certificates.name}/relay-password"
    with server(program, auth=only_scram) as other:
        for password, event in (("wrong", "deferred"), (PASSWORD, "delivered")):
            with open(secret, "w", encoding="utf-8") as f:
                f.write(password + "\n")
            os.chmod(secret, 0o600)
            extra = LOCAL.replace("example.test", "branch.test") + QUICK + (
                'tls: {{ca_file: "{certs}/ca.pem"}}\nrelay_host: {{to: "127.0.0.1:{port}", tls_names: [localhost], auth: {{user: ann@example.test, '
                'password_file: "{secret}"}}}}\n')
            with Postern(program, extra=extra, certs=certificates.name, port=other.listeners[SUBMISSION], secret=secret) as p:
                p.send("you@example.test", sender="ann@example.test")
                e = p.event(event=event, recipient="you@example.test")
                if event == "deferred":
                    assert e["stage"] == "auth" and e["code"] == 535 and e["failure_code"] == 3004, e
        taken = other.event(event="received", recipient="you@example.test")
        assert taken["mechanism"] == "SCRAM-SHA-256" and taken["user"] == "ann@example.test", taken


run([the_table_of_passwords_is_kept_by_a_command, each_mechanism_lets_a_user_in_under_tls,
     a_user_who_does_not_exist_is_told_nothing_else_than_a_wrong_password,
     nothing_goes_without_logging_in_and_nobody_logs_in_in_clear, secrets_are_nowhere_in_the_record, users_write_as_themselves,
     a_submission_gets_the_fields_that_it_lacks_and_relayed_mail_does_not, a_table_that_cannot_be_read_is_no_wrong_password,
     dovecot_is_asked_and_its_troubles_are_never_a_wrong_password,
     a_relay_host_is_convinced_by_scram])
