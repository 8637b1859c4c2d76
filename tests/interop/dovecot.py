"""A private Dovecot of Debian's with its LMTP service, unpacked and never installed, in a root of its own.

    with Dovecot(directory, unpacked, users=["ann@example.test"]) as d:  d.socket, d.port, d.mailbox("ann@example.test")

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

PASSWORD = "a-dovecot-password"  # everybody's

CONFIG = """
protocols = lmtp
base_dir = /run/dovecot
state_dir = /var/lib/dovecot
default_internal_user = dovecot
default_internal_group = dovecot
default_login_user = nobody
log_path = /tmp/log
ssl = no
mail_location = maildir:/mail/%u
mail_plugins = quota
first_valid_uid = 1
postmaster_address = postmaster@example.test
protocol lmtp {{
  mail_plugins = quota
}}
plugin {{
  quota = maildir:User
}}
auth_mechanisms = plain login scram-sha-256
auth_failure_delay = 0
disable_plaintext_auth = yes
passdb {{
  driver = passwd-file
  args = /etc/dovecot/users
}}
service auth {{
  unix_listener auth-client {{
    mode = 0666
  }}
}}
userdb {{
  driver = passwd-file
  args = /etc/dovecot/users
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""


def have():
    """(unpacked directory, None), or (None, reason)."""
    if os.geteuid() != 0:
        return None, "a private Dovecot needs root for its mount namespace"
    if not shutil.which("unshare") or not shutil.which("apt-get"):
        return None, "unshare or apt-get is missing"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        return None, "a private Dovecot needs a mount namespace, which cannot be had here (a plain chroot?)"
    r = subprocess.run([os.path.join(TOP, "script", "unpack-dovecot")], capture_output=True, text=True)
    if r.returncode:
        return None, r.stderr.strip() or "Dovecot could not be unpacked"
    return r.stdout.strip(), None


class Dovecot:
    """users: {address: quota in octets, or None}."""

    def __init__(self, directory, unpacked, users):
        self.dir, self.unpacked, self.users = os.path.join(directory, "root"), unpacked, users
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.socket = f"{self.dir}/run/dovecot/lmtp"
        self.auth_socket = f"{self.dir}/run/dovecot/auth-client"
        self.process = None

    def __enter__(self):
        os.makedirs(f"{self.dir}/etc/dovecot")
        with open(f"{self.dir}/etc/dovecot/dovecot.conf", "w") as f:
            f.write(CONFIG.format(port=self.port))
        with open(f"{self.dir}/etc/dovecot/users", "w") as f:
            for user, quota in self.users.items():
                extra = f"userdb_quota_rule=*:bytes={quota}" if quota else ""
                f.write(f"{user}:{{PLAIN}}{PASSWORD}:9131:9131::/mail/{user}::{extra}\n")
        self.out = open(f"{self.dir}.out", "a")
        self.process = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", os.path.join(HERE, "dovecot-root"),
                                         self.unpacked, self.dir, "/usr/sbin/dovecot", "-F"], stdout=self.out, stderr=self.out,
                                        stdin=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=2) as s:
                    if s.recv(100).startswith(b"220"):
                        return self
            except OSError:
                time.sleep(0.05)
        text = self.log()
        self.__exit__()
        raise RuntimeError("Dovecot did not start:\n" + text[-2000:])

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            # The first process of the namespace: with it all the others end.
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
                for pid in f.read().split():
                    os.kill(int(pid), signal.SIGKILL)
            self.process.wait(timeout=30)
        self.out.close()

    def log(self):
        text = open(f"{self.dir}.out", errors="replace").read()
        try:
            return text + open(f"{self.dir}/tmp/log", errors="replace").read()
        except FileNotFoundError:
            return text

    def mailbox(self, user):
        box = f"{self.dir}/mail/{user}/new"
        return [open(f"{box}/{n}", "rb").read() for n in sorted(os.listdir(box))] if os.path.isdir(box) else []
