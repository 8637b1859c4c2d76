#!/usr/bin/python3
"""A real Exim of Debian's, unpacked: as sender over verified TLS and in chunks, and as next hop that wants a password."""
import os
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))
from certificates import Authority  # noqa: E402
from harness import LAB, LOCAL, QUICK, Postern, run, wait  # noqa: E402

CONFIG = """
primary_hostname = exim.example.net
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
spool_directory = /var/spool/exim4
log_file_path = /var/log/exim4/%slog
tls_advertise_hosts = *
tls_certificate = /etc/certs/mx.pem
tls_privatekey = /etc/certs/mx.key
chunking_advertise_hosts = *
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
acl_smtp_rcpt = rcpt
disable_ipv6 = true
never_users =
begin acl
rcpt:
  accept domains = example.test
  accept authenticated = *
  deny message = authentication required
begin routers
out:
  driver = manualroute
  domains = example.test
  route_list = * localhost byname
  self = send
  transport = out
mailbox:
  driver = accept
  transport = mailbox
begin transports
out:
  driver = smtp
  port = {out}
  hosts_require_tls = *
  tls_verify_certificates = /etc/certs/ca.pem
  tls_verify_hosts = *
  tls_verify_cert_hostnames = *
mailbox:
  driver = appendfile
  directory = /mail/bob
  maildir_format
  user = mail
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{me}}}}{{eq{{$auth3}}{{very secret}}}}}}}}
  server_set_id = $auth2
  server_advertise_condition = ${{if def:tls_in_cipher}}
"""
BODY = b"Subject: x\r\nFrom: you@example.test\r\n\r\nhello\r\n.\r\n..dots\r\n"


def have():
    """(unpacked directory, None), or (None, reason)."""
    if os.geteuid() != 0:
        return None, "a private Exim needs root for its mount namespace"
    if not shutil.which("unshare") or not shutil.which("apt-get"):
        return None, "unshare or apt-get is missing"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        return None, "a private Exim needs a mount namespace, which cannot be had here (a plain chroot?)"
    r = subprocess.run([os.path.join(HERE, "..", "..", "script", "unpack-exim")], capture_output=True, text=True)
    return (r.stdout.strip(), None) if r.returncode == 0 else (None, r.stderr.strip() or "Exim could not be unpacked")


UNPACKED, REASON = have()


class Exim:
    """A root with certificates that Postern reads as well: .certs"""

    def __init__(self, directory):
        self.dir, self.process = os.path.join(directory, "root"), None
        self.certs = Authority(f"{self.dir}/etc/certs").make("mx", "localhost", "mx.example.test").directory
        os.chmod(f"{self.certs}/mx.key", 0o644)  # made for this test, gone with it
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]

    def start(self, out):
        os.makedirs(f"{self.dir}/etc/exim4")
        with open(f"{self.dir}/etc/exim4/exim4.conf", "w", encoding="utf-8") as f:
            f.write(CONFIG.format(port=self.port, out=out))
        self.out = open(f"{self.dir}.out", "a", encoding="utf-8")
        self.process = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", os.path.join(HERE, "exim-root"),
                                         UNPACKED, self.dir, "/usr/sbin/exim4", "-bdf", "-q1m"], stdout=self.out, stderr=self.out,
                                        stdin=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=2) as s:
                    if s.recv(100).startswith(b"220"):
                        return self
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("Exim did not start:\n" + self.log())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            # The first process of the namespace: with it all the others end.
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as f:
                for pid in f.read().split():
                    os.kill(int(pid), signal.SIGKILL)
            self.process.wait(timeout=30)
        if self.process:
            self.out.close()

    def log(self):
        text = open(f"{self.dir}.out", errors="replace").read()
        for name in ("main", "panic", "reject"):
            path = f"{self.dir}/var/log/exim4/{name}log"
            text += open(path, errors="replace").read() if os.path.exists(path) else ""
        return text[-3000:]

    def mailbox(self, user):
        box = f"{self.dir}/mail/{user}/new"
        return [open(f"{box}/{n}", "rb").read() for n in sorted(os.listdir(box))] if os.path.isdir(box) else []


def it_sends_in_chunks_and_verifies_us(program):
    if REASON:
        return REASON
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d, Exim(d) as exim:
        tls = 'tls: {{certificate: "{certs}/mx.pem", key: "{certs}/mx.key"}}\n'
        with Postern(program, LOCAL + tls, certs=exim.certs) as p:
            exim.start(p.port)
            with smtplib.SMTP("127.0.0.1", exim.port, timeout=30) as s:
                s.sendmail("you@example.test", ["ann@example.test"], BODY)
            e = wait("the message", lambda: p.events(event="received", recipient="ann@example.test") or
                     ("defer" in exim.log() and [{"exim": exim.log()}]))[0]
            assert e.get("protocol") == "ESMTPS", e
            [mail] = wait("the mailbox", lambda: p.mailbox("ann"))
            assert mail.endswith(b"\n\nhello\n.\n..dots\n"), mail
            closed = p.event(event="session_closed", session=e["session"])
            assert "bdat=" in closed["commands"] and "starttls=1" in closed["commands"], closed


