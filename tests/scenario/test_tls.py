#!/usr/bin/python3
"""TLS of the server: STARTTLS, implicit, names, client certificates, versions, and what an attacker tries.

provokes: tls_ready tls_already_active must_starttls improper_pipelining
"""
import shutil
import signal
import smtplib
import socket
import ssl
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
"""
LISTEN = """
listen:
  - {{address: "127.0.0.1:0"}}
  - {{address: "127.0.0.1:0", service: submission}}
  - {{address: "127.0.0.1:0", service: submission, tls: implicit}}
  - {{address: "127.0.0.1:0", tls: none}}
"""
TLS = """
tls:
  certificate: "{certs}/mx.pem"
  key: "{certs}/mx.key"
  certificates: [{{certificate: "{certs}/wild.pem", key: "{certs}/wild.key"}}]
"""

certificates = tempfile.TemporaryDirectory(prefix="postern-certificates-")
authority = Authority(certificates.name)
authority.make("mx", "mx.example.test", "localhost").make("wild", "*.wild.test").make("rsa", "mx.example.test", rsa=True)
authority.make("person", common_name="A (small) person").make("stranger", common_name="Stranger", itself=True)

MX, SUBMISSION, IMPLICIT, CLEAR = range(4)


def server(program, tls="", more="", listen=LISTEN):
    return Postern(program, extra=listen + (TLS + tls) + LOCAL + more, base=HEAD, certs=certificates.name)


def starttls(port, context=None, name="mx.example.test"):
    s = smtplib.SMTP("127.0.0.1", port, timeout=LIMIT)
    s.ehlo("client.test")
    assert s.has_extn("starttls"), s.esmtp_features
    s.docmd("STARTTLS")
    s.sock = (context or authority.context()).wrap_socket(s.sock, server_hostname=name)
    s.file = None
    s.ehlo_resp = s.helo_resp = None
    s.esmtp_features = {}
    return s


def implicit(port, context=None, name="mx.example.test"):
    raw = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
    return (context or authority.context()).wrap_socket(raw, server_hostname=name)


def closed(sock):
    """Nothing but the end comes, or a reset."""
    try:
        return sock.recv(1000) == b""
    except (ConnectionResetError, ssl.SSLError):
        return True


def starttls_secures_a_session_and_the_record_says_so(program):
    with server(program) as p:
        s = starttls(p.listeners[MX])
        code, text = s.ehlo("client.test")
        assert code == 250 and "starttls" not in s.esmtp_features and "requiretls" in s.esmtp_features, text
        s.sendmail("you@example.test", ["ann@example.test"], b"Subject: secret\r\n\r\nHello.\r\n")
        s.quit()
        mail = wait("the mail", lambda: p.mailbox("ann"))[0].decode()
        assert "(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))" in mail, mail
        assert "(No client certificate requested)" in mail and "with ESMTPS id" in mail, mail
        event = p.event(event="tls")
        assert event["tls_version"] == "TLSv1.3" and "name mx.example.test" in event["detail"], event
        received = p.event(event="received")
        assert received["tls_cipher"] == "TLS_AES_256_GCM_SHA384" and received["session"] == event["session"], received


def what_was_said_in_clear_is_forgotten(program):
    with server(program) as p:
        s = starttls(p.listeners[MX])
        assert s.docmd("MAIL FROM:<you@example.test>")[0] == 503  # EHLO was before
        s.ehlo("client.test")
        assert s.docmd("MAIL FROM:<you@example.test>")[0] == 250
        assert s.docmd("STARTTLS") == (554, b"5.5.1 Error: TLS already active")
        s.close()


def implicit_tls_has_its_banner_inside(program):
    with server(program) as p:
        s = smtplib.SMTP_SSL("127.0.0.1", p.listeners[IMPLICIT], timeout=LIMIT, context=authority.context(check=False))
        s.ehlo("client.test")
        assert "starttls" not in s.esmtp_features
        body = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 4 + b"\r\n" * 2 + (b"x" * 998 + b"\r\n") * 3000
        s.sendmail("you@example.test", ["ann@example.test"], body)
        s.quit()
        mail = wait("the mail", lambda: p.mailbox("ann"))[0]
        assert mail.endswith(body.replace(b"\r\n", b"\n")) or mail.endswith(body), len(mail)


def the_name_that_a_client_asks_for_picks_the_certificate(program):
    with server(program) as p:
        for name, has in (("mx.example.test", "mx.example.test"), ("a.wild.test", "*.wild.test")):
            with implicit(p.listeners[IMPLICIT], name=name) as s:
                assert ("DNS", has) in s.getpeercert()["subjectAltName"], s.getpeercert()
        with implicit(p.listeners[IMPLICIT], authority.context(check=False), "unknown.test") as s:
            assert s.version() == "TLSv1.3"


def a_session_is_resumed(program):
    with server(program) as p:
        context = authority.context()
        with implicit(p.listeners[IMPLICIT], context) as s:
            assert s.recv(1000).startswith(b"220 ")
            session = s.session
        raw = socket.create_connection(("127.0.0.1", p.listeners[IMPLICIT]), timeout=LIMIT)
        with context.wrap_socket(raw, server_hostname="mx.example.test", session=session) as s:
            assert s.session_reused


def client_certificates_are_taken_for_what_they_are(program):
    ask = '  client_certificates: ask\n  client_ca_file: "{certs}/ca.pem"\n'
    with server(program, ask) as p:
        for who, words in (("person", 'Client CN "A ?small? person" (verified OK)'),
                           ("stranger", 'Client CN "Stranger" (not verified)'),
                           (None, "Client did not present a certificate")):
            s = starttls(p.listeners[MX], authority.context(who))
            s.sendmail("you@example.test", [f"to-{who}@example.test".lower()], b"Subject: x\r\n\r\nx\r\n")
            s.quit()
            mail = wait("the mail", lambda: p.mailbox(f"to-{who}".lower()))[0].decode()
            assert words in mail, mail
        wait("the event", lambda: [e for e in p.events(event="tls")
                                   if "certificate of A (small) person, verified" in e.get("detail", "")])
    with server(program, ask.replace("ask", "require", 1)) as p:
        s = starttls(p.listeners[MX], authority.context("person"))
        assert s.ehlo("client.test")[0] == 250
        s.close()
        for who, words in ((None, "the peer showed no certificate"), ("stranger", "certificate of Stranger does not verify")):
            try:
                s = starttls(p.listeners[MX], authority.context(who))
                assert not s.sock.recv(100)
                raise AssertionError("it was let in")
            except ssl.SSLError:
                pass
            wait(words, lambda: [e for e in p.events(event="tls_failed") if words in e["text"]])


def an_old_version_is_refused(program):
    with server(program, "  min_version: 1.3\n") as p:
        old = authority.context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            starttls(p.listeners[MX], old)
            raise AssertionError("TLS 1.2 was taken")
        except ssl.SSLError:
            pass
        assert "no version of TLS in common" in p.event(event="tls_failed")["text"]
    with server(program) as p:
        assert starttls(p.listeners[MX], old).sock.version() == "TLSv1.2"


def commands_behind_starttls_in_one_segment_end_the_session(program):
    with server(program) as p:
        r = Raw(p.listeners[MX])
        r.reply()
        r.say("EHLO client.test")
        r.send(b"STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<evil@evil.test>\r\n")
        assert r.reply().startswith("554 5.5.0 "), "no refusal"
        assert r.eof()
        r.close()
        assert p.event(event="refused")["reply_id"] == "improper_pipelining"
        assert not p.events(event="tls")


def commands_in_clear_behind_220_fail_the_handshake(program):
    with server(program) as p:
        r = Raw(p.listeners[MX])
        r.reply()
        r.say("EHLO client.test")
        assert r.say("STARTTLS") == "220 2.0.0 Ready to start TLS\r\n"
        r.send(b"EHLO evil.test\r\n")
        rest = r.file.read()
        assert b"250" not in rest and b"2.0.0" not in rest, rest
        r.close()
        assert "does not speak TLS" in p.event(event="tls_failed")["text"]
        # The same without STARTTLS.
        r = Raw(p.listeners[IMPLICIT])
        r.send(b"EHLO evil.test\r\n")
        assert b"220" not in r.file.read()
        r.close()


def passwords_and_mail_wait_for_tls_where_it_is_required(program):
    with server(program) as p:
        r = Raw(p.listeners[SUBMISSION])
        r.reply()
        assert "STARTTLS" in r.say("EHLO client.test")
        for line in ("MAIL FROM:<you@example.test>", "AUTH PLAIN AGEAYg==", "VRFY ann"):
            assert r.say(line).startswith("530 5.7.0 "), line
        assert r.say("NOOP").startswith("250 ")
        assert r.say("QUIT").startswith("221 ")
        r.close()
        s = starttls(p.listeners[SUBMISSION])
        s.ehlo("client.test")
        assert s.docmd("MAIL FROM:<you@example.test>")[0] == 250
        s.close()


def a_listener_can_do_without(program):
    with server(program) as p:
        r = Raw(p.listeners[CLEAR])
        r.reply()
        answer = r.say("EHLO client.test")
        assert "STARTTLS" not in answer and "REQUIRETLS" not in answer, answer
        assert r.say("STARTTLS")[0] == "5"
        assert r.say("MAIL FROM:<you@example.test>").startswith("250 ")
        r.close()


def a_handshake_that_stalls_is_ended(program):
    with server(program, more="limits: {{command_timeout: 1s}}\n") as p:
        quiet = socket.create_connection(("127.0.0.1", p.listeners[IMPLICIT]), timeout=LIMIT)
        r = Raw(p.listeners[MX])
        r.reply()
        r.say("EHLO client.test")
        r.say("STARTTLS")
        r.send(b"\x16\x03\x01\x02\x00\x01")
        assert closed(quiet) and closed(r.socket)
        quiet.close()
        r.close()
        wait("both in the log", lambda: len([e for e in p.events(event="tls_failed") if "in time" in e["text"]]) == 2)


def a_message_that_is_cut_off_is_not_taken(program):
    with server(program) as p:
        s = implicit(p.listeners[IMPLICIT])
        s.recv(1000)
        for line in (b"EHLO c.test", b"MAIL FROM:<a@example.test>", b"RCPT TO:<ann@example.test>", b"DATA"):
            s.sendall(line + b"\r\n")
            s.recv(1000)
        s.sendall(b"Subject: half\r\n\r\nhalf\r\n")
        socket.socket.close(s)  # without close_notify
        p.event(event="session_closed")
        assert not p.events(event="received")


def a_stop_ends_sessions_in_any_phase(program):
    with server(program) as p:
        held = [socket.create_connection(("127.0.0.1", p.listeners[IMPLICIT]), timeout=LIMIT)]
        s = starttls(p.listeners[MX])
        s.ehlo("client.test")
        held.append(implicit(p.listeners[IMPLICIT]))
        held[1].recv(1000)
        p.stop()
        assert s.getreply()[0] == 421
        assert held[1].recv(1000).startswith(b"421 ")
        s.close()
        for h in held:
            h.close()


def check_config_names_what_is_wrong_with_which_file(program):
    good = server(program)
    assert good.command("check-config").endswith(": good\n")
    cases = (
        ("certificate: none.pem\n  key: none.key", "tls.certificate: cannot read certificate"),
        (f"certificate: {certificates.name}/mx.pem\n  key: {certificates.name}/none.key", "tls.key: cannot read key"),
        (f"certificate: {certificates.name}/mx.pem\n  key: {certificates.name}/rsa.key", "tls.key: key "),
        (f"certificate: {certificates.name}/mx.pem\n  key: {certificates.name}/mx.key\n  ciphers: NONSENSE", "tls.ciphers: no usable"),
        (f"certificate: {certificates.name}/mx.pem\n  key: {certificates.name}/mx.key\n  ca_file: /dev/null", "tls.ca_file: no usable"),
    )
    for text, words in cases:
        p = Postern(program, extra="listen: [{{address: \"127.0.0.1:0\"}}]\ntls:\n  " + text + "\n", base=HEAD)
        for command in ("check-config", "serve"):
            r = p.command(command, ok=False)
            assert r.returncode == 1 and words in r.stderr and "postern.yaml:" in r.stderr, r.stderr
        shutil.rmtree(p.dir)
    shutil.rmtree(good.dir)


def renewed_certificates_are_taken_without_a_restart(program):
    with tempfile.TemporaryDirectory(prefix="postern-renewal-") as d:
        own = Authority(d)
        own.make("mx", "mx.example.test")
        with Postern(program, extra=LISTEN + 'tls: {{certificate: "{certs}/mx.pem", key: "{certs}/mx.key"}}\n' + LOCAL, base=HEAD,
                     certs=d) as p:
            def shown():
                s = implicit(p.listeners[IMPLICIT], own.context())
                number = s.getpeercert()["serialNumber"]
                s.close()
                return number
            before = shown()
            own.make("mx", "mx.example.test")
            assert shown() == before
            p.command("reload-certificates")
            after = shown()
            assert after != before
            shutil.copy(own.path("ca", "key"), own.path("mx", "key"))  # not its key: the good ones stay
            r = p.command("reload-certificates", ok=False)
            assert r.returncode == 1 and "check-config" in r.stderr, r
            assert shown() == after and p.event(event="notice", text="the certificates in use stay")
            own.make("mx", "mx.example.test")
            p.process.send_signal(signal.SIGHUP)
            wait("the third certificate", lambda: shown() not in (before, after))


run([renewed_certificates_are_taken_without_a_restart,
     starttls_secures_a_session_and_the_record_says_so, what_was_said_in_clear_is_forgotten,
     implicit_tls_has_its_banner_inside, the_name_that_a_client_asks_for_picks_the_certificate, a_session_is_resumed,
     client_certificates_are_taken_for_what_they_are, an_old_version_is_refused,
     commands_behind_starttls_in_one_segment_end_the_session, commands_in_clear_behind_220_fail_the_handshake,
     passwords_and_mail_wait_for_tls_where_it_is_required, a_listener_can_do_without, a_handshake_that_stalls_is_ended,
     a_message_that_is_cut_off_is_not_taken, a_stop_ends_sessions_in_any_phase,
     check_config_names_what_is_wrong_with_which_file])
