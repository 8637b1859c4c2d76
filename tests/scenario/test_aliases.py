"""Aliases: names, virtual addresses, lists with owners, extensions; loops; files that change."""
import os
import smtplib

from harness import QUICK, Postern, run, wait

EXTRA = """
local:
  domains: [example.test, shop.test]
  recipients: [ann@example.test, bob@example.test, carol@example.test, ann+own@example.test]
  maildir_directory: "{dir}/mail"
aliases:
  files: ["{dir}/aliases"]
  virtual: ["{dir}/virtual"]
  recipient_delimiter: "+"
""" + QUICK

NAMES = """# names
postmaster: root
root: ann
team: ann, bob
staff: ":include:{dir}/staff"
owner-staff: carol
loop: around
around: loop
lost: nobody@nowhere.invalid
"""
VIRTUAL = """
info@shop.test  team, ann
dora@shop.test  ann
@old.test       @example.test
"""


def write(s, name, text):
    with open(f"{s.dir}/{name}.new", "w") as f:
        f.write(text)
    os.rename(f"{s.dir}/{name}.new", f"{s.dir}/{name}")


def server(program, names=NAMES, extra=EXTRA):
    s = Postern(program, extra=extra)
    write(s, "aliases", names.format(dir=s.dir))
    write(s, "virtual", VIRTUAL)
    write(s, "staff", "# the staff\nann\nbob@example.test\n")
    return s


def got(s, user, count):
    wait(f"{count} letters for {user}", lambda: len(s.mailbox(user)) == count)
    return s.mailbox(user)


def a_name_is_delivered_to_whom_it_stands_for(program):
    with server(program) as s:
        s.send("root@example.test")
        letter = got(s, "ann", 1)[0]
        # what the client said, and not whom it leads to
        assert b"for <root@example.test>" in letter, letter
        e = s.event(event="delivered", recipient="ann@example.test")
        assert e["original"] == "root@example.test", e
        with s.smtp() as c:
            c.helo()
            c.mail("you@example.test")
            assert c.docmd("RCPT TO:<postmaster>")[0] == 250
            assert c.docmd("DATA")[0] == 354
            c.send(b"Subject: x\r\n\r\n.\r\n")
            assert c.getreply()[0] == 250
        got(s, "ann", 2)


def nobody_gets_a_message_twice(program):
    with server(program) as s:
        s.send(["info@shop.test", "team@example.test", "ann@example.test"])
        e = s.event(event="finished")
        assert len(s.events(event="delivered", queue_id=e["queue_id"])) == 2
        got(s, "ann", 1)
        got(s, "bob", 1)


def extensions_and_whole_domains(program):
    with server(program) as s:
        s.send("ann+list@example.test")
        got(s, "ann", 1)
        s.send("ann+own@example.test")
        got(s, "ann+own", 1)
        s.send("dora+x@shop.test")
        got(s, "ann", 2)
        s.send("bob@old.test", rcpt=[])
        got(s, "bob", 1)
        with s.smtp() as c:
            c.ehlo()
            c.mail("you@example.test")
            assert c.rcpt("nobody@shop.test")[0] == 550
            assert c.rcpt("nobody+x@example.test")[0] == 550
            assert c.rcpt("team+x@example.test")[0] == 250


def a_list_has_its_owner_as_sender(program):
    with server(program) as s:
        s.send(["staff@example.test", "carol@example.test"], sender="you@far.invalid")
        for user in ("ann", "bob"):
            letter = got(s, user, 1)[0]
            assert b"Return-Path: <owner-staff@example.test>" in letter, letter
        letter = got(s, "carol", 1)[0]
        assert b"Return-Path: <you@far.invalid>" in letter, letter
        ids = {e["queue_id"] for e in s.events(event="received")}
        assert len(ids) == 2, ids


def owners_of_many_lists_share_no_message(program):
    names = "".join(f"l{i}: u{i}\nowner-l{i}: bob\n" for i in range(101)) + \
        "all: " + ", ".join(f"l{i}" for i in range(101)) + "\n"
    here = "".join(f"u{i}@example.test, " for i in range(101))
    with server(program, NAMES + names, EXTRA.replace("recipients: [", "recipients: [" + here)) as s:
        with s.smtp() as c:
            c.ehlo()
            c.mail("you@far.invalid")
            assert c.rcpt("all@example.test")[0] == 452
            codes = [c.rcpt(f"l{i}@example.test")[0] for i in range(101)]
            assert codes == [250] * 100 + [452], codes
            assert c.data(b"Subject: x\r\n\r\nx\r\n")[0] == 250
        for i in range(100):
            assert b"Return-Path: <owner-l%d@" % i in got(s, f"u{i}", 1)[0]