def it_takes_mail_for_a_password_and_nothing_without(program):
    if REASON:
        return REASON
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d, Exim(d) as exim:
        exim.start(1)
        secret = d + "/secret"
        for password, event in (("wrong", "deferred"), ("very secret", "delivered")):
            with open(secret, "w", encoding="utf-8") as f:
                f.write(password + "\n")
            os.chmod(secret, 0o600)
            config = LOCAL + QUICK.replace("}}", ", chunking: true}}") + (
                'tls: {{ca_file: "{certs}/ca.pem"}}\nrelay_host: {{to: "127.0.0.1:{port}", tls_names: [localhost], '
                'auth: {{user: me, password_file: "{secret}"}}}}\n')
            with Postern(program, config, certs=exim.certs, port=exim.port, secret=secret) as p:
                p.send("bob@far.test", body=BODY)
                e = p.event(event=event, recipient="bob@far.test")
                if event == "deferred":
                    assert e["code"] == 535 and e["failure_code"] == 3004, e
                else:
                    assert e["code"] == 250 and "TLSv1.3" in e["tls"], e
        [mail] = wait("Exim's mailbox", lambda: exim.mailbox("bob"))
        assert mail.replace(b"\r\n", b"\n").endswith(b"\n\nhello\n.\n..dots\n"), mail
        assert "A=plain:me" in exim.log() and "K " in exim.log(), exim.log()  # authenticated, in chunks


def addresses_beyond_ascii_go_both_ways(program):
    if REASON:
        return REASON
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d, Exim(d) as exim:
        tls = 'tls: {{certificate: "{certs}/mx.pem", key: "{certs}/mx.key", ca_file: "{certs}/ca.pem"}}\n'
        route = 'routes: [{{domain: far.test, to: "127.0.0.1:{port}"}}]\n'
        with Postern(program, LOCAL.replace("example.test", "example.test, front.test") + QUICK + tls + route, certs=exim.certs,
                     port=exim.port) as p:
            exim.start(p.port)
            # to Exim, which knows the local part only when it came whole, and from it
            for port, rcpt in ((exim.port, "k\u00e4the@example.test"), (p.port, "j\u00f6rg@far.test")):
                with smtplib.SMTP("127.0.0.1", port, timeout=30) as s:
                    s.ehlo("client.test")
                    s.command_encoding = "utf-8"
                    s.sendmail("\u00fc@example.test", [rcpt], BODY, ["SMTPUTF8"])
            e = wait("the message", lambda: p.events(event="received", recipient="k\u00e4the@example.test"))[0]
            assert e["sender"] == "\u00fc@example.test" and e["protocol"] == "UTF8SMTPS", e
            e = wait("its end", lambda: [e for e in p.events(recipient="j\u00f6rg@far.test")
                                         if e["event"] in ("failed", "deferred", "delivered")])[0]
            assert (e["event"], e["code"], e["stage"]) == ("failed", 550, "rcpt") and "authentication required" in e["text"], e
            assert "<j\u00f6rg@far.test>" in exim.log(), exim.log()


def dsn_parameters_come_from_it(program):
    if REASON:
        return REASON
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d, Exim(d) as exim:
        tls = 'tls: {{certificate: "{certs}/mx.pem", key: "{certs}/mx.key"}}\n'
        with Postern(program, LOCAL + LAB + QUICK + tls, certs=exim.certs) as p:
            exim.start(p.port)
            with smtplib.SMTP("127.0.0.1", exim.port, timeout=30) as s:
                s.sendmail("you@example.test", ["ann@example.test"], BODY, ["ENVID=QQ+2B3", "RET=HDRS"],
                           ["NOTIFY=SUCCESS", "ORCPT=rfc822;k+2Bl@x.test"])
            [mail] = wait("a notification", lambda: p.mailbox("you") or ("defer" in exim.log() and [exim.log().encode()]))
            assert b"\nOriginal-Envelope-Id: QQ+3\n" in mail and b"\nOriginal-Recipient: rfc822; k+l@x.test\n" in mail, mail
            assert b"\nAction: delivered\n" in mail and b"hello" not in mail, mail


if __name__ == "__main__":
    run([it_sends_in_chunks_and_verifies_us, it_takes_mail_for_a_password_and_nothing_without, addresses_beyond_ascii_go_both_ways,
         dsn_parameters_come_from_it])
