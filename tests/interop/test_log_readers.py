#!/usr/bin/python3
"""The log in Postfix's shape, read by those who read Postfix's: Debian's pflogsumm and fail2ban; journald; rotation."""
import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))
from harness import BASE, LAB, LOCAL, QUICK, Postern, Raw, run, wait  # noqa: E402

MAIL_LOG = BASE.replace('events.log"', 'events.log", mail: "{dir}/mail.log"')
ONLY_ANN = LOCAL.replace("]", "], recipients: [ann@example.test]", 1) + "mynetworks: []\n"


def lines_of(p, word=""):
    return [line for line in open(p.dir + "/mail.log", encoding="utf-8") if word in line]


def busy_day(p):
    """3 messages taken with 4 recipients: 2 sent, 1 deferred, 1 bounced (and its notice sent); 2 refused."""
    p.send("ann@example.test")
    p.send(["ok@lab.test", "4.2.2@lab.test"], sender="ann@example.test")
    p.send("550-5.1.1@lab.test", sender="ann@example.test")
    r = p.raw()
    r.reply()
    r.say("EHLO client.test")
    r.say("MAIL FROM:<spam@client.test>")
    for _ in range(2):
        assert r.say("RCPT TO:<victim@elsewhere.test>").startswith("554 5.7.1 "), "relay"
    r.say("QUIT")
    r.close()
    wait("five ends", lambda: len(p.events(event="delivered")) == 3 and p.events(event="deferred") and p.events(event="failed"))
    wait("their lines", lambda: len(lines_of(p, "status=")) == 5 and len(lines_of(p, "disconnect from")) == 4)


def pflogsumm_counts_what_happened(program):
    if not shutil.which("pflogsumm"):
        return "pflogsumm is not installed"
    extra = LOCAL + LAB + QUICK
    with Postern(program, extra=extra + "mynetworks: []\nrelay_domains: [lab.test]\n", base=MAIL_LOG) as p:
        busy_day(p)
        r = subprocess.run(["pflogsumm", p.dir + "/mail.log"], capture_output=True, text=True, timeout=60, check=True)
        assert not r.stderr, r.stderr
        count = {m[2]: int(m[1]) for m in re.finditer(r"(?m)^ +(\d+) +(received|delivered|deferred|bounced|rejected)\b", r.stdout)}
        assert count == {"received": 3, "delivered": 3, "deferred": 1, "bounced": 1, "rejected": 2}, (count, r.stdout[:1500])
        for word in ("Relay access denied", "lab.test", "ann@example.test"):
            assert word in r.stdout, (word, r.stdout)


def fail2ban_finds_who_tries_to_relay(program):
    rules = "/etc/fail2ban/filter.d/postfix.conf"
    if not shutil.which("fail2ban-regex") or not os.path.exists(rules):
        return "fail2ban is not installed"
    with Postern(program, extra=ONLY_ANN + LAB + QUICK + "relay_domains: [lab.test]\n", base=MAIL_LOG) as p:
        busy_day(p)
        r = subprocess.run(["fail2ban-regex", p.dir + "/mail.log", rules], capture_output=True, text=True, timeout=120)
        found = re.search(r"(\d+) lines, (\d+) ignored, (\d+) matched, (\d+) missed", r.stdout)
        assert found and int(found[3]) == 2, r.stdout[-3000:]
        # an attack on passwords is found by the mode `auth`, in a line as Postfix writes it
        line = lines_of(p, "NOQUEUE: reject: RCPT from ")[0]
        assert re.match(r"\w{3} [ \d]\d \d\d:\d\d:\d\d mx\.example\.test postfix/smtpd\[\d+\]: NOQUEUE: reject: RCPT from "
                        r"unknown\[127\.0\.0\.1\]: 554 5\.7\.1 <victim@elsewhere\.test>: Relay access denied; "
                        r"from=<spam@client\.test> to=<victim@elsewhere\.test> proto=ESMTP helo=<client\.test>", line), line