def a_bounce_to_an_owner_follows_its_alias(program):
    extra = EXTRA + 'routes: [{{domain: gone.test, to: lab}}]\nlab: {{enabled: true}}\n'
    with server(program, NAMES + "dead: 554-5.7.1@lab.test\nowner-dead: bob\n", extra) as s:
        s.send("dead@example.test", sender="you@far.invalid")
        assert b"delivery-status" in got(s, "bob", 1)[0]


def a_loop_is_our_trouble(program):
    with server(program) as s:
        with s.smtp() as c:
            c.ehlo()
            c.mail("you@example.test")
            code, text = c.rcpt("loop@example.test")
            assert code == 451 and text.startswith(b"4.3.5"), (code, text)
        s.event(event="refused", reply_id="alias_loop")
        e = s.event(event="notice", recipient="loop@example.test")
        assert "leads back" in e["text"], e


def dsn_wishes_are_inherited(program):
    with server(program) as s:
        # one for another: the success is told, of the address that was named
        s.send("root@example.test", sender="carol@example.test", rcpt=["NOTIFY=SUCCESS"])
        letter = got(s, "carol", 1)[0]
        assert b"Original-Recipient: rfc822; root@example.test" in letter, letter
        # of several none tells; that it became several is told, once, of the name
        s.send("team@example.test", sender="carol@example.test", rcpt=["NOTIFY=SUCCESS"])
        got(s, "ann", 2)
        letters = got(s, "carol", 2)
        report = [x for x in letters if b"Action: expanded" in x]
        assert len(report) == 1 and report[0].count(b"\nAction: ") == 1, letters
        assert b"\nFinal-Recipient: rfc822; team@example.test\n" in report[0], report[0]
        assert b"\nStatus: 2.0.0\n" in report[0] and b"Diagnostic-Code" not in report[0], report[0]
        wait("all finished", lambda: len(s.events(event="finished")) >= 4)
        assert len(s.events(event="bounced", detail="success")) == 2


def files_that_change_are_read_again(program):
    with server(program) as s:
        write(s, "aliases", "new: bob\n")
        assert s.command("newaliases") == ""
        s.send("new@example.test")
        got(s, "bob", 1)
        write(s, "aliases", "new: bob\nprogram: |/bin/true\n")
        r = s.command("newaliases", ok=False)
        assert r.returncode != 0 and f"{s.dir}/aliases:2: an alias runs no program here" in r.stderr, r
        s.send("new@example.test")  # the old tables stay
        got(s, "bob", 2)
        # without being told: looked at once a second at most
        write(s, "staff", "carol\n")
        write(s, "aliases", NAMES.format(dir=s.dir))

        def seen():
            try:
                s.send("staff@example.test")
            except smtplib.SMTPRecipientsRefused:
                return False
            return True
        wait("the new table", seen)
        got(s, "carol", 1)


def a_bad_table_is_found_before_the_start(program):
    s = server(program, NAMES + "bad line\n")
    r = s.command("check-config", ok=False)
    assert r.returncode == 1 and "aliases:10: a line is NAME: TARGET" in r.stderr, r
    r = s.command("serve", ok=False)
    assert r.returncode == 1 and "aliases:10" in r.stderr, r
    write(s, "aliases", NAMES.format(dir=s.dir))
    s.command("check-config")
    out = s.command("try", "--to", "info@shop.test")
    assert "alias:  ann@example.test\nalias:  bob@example.test\n" in out, out


run([a_name_is_delivered_to_whom_it_stands_for, nobody_gets_a_message_twice, extensions_and_whole_domains,
     a_list_has_its_owner_as_sender, owners_of_many_lists_share_no_message, a_bounce_to_an_owner_follows_its_alias, a_loop_is_our_trouble,
     dsn_wishes_are_inherited, files_that_change_are_read_again, a_bad_table_is_found_before_the_start])
