#!/usr/bin/python3
"""Kill the server with SIGKILL under load, again and again: no acknowledged message may be lost.

Several clients send numbered messages and write each number that got its 250 into a ledger of their
own, synced before the next message. The server delivers to a Maildir and is killed at random
moments and started again on the same spool. At the end the queue drains, and every number of the
ledger must be in the Maildir, exactly once or more than once.

    kill9.py POSTERN [--rounds N] [--must-lose] [--serve-option OPTION]

--must-lose turns the verdict around: for a build that answers before the commit, which must be
found out. (Its queue forgets what it cannot read yet, so it may never drain; nobody waits for that.)
"""
import argparse
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

CONFIG = """
hostname: mx.example.test
listen: [{{address: "127.0.0.1:{port}"}}]
run_directory: "{dir}/run"
workers: 2
local: {{domains: [example.test], maildir_directory: "{dir}/mail"}}
spool: {{directory: "{dir}/spool", reserve: 1MiB, segment_size: 256KiB, spill_size: 16KiB, minfree: 1MiB}}
history: {{directory: "{dir}/history"}}
delivery: {{retry_first: 200ms, retry_max: 1s}}
"""


class Server:
    def __init__(self, program, directory, options):
        self.program, self.dir, self.options = program, directory, options
        self.port = 0
        self.process = None

    def start(self):
        with open(f"{self.dir}/postern.yaml", "w") as f:
            f.write(CONFIG.format(dir=self.dir, port=self.port))
        self.process = subprocess.Popen(
            [self.program, "serve", "--config", f"{self.dir}/postern.yaml", *self.options],
            stdout=subprocess.PIPE, stderr=open(f"{self.dir}/stderr", "a"), text=True)
        for line in self.process.stdout:
            m = re.match(r"listening: mx 127\.0\.0\.1:(\d+)", line)
            if m:
                self.port = int(m.group(1))
            if line == "ready\n":
                return
        raise SystemExit(f"Bail out! the server did not start: {open(self.dir + '/stderr').read()}")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        return code


class Client(threading.Thread):
    """Sends numbered messages for as long as it may; remembers what was acknowledged."""

    def __init__(self, number, server, ledger_path, stop, progress):
        super().__init__(daemon=True)
        self.number, self.server, self.stop_event, self.progress = number, server, stop, progress
        self.ledger = os.open(ledger_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.sent = self.acknowledged = 0
        self.random = random.Random(number)

    def reply(self, file):
        line = file.readline()
        while len(line) > 3 and line[3:4] == b"-":
            line = file.readline()
        if not line:
            raise ConnectionError
        return line

    def session(self):
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=20) as s:
            file = s.makefile("rb")
            self.reply(file)
            s.sendall(b"EHLO load.example\r\n")
            self.reply(file)
            while not self.stop_event.is_set():
                self.sent += 1
                name = f"{self.number}-{self.sent}"
                # Some are large enough to get a file of their own.
                size = 40000 if self.random.random() < 0.05 else self.random.randrange(100, 4000)
                body = f"X-Number: {name}\r\n\r\n".encode() + (b"x" * 70 + b"\r\n") * (size // 72)
                s.sendall(b"MAIL FROM:<load@example.net>\r\nRCPT TO:<box@example.test>\r\nDATA\r\n")
                for _ in range(3):
                    self.reply(file)
                s.sendall(body + b".\r\n")
                if self.reply(file).startswith(b"250"):
                    os.write(self.ledger, f"{name}\n".encode())
                    os.fsync(self.ledger)
                    with self.progress:
                        self.acknowledged += 1
                        self.progress.notify_all()

    def run(self):
        while not self.stop_event.is_set():
            try:
                self.session()
            except (OSError, ConnectionError):
                self.stop_event.wait(0.02)  # the server is down just now


def arrived(directory):
    """How often each number lies in the Maildir."""
    count = {}
    box = f"{directory}/mail/example.test/box/new"
    for name in os.listdir(box) if os.path.isdir(box) else []:
        with open(os.path.join(box, name), "rb") as f:
            m = re.search(rb"^X-Number: (\S+)$", f.read(4096), re.M)
        if m:
            number = m.group(1).decode()
            count[number] = count.get(number, 0) + 1
    return count


def queued(server):
    out = subprocess.run([server.program, "stats", "--json", "--config", f"{server.dir}/postern.yaml"],
                         capture_output=True, text=True, timeout=60).stdout
    m = re.search(r'"queued":\s*(\d+)', out)
    return int(m.group(1)) if m else -1


def main():
    p = argparse.ArgumentParser()
    p.add_argument("postern")
    p.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS", "50")))
    p.add_argument("--must-lose", action="store_true")
    p.add_argument("--serve-option", action="append", default=[])
    a = p.parse_args()
    directory = tempfile.mkdtemp(prefix="postern-kill9-", dir=os.environ.get("KILL9_DIR"))
    server = Server(os.path.abspath(a.postern), directory, a.serve_option)
    stop = threading.Event()
    seed = int(os.environ.get("SEED", "0")) or int.from_bytes(os.urandom(4), "big")
    moments = random.Random(seed)
    print(f"# {a.rounds} rounds, SEED={seed}, in {directory}", flush=True)
    server.start()
    progress = threading.Condition()
    clients = [Client(i, server, f"{directory}/ledger.{i}", stop, progress) for i in range(8)]
    for c in clients:
        c.start()
    for _ in range(a.rounds):
        # A random moment, counted in messages so that a slow machine sees as much as a fast one.
        with progress:
            goal = sum(c.acknowledged for c in clients) + moments.randrange(20, 200)
            reached = progress.wait_for(lambda: sum(c.acknowledged for c in clients) >= goal, timeout=60)
        server.kill()
        if not reached:
            raise SystemExit("Bail out! no progress within a minute")
        server.start()
    stop.set()
    for c in clients:
        c.join(timeout=60)
    deadline = time.monotonic() + (3 if a.must_lose else 120)
    while queued(server) != 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    left = queued(server)
    code = server.stop()
    check = subprocess.run([server.program, "spool", "check", "--dir", f"{directory}/spool"],
                           capture_output=True, text=True)
    ledger = [line for i in range(len(clients)) for line in open(f"{directory}/ledger.{i}").read().split()]
    found = arrived(directory)
    lost = [n for n in ledger if n not in found]
    twice = sum(1 for n in found.values() if n > 1)
    unacknowledged = len(set(found) - set(ledger))
    print(f"# {len(ledger)} acknowledged, {len(lost)} lost, {twice} came more than once, "
          f"{unacknowledged} came without our having seen their 250, {left} still queued", flush=True)
    print("1..3")
    if a.must_lose:
        good = [len(lost) > 0, True, True]
        names = ["a server that answers before the commit is found out", "(stop not judged)", "(spool not judged)"]
    else:
        good = [not lost and left == 0 and len(ledger) > a.rounds * 10, code == 0, check.returncode == 0]
        names = ["every acknowledged message arrived, once or more than once", "the server stopped cleanly",
                 "the spool has no damage"]
    for i, (ok, name) in enumerate(zip(good, names), 1):
        print(f"{'ok' if ok else 'not ok'} {i} - {name}")
    if all(good):
        shutil.rmtree(directory)
    else:
        print(f"# lost: {lost[:20]}; spool check: {check.stdout[-500:]}; kept {directory}")
        print("# stderr: " + open(f"{directory}/stderr").read()[-2000:].replace("\n", "\n# "))
    sys.exit(0 if all(good) else 1)


main()
