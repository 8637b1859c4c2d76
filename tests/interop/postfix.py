"""A private Postfix of Debian's, unpacked and never installed, in a root of its own.

    with Postfix(directory, relay_port=..., virtual=...) as p:  p.port, p.log()

Needs root (for mount namespaces), apt-get and unshare; have() says why it cannot be had.
"""
import os
import shutil
import signal
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")


def have():
    """(unpacked directory, None), or (None, reason)."""
    if os.geteuid() != 0:
        return None, "a private Postfix needs root for its mount namespace"
    if not shutil.which("unshare") or not shutil.which("apt-get"):
        return None, "unshare or apt-get is missing"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        return None, "a private Postfix needs a mount namespace, which cannot be had here (a plain chroot?)"
    r = subprocess.run([os.path.join(TOP, "script", "unpack-postfix")], capture_output=True, text=True)
    if r.returncode:
        return None, r.stderr.strip() or "Postfix could not be unpacked"
    return r.stdout.strip(), None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Postfix:
    def __init__(self, directory, unpacked, settings=None, transport="discard:"):
        self.dir, self.unpacked = os.path.join(directory, "postfix-root"), unpacked
        self.port = free_port()
        self.settings = {
            "compatibility_level": "3.6", "myhostname": "postfix.example.net", "mydestination": "",
            "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4", "mynetworks": "127.0.0.0/8",
            "maillog_file": "/var/log/maillog", "queue_directory": "/var/spool/postfix",
            "data_directory": "/var/lib/postfix", "mail_owner": "postfix", "setgid_group": "postdrop",
            "default_transport": transport, "relay_domains": "sink.test", "relay_transport": transport,
            "local_transport": "error:no local mail", "local_recipient_maps": "", "alias_maps": "", "smtputf8_enable": "no",
            "disable_dns_lookups": "yes", "maillog_file_prefixes": "/var/log", "notify_classes": "",
            "smtp_host_lookup": "native", "minimal_backoff_time": "2s", "queue_run_delay": "2s",
            "import_environment": "MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C",
        }
        self.settings.update(settings or {})
        self.process = None

    def run(self, *command, wait=True):
        line = ["unshare", "--mount", "--pid", "--fork", "--kill-child", os.path.join(HERE, "postfix-root"),
                self.unpacked, self.dir, *command]
        out = open(os.path.join(self.dir + ".out"), "a")
        p = subprocess.Popen(line, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
        return p.wait() if wait else p

    def __enter__(self):
        os.makedirs(os.path.join(self.dir, "etc", "postfix"), exist_ok=True)
        with open(os.path.join(self.dir, "etc/postfix/main.cf"), "w") as f:
            f.writelines(f"{k} = {v}\n" for k, v in self.settings.items())
        services = [f"127.0.0.1:{self.port} inet n - n - 200 smtpd", "pickup unix n - n 60 1 pickup",
                    "cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr", "rewrite unix - - n - - trivial-rewrite",
                    "bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce", "trace unix - - n - 0 bounce",
                    "verify unix - - n - 1 verify", "smtp unix - - n - - smtp", "relay unix - - n - - smtp",
                    "error unix - - n - - error", "retry unix - - n - - error", "discard unix - - n - - discard",
                    "anvil unix - - n - 1 anvil", "scache unix - - n - 1 scache", "showq unix n - n - - showq",
                    "postlog unix-dgram n - n - 1 postlogd",
                    "proxymap unix - - n - - proxymap", "tlsmgr unix - - n 1000? 1 tlsmgr"]
        with open(os.path.join(self.dir, "etc/postfix/master.cf"), "w") as f:
            f.write("\n".join(services) + "\n")
        self.process = self.run("/bin/sh", "-c",
                                "touch /etc/postfix/dynamicmaps.cf; chown 9125 /var/lib/postfix; "
                                "exec postfix start-fg", wait=False)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=2) as s:
                    if s.recv(100).startswith(b"220"):
                        return self
            except OSError:
                time.sleep(0.05)
        text = self.log() + open(self.dir + ".out").read()
        self.__exit__()
        raise RuntimeError("Postfix did not start:\n" + text[-2000:])

    def processes(self):
        """Ids of all that run in this root."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/root") == os.path.realpath(self.dir):
                    found.append(int(pid))
            except OSError:
                pass  # ended meanwhile
        return found

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            # The first process of the namespace: with it all the others end.  Not unshare itself: master
            # changes its user, so that the kernel forgets that it shall die with its parent.
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
                for pid in f.read().split():
                    os.kill(int(pid), signal.SIGKILL)
            self.process.wait(timeout=30)
            left = self.processes()
            assert not left, f"processes of Postfix are left: {left}"

    def log(self):
        try:
            return open(os.path.join(self.dir, "var/log/maillog"), errors="replace").read()
        except FileNotFoundError:
            return ""

    def wait_log(self, pattern, seconds=20):
        """The first log line that has the pattern; None in the end."""
        import re
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            m = re.search(pattern, self.log())
            if m:
                return m
            time.sleep(0.05)
        return None
