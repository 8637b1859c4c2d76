"""sendmail: what programs of the machine send, with the flags they know, also while no server runs."""
import os
import re
import subprocess
import tempfile

from harness import LAB, LOCAL, QUICK, Postern, run, wait

ALIASES = 'aliases: {{files: ["{dir}/aliases"]}}\n'
EXTRA = LOCAL + LAB + QUICK + ALIASES


def server(program):
    s = Postern(program, extra=EXTRA)
    with open(f"{s.dir}/aliases", "w") as f:
        f.write("root: ann\nteam: ann, bob\nround: about\nabout: round\n")
    return s


def sendmail(s, *args, text="Subject: hi\n\nHello.\n", ok=True):
    # by the name that programs call
    with tempfile.TemporaryDirectory(prefix="postern-link-") as links:
        os.symlink(s.program, f"{links}/sendmail")
        r = subprocess.run([f"{links}/sendmail", "-C", s.config, *args], input=text.encode(), capture_output=True,
                           timeout=60)
    if ok:
        assert r.returncode == 0, (args, r.returncode, r.stderr)
    return r


def got(s, user, count=1):
    wait(f"{count} letters for {user}", lambda: len(s.mailbox(user)) == count)
    return s.mailbox(user)


def a_letter_is_taken_completed_and_delivered(program):
    with server(program) as s:
        sendmail(s, "-oi", "-F", "Ann \"A\" Smith", "-f", "ann@example.test", "bob@example.test")
        letter = got(s, "bob")[0].decode()
        assert re.search(r"^Return-Path: <ann@example.test>\n", letter), letter
        assert "\nReceived: by mx.example.test (Postern, from userid %d)\n\tid " % os.getuid() in letter, letter
        assert '\nFrom: "Ann \\"A\\" Smith" <ann@example.test>\n' in letter, letter
        assert re.search(r"\nDate: \w", letter) and re.search(r"\nMessage-ID: <\S+@mx.example.test>\n", letter), letter
        assert letter.endswith("\n\nHello.\n"), letter
        e = s.event(event="received")
        assert e["uid"] == os.getuid() and e["protocol"] == "local" and e["message_id"], e
        assert os.listdir(f"{s.dir}/spool/maildrop/bad") == []
        wait("the file is gone", lambda: not [n for n in os.listdir(f"{s.dir}/spool/maildrop") if n.startswith("new-")])


def what_is_there_stays(program):
    with server(program) as s:
        sendmail(s, "-i", "bob@example.test",
                 text="From x\nFrom: me@far.invalid\nDate: today\nMessage-ID: <m@far.invalid>\n\n.\nend")
        letter = got(s, "bob")[0].decode()
        assert letter.count("\nFrom:") == 1 and letter.count("\nDate:") == 1 and letter.count("\nMessage-ID:") == 1, letter
        assert letter.endswith("\n\n.\nend\n"), letter
        assert "From x" not in letter
        # without -i a dot ends it
        sendmail(s, "bob@example.test", text="Subject: a\n\none\n.\ntwo\n")
        assert got(s, "bob", 2)[1].endswith(b"one\n") or got(s, "bob", 2)[0].endswith(b"one\n")


def recipients_of_the_header(program):
    with server(program) as s:
        sendmail(s, "-t", text="To: Ann (x, y) <ann@example.test>,\n \"B, o\" <bob@example.test>\nCc: us: carol@example.test;\n"
                               "Bcc: dora@example.test\nSubject: x\n\nHello.\n")
        for user in ("ann", "bob", "carol", "dora"):
            letter = got(s, user)[0]
            assert b"dora" not in letter.split(b"\nSubject")[1] and b"Bcc" not in letter, letter


def names_without_a_domain_and_aliases(program):
    with server(program) as s:
        sendmail(s, "-f", "", "root")
        assert b"Return-Path: <>" in got(s, "ann")[0]
        sendmail(s, "team")
        got(s, "ann", 2)
        got(s, "bob")


def mail_waits_while_no_server_runs(program):
    s = server(program)
    s.start()
    s.stop()
    sendmail(s, "-R", "hdrs", "-V", "id7", "-N", "success,failure", "bob@example.test")
    waiting = [n for n in os.listdir(f"{s.dir}/spool/maildrop") if n.startswith("new-")]
    assert len(waiting) == 1, waiting
    head = open(f"{s.dir}/spool/maildrop/{waiting[0]}").read()
    assert "\nenvid id7\nnotify success,failure\nreturn headers\n" in head, head
    with s:
        got(s, "bob")


