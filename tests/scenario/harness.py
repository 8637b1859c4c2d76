"""Start a built Postern in a directory of its own, talk to it, wait for its events, stop it.

Nothing here sleeps a fixed time: everything waits for a condition, at most LIMIT seconds.
"""
import json
import os
import re
import resource
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
import traceback

LIMIT = 30

BASE = """
hostname: mx.example.test
run_directory: "{dir}/run"
workers: 2
listen: [{{address: "127.0.0.1:0"}}]
spool: {{directory: "{dir}/spool", reserve: 1MiB, minfree: 1MiB}}
history: {{directory: "{dir}/history"}}
log: {{events: "{dir}/events.log"}}
"""
LOCAL = 'local: {{domains: [example.test], maildir_directory: "{dir}/mail"}}\n'
LAB = "lab: {{enabled: true}}\n"
QUICK = ("delivery: {{retry_first: 1m, connect_timeout: 2s, helo_timeout: 2s, mail_timeout: 2s, rcpt_timeout: 2s, "
         "data_timeout: 2s, block_timeout: 5s, end_timeout: 5s, quit_timeout: 1s}}\n")


def wait(what, condition, limit=LIMIT):
    """The first true value of condition(); fails, naming what was waited for."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit} s in vain for {what}")
        time.sleep(0.01)


class Postern:
    def __init__(self, program, extra=LOCAL + LAB + QUICK, base=BASE, log="events.log", **names):
        self.program = os.path.abspath(program)
        self.dir = tempfile.mkdtemp(prefix="postern-scenario-")
        self.config = f"{self.dir}/postern.yaml"
        with open(self.config, "w") as f:
            f.write((base + extra).format(dir=self.dir, **names))
        self.log = f"{self.dir}/{log}"
        self.process = None
        self.port = 0  # of the first service, mx
        self.ports = {}
        self.listeners = []  # ports in the order of the configuration
        self.file_limit = None

    def limit_files(self):
        """In the new process: no file grows above file_limit octets, and writing beyond is an error."""
        if self.file_limit:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_limit, self.file_limit))

    def start(self):
        self.process = subprocess.Popen([self.program, "serve", "--config", self.config], stdout=subprocess.PIPE,
                                        stderr=open(f"{self.dir}/stderr", "a"), text=True, preexec_fn=self.limit_files)
        for line in self.process.stdout:
            m = re.match(r"listening: (\w+) \S+:(\d+)$", line)
            if m:
                self.ports[m.group(1)] = int(m.group(2))
                self.listeners.append(int(m.group(2)))
            if line == "ready\n":
                self.port = self.ports.get("mx") or next(iter(self.ports.values()))
                return self
        raise AssertionError("it did not start: " + self.stderr())

    __enter__ = start

    def stderr(self):
        return open(f"{self.dir}/stderr").read()

    def stop(self):
        if not self.process:
            return
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        self.process = None
        assert code == 0, f"exit code {code}: {self.stderr()}"
        assert "ERROR" not in self.stderr() and "runtime error" not in self.stderr(), self.stderr()
        # A stop that had to cut something off also ends with 0.
        cut = [e for e in self.events(event="notice") if "cut off" in e.get("text", "")]
        assert not cut, cut

    def __exit__(self, kind, *_):
        if kind:
            if self.process:
                self.process.kill()
                self.process.wait()
                self.process.stdout.close()
            print(f"# kept {self.dir}; standard error: {self.stderr()[-3000:]}")
            return
        self.stop()
        shutil.rmtree(self.dir)

    def command(self, *words, ok=True):
        r = subprocess.run([self.program, words[0], *words[1:], "--config", self.config], capture_output=True, text=True,
                           timeout=60)
        if ok:
            assert r.returncode == 0, f"{words}: {r.returncode}: {r.stderr}"
        return r.stdout if ok else r

    def events(self, **want):
        """Events so far that have these values."""
        found = []
        try:
            for line in open(self.log, encoding="utf-8"):
                if not line.endswith("\n"):
                    continue
                event = json.loads(line)
                if all(event.get(k) == v for k, v in want.items()):
                    found.append(event)
        except FileNotFoundError:
            pass
        return found

    def event(self, **want):
        """The first event that has these values; waits for it."""
        return wait(f"event {want}", lambda: self.events(**want))[0]

    def smtp(self):
        return smtplib.SMTP("127.0.0.1", self.port, timeout=LIMIT)

    def raw(self):
        return Raw(self.port)

    def send(self, to, sender="you@example.test", body=b"Subject: hello\r\n\r\nHello.\r\n", mail=(), rcpt=()):
        to = [to] if isinstance(to, str) else to
        with self.smtp() as s:
            return s.sendmail(sender, to, body, list(mail), list(rcpt))

    def mailbox(self, user, domain="example.test", root="mail"):
        box = f"{self.dir}/{root}/{domain}/{user}/new"
        return [open(f"{box}/{n}", "rb").read() for n in sorted(os.listdir(box))] if os.path.isdir(box) else []


class Raw:
    """A conversation octet by octet."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
        self.file = self.socket.makefile("rb")

    def send(self, octets):
        self.socket.sendall(octets)

    def reply(self):
        text = b""
        while True:
            line = self.file.readline()
            text += line
            if len(line) < 4 or line[3:4] != b"-":
                return text.decode("latin-1")

    def say(self, line):
        self.send(line.encode("latin-1") + b"\r\n")
        return self.reply()

    def eof(self):
        try:
            return self.file.read() == b""
        except ConnectionResetError:
            return False

    def close(self):
        self.file.close()
        self.socket.close()


def run(tests):
    """Run functions that take the program's path; TAP on standard output; exits."""
    program = sys.argv[1]
    failed = 0
    print(f"1..{len(tests)}")
    for number, test in enumerate(tests, 1):
        name = test.__name__.replace("_", " ")
        try:
            skipped = test(program)  # a text says why it could not run
            print(f"ok {number} - {name}" + (f" # SKIP {skipped}" if skipped else ""), flush=True)
        except Exception:
            failed += 1
            print("# " + traceback.format_exc().replace("\n", "\n# "))
            print(f"not ok {number} - {name}", flush=True)
    sys.exit(1 if failed else 0)