def a_message_can_be_followed_by_its_queue_id(program):
    with Postern(program, extra=LOCAL + LAB + QUICK, base=MAIL_LOG) as p:
        p.send("ann@example.test", body=b"Message-ID: <m@example.test>\r\nSubject: x\r\n\r\nx\r\n")
        queue_id = p.event(event="finished")["queue_id"]
        mine = wait("the last line", lambda: (lambda m: m if "removed" in (m or [""])[-1] else None)(lines_of(p, queue_id)))
        shapes = [r"postfix/smtpd\[\d+\]: ID: client=unknown\[127\.0\.0\.1\]$", r"postfix/cleanup\[\d+\]: ID: message-id=<m@example\.test>$",
                  r"postfix/qmgr\[\d+\]: ID: from=<you@example\.test>, size=\d+, nrcpt=1 \(queue active\)$",
                  r"postfix/virtual\[\d+\]: ID: to=<ann@example\.test>, relay=virtual, delay=[\d.]+, delays=[\d./]+, dsn=2\.0\.0, "
                  r"status=sent \(delivered to maildir\)$", r"postfix/qmgr\[\d+\]: ID: removed$"]
        assert len(mine) == len(shapes), mine
        for line, shape in zip(mine, shapes):
            assert re.search(shape.replace("ID", queue_id), line), (line, shape)


def no_peer_writes_lines_of_its_own(program):
    with Postern(program, extra=ONLY_ANN, base=MAIL_LOG) as p:
        r = p.raw()
        r.reply()
        r.send(b"EHLO a\tpostfix/smtpd[1]: x>y\r\n")
        r.reply()
        r.send(b"MAIL FROM:<\"a> to=<b\"@client.test>\r\nRCPT TO:<\"x>; from=<y\"@elsewhere.test>\r\nQUIT\r\n")
        for _ in range(3):
            r.reply()
        r.close()
        [line] = wait("the line", lambda: lines_of(p, "NOQUEUE"))
        # what was said to the peer is a text; the fields behind it are ours alone
        assert line.endswith('; from=<"a? to=?b"@client.test> to=<"x?; from=?y"@elsewhere.test> proto=ESMTP '
                             "helo=<a?postfix/smtpd[1]: x?y>\n"), line
        assert all(c >= " " for c in line.rstrip("\n")), line


def a_renamed_log_is_opened_anew(program):
    with Postern(program, extra=LOCAL, base=MAIL_LOG) as p:
        for round_, ask in enumerate((lambda: p.command("reopen-logs"), lambda: p.process.send_signal(signal.SIGHUP))):
            p.send("ann@example.test", sender=f"before{round_}@example.test")
            wait("the line", lambda: lines_of(p, f"before{round_}@"))
            os.rename(p.dir + "/mail.log", f"{p.dir}/mail.log.{round_}")
            os.rename(p.dir + "/events.log", f"{p.dir}/events.log.{round_}")
            ask()
            wait("new files", lambda: os.path.exists(p.dir + "/mail.log") and os.path.exists(p.dir + "/events.log"))
            p.send("ann@example.test", sender=f"after{round_}@example.test")
            wait("the line", lambda: lines_of(p, f"after{round_}@"))
            assert p.event(event="received", sender=f"after{round_}@example.test")
            assert "after" not in open(f"{p.dir}/mail.log.{round_}", encoding="utf-8").read().split("before")[-1]
        assert len(glob.glob(p.dir + "/mail.log*")) == 3


def journald_gets_fields(program):
    with tempfile.TemporaryDirectory(prefix="postern-journal-") as d:
        got = []
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        server.bind(d + "/journal")
        server.settimeout(0.1)
        over = threading.Event()

        def read():
            while not over.is_set():
                try:
                    got.append(dict(line.split("=", 1) for line in server.recv(65536).decode().splitlines()))
                except socket.timeout:
                    pass
        reader = threading.Thread(target=read)
        reader.start()
        base = BASE.replace('events.log"', 'events.log", mail: journal, tag: postern, journal_socket: "{socket}"')
        with Postern(program, extra=LOCAL, base=base, socket=d + "/journal") as p:
            p.send("ann@example.test")
            queue_id = p.event(event="finished")["queue_id"]
            last = wait("the record", lambda: [f for f in got if f["MESSAGE"] == f"{queue_id}: removed"])[0]
            assert last["SYSLOG_IDENTIFIER"] == "postern/qmgr" and last["PRIORITY"] == "6", last
            assert last["POSTERN_QUEUE_ID"] == queue_id and last["POSTERN_EVENT"] == "finished", last
        over.set()
        reader.join()
        server.close()


if __name__ == "__main__":
    run([pflogsumm_counts_what_happened, fail2ban_finds_who_tries_to_relay, a_message_can_be_followed_by_its_queue_id,
         no_peer_writes_lines_of_its_own, a_renamed_log_is_opened_anew, journald_gets_fields])