def what_is_no_submission_is_set_aside(program):
    with server(program) as s:
        drop = f"{s.dir}/spool/maildrop"
        assert os.stat(drop).st_mode & 0o7777 == 0o1733
        files = {"new-1": "nonsense\n\n", "new-2": "postern-submission 2\nsender \nrecipient a@b.test\n\nx",
                 "new-3": "postern-submission 1\nsender \nrecipient a b@c\n\nx",
                 "new-4": "postern-submission 1\nsender a@b.test\nrecipient bob@example.test\n\n" + "Received: x\n" * 60 + "\nx\n"}
        for name, text in files.items():
            with open(f"{drop}/tmp-{name}", "w") as f:
                f.write(text)
            os.rename(f"{drop}/tmp-{name}", f"{drop}/{name}")
        os.symlink("/etc/passwd", f"{drop}/new-5")
        os.link(f"{drop}/../../postern.yaml", f"{drop}/new-6")
        sendmail(s, "bob@example.test")
        wait("the bad ones set aside", lambda: len(os.listdir(f"{drop}/bad")) == 6)
        got(s, "bob")

        def notices():
            return [e for e in s.events(event="notice") if "cannot be taken" in e["text"]]
        wait("a notice for each", lambda: len(notices()) == 6)
        texts = " ".join(e["text"] for e in notices())
        for word in ("not a submission", "another version", "not an address", "circle", "one name", "a link"):
            assert word in texts, (word, texts)


def a_loop_of_aliases_keeps_the_letter(program):
    with server(program) as s:
        sendmail(s, "round")
        s.event(event="notice", sender="round@example.test")
        assert [n for n in os.listdir(f"{s.dir}/spool/maildrop") if n.startswith("new-")]
        with open(f"{s.dir}/aliases", "w") as f:
            f.write("round: bob\n")
        s.command("newaliases")
        got(s, "bob")


def line_ends_are_made_whole(program):
    with server(program) as s:
        sendmail(s, "-i", "bob@example.test", text="Subject: x\r\n\r\none\r\ntwo\rthree\nfour\r\n.\r\n\r\nfive")
        letter = got(s, "bob")[0]
        assert letter.endswith(b"\n\none\ntwo\nthree\nfour\n.\n\nfive\n"), letter


def exit_codes_are_those_of_sysexits(program):
    with server(program) as s:
        assert sendmail(s, ok=False).returncode == 64
        assert sendmail(s, "-Nmaybe", "bob", ok=False).returncode == 64
        assert sendmail(s, "-?", ok=False).returncode == 64
        assert sendmail(s, "-bd", ok=False).returncode == 64
        assert sendmail(s, "a b@c", ok=False).returncode == 65
        assert sendmail(s, "-t", text="To: <broken\n\n", ok=False).returncode == 65
        assert sendmail(s, "-C", "/nonexistent.yaml", "bob", ok=False).returncode == 78
        # known flags without a meaning here
        sendmail(s, "-G", "-v", "-U", "-oem", "-odb", "-O", "DeliveryMode=b", "-B", "8BITMIME", "-h", "3", "--", "bob")
        got(s, "bob")
        sendmail(s, "-q30m")
        sendmail(s, "-q")
        sendmail(s, "-bi")
        assert b"empty" in sendmail(s, "-bp").stdout
    r = sendmail(s, "bob", ok=False)
    assert r.returncode == 78, r  # its directory is gone


def smtp_on_standard_input(program):
    with server(program) as s:
        r = sendmail(s, "-bs", text="EHLO me\r\nMAIL FROM:<ann@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
                                    "Subject: x\r\n\r\n..dot\r\n.\r\nMAIL FROM:<>\r\nRSET\r\nNONSENSE\r\nQUIT\r\n")
        codes = re.findall(rb"^(\d+) ", r.stdout, re.M)
        assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"502", b"221"] or \
            codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"500", b"221"], r.stdout
        letter = got(s, "bob")[0]
        assert b"from userid" in letter and letter.endswith(b"\n.dot\n"), letter


def who_is_not_here_comes_back_and_gets_no_mailbox(program):
    extra = LOCAL.replace("]", "], recipients: [ann@example.test]", 1) + LAB + QUICK + ALIASES
    s = Postern(program, extra=extra)
    with open(f"{s.dir}/aliases", "w") as f:
        f.write("old: nobody\n")
    with s:
        sendmail(s, "-f", "ann@example.test", "anm@example.test")  # a slip of the finger
        s.send("old@example.test", sender="ann@example.test")      # an alias that leads nowhere
        sendmail(s, "-f", "ann@example.test", "ann@example.test", "postmaster")
        for address in ("anm@example.test", "nobody@example.test"):
            e = s.event(event="failed", recipient=address)
            assert (e["enhanced"], e["failure_code"]) == ("5.1.1", 2001), e
        got(s, "ann", 3)
        got(s, "postmaster")
        assert sorted(os.listdir(f"{s.dir}/mail/example.test")) == ["ann", "postmaster"]


run([a_letter_is_taken_completed_and_delivered, what_is_there_stays, recipients_of_the_header,
     names_without_a_domain_and_aliases, mail_waits_while_no_server_runs, what_is_no_submission_is_set_aside,
     a_loop_of_aliases_keeps_the_letter, line_ends_are_made_whole, exit_codes_are_those_of_sysexits,
     smtp_on_standard_input,
     who_is_not_here_comes_back_and_gets_no_mailbox])
