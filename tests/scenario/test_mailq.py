"""mailq: the queue in Postfix's shape, from a running server and from a stopped one."""
import os
import re
import subprocess
import tempfile

from harness import Postern, run, wait


def mailq(s):
    with tempfile.TemporaryDirectory(prefix="postern-link-") as links:
        os.symlink(s.program, f"{links}/mailq")
        r = subprocess.run([f"{links}/mailq"], env={**os.environ, "POSTERN_CONFIG": s.config, "TZ": "UTC"},
                           capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r
    return r.stdout


def an_empty_queue_says_so(program):
    with Postern(program) as s:
        assert mailq(s) == "Mail queue is empty\n"


def what_waits_is_listed_with_its_reason(program):
    with Postern(program) as s:
        s.send(["421-4.3.2@lab.test", "450-4.2.1@lab.test"], sender="you@example.test")
        s.send("450-4.2.1@lab.test", sender="")
        wait("three put off", lambda: len(s.events(event="deferred")) >= 3)
        running = mailq(s)
        held = s.events(event="received")[0]["queue_id"]
        s.command("queue", "hold", held)
        assert f"\n{held}! " in mailq(s)
        s.command("queue", "release", held)
        lines = running.splitlines()
        assert re.fullmatch(r"-+Queue ID-+ +--Size-- +-+Arrival Time-+ +-+Sender/Recipient-+", lines[0]), lines[0]
        assert re.fullmatch(r"[0-9A-Za-z]{10,16} +\d+ \w{3} \w{3} \d\d \d\d:\d\d:\d\d you@example.test", lines[1]), lines[1]
        assert re.fullmatch(r" *\(.*450 4\.2\.1 .*\)", lines[2]) or re.fullmatch(r" *\(.*421 4\.3\.2 .*\)", lines[2]), lines
        assert re.search(r"^ +4[25][01]-4\.[23]\.[12]@lab.test$", running, re.M), running
        assert re.search(r"^\S+ +\d+ .* MAILER-DAEMON$", running, re.M), running
        assert re.fullmatch(r"-- \d+ Kbytes in 2 Requests\.", lines[-1]), lines[-1]


def without_a_server_the_spool_is_read(program):
    s = Postern(program)
    with s:
        s.send("450-4.2.1@lab.test")
        s.event(event="deferred")
        running = mailq(s)
        s.stop()
        assert mailq(s) == running
        s.start()


run([an_empty_queue_says_so, what_waits_is_listed_with_its_reason, without_a_server_the_spool_is_read])
