#!/usr/bin/python3
"""The queue in an operator's hands: every field of a filter, every action in each of its forms, and why it says so."""
import json
import os
import re
import subprocess

from harness import LOCAL, Postern, run, wait

STRANGER = LOCAL.replace("]", "], recipients: [ann@example.test]", 1) + "mynetworks: []\n"


def listed(p, *filters):
    """Rows of the queue that fit, by recipient."""
    rows = [json.loads(line) for line in p.command("queue", "list", "--json", *filters).splitlines()]
    return {r["recipient"]: r for r in rows if "recipient" in r}


def change(p, action, *filters):
    """What an action came to; tried again while the message is just being worked on."""
    def once():
        answers = [json.loads(line) for line in p.command("queue", action, "--json", *filters).splitlines()]
        return answers[-1]["summary"] if not answers[-1]["summary"]["busy"] else None
    return wait(f"queue {action}", once)


def settled(p, count, **want):
    """So many events of the kind came, and nothing is in work."""
    wait(f"{count} of {want}", lambda: len(p.events(**want)) == count)


def two_letters(p):
    p.send(["4.2.2@lab.test", "POL-T1@lab.test"], sender="one@example.test",
           body=b"Message-ID: <m-1@example.test>\r\nSubject: x\r\n\r\nhi\r\n")
    p.send("any@refused.connect.lab.test", sender="<>", body=b"Subject: y\r\n\r\n" + b"z" * 5000 + b"\r\n")
    settled(p, 3, event="deferred")
    wait("the new states", lambda: [r["attempts"] for r in listed(p).values()] == [1, 1, 1])


def every_field_of_a_filter_chooses(program):
    usage = subprocess.run([os.path.abspath(program), "queue"], capture_output=True, text=True, timeout=60).stderr
    fields = set(re.findall(r"^  ([a-z_]+) +(?:text|status|code|number|duration|size)  ", usage, re.M))
    # field -> (a filter that the letter to 4.2.2 fits alone, or with POL-T1; one that nothing fits)
    chosen = {
        "id": ("id={id}", 2, "id=zzz*"), "sender": ("sender=ONE@*", 2, "sender=two@*"),
        "recipient": ("recipient=4.2.2@lab.test", 1, "recipient=4.2.2"), "domain": ("domain=lab.test", 2, "domain=lab"),
        "message_id": ("message_id=m-1@example.test", 2, "message_id=m-2*"), "client": ("client=127.0.0.?", 3, "client!=127.*"),
        "host": ("host=127.0.0.1", 3, "host=mx.*"), "status": ("status=deferred", 3, "status=held,pending"),
        "stage": ("stage=rcpt", 2, "stage=mail"), "code": ("code=450", 1, "code=5xx"),
        "enhanced": ("enhanced=4.2.*", 1, "enhanced=5.*"), "failure": ("failure=30xx", 1, "failure=20xx"),
        "reply": ("reply=*mailbox*", 1, "reply=full"), "attempts": ("attempts>=1", 3, "attempts>1"),
        "age": ("age<1h", 3, "age>1h"), "next": ("next<=2m", 3, "next>10m"), "size": ("size<2k", 2, "size>1M")}
    assert fields == set(chosen), fields ^ set(chosen)
    with Postern(program) as p:
        two_letters(p)
        queue_id = p.events(recipient="4.2.2@lab.test")[0]["queue_id"]
        for field, (fits, count, none) in chosen.items():
            found = listed(p, fits.format(id=queue_id))
            assert len(found) == count and (count == 3 or "any@refused.connect.lab.test" not in found), (field, found)
            assert count > 1 or "4.2.2@lab.test" in found, (field, found)
            assert not listed(p, none), (field, none)
        assert set(listed(p, "sender=", "size>=5k")) == {"any@refused.connect.lab.test"}
        assert set(listed(p, "recipient=4*,pol*", "code!=450")) == {"POL-T1@lab.test"}
        for bad in ("age=soon", "status=lost", "code=4xy", "sender>a", "size<1X", "=x"):
            r = p.command("queue", "list", bad, ok=False)
            assert r.returncode == 1 and r.stderr.startswith("postern: ") and not r.stdout, (bad, r)


def a_row_tells_all_of_the_last_attempt(program):
    with Postern(program) as p:
        two_letters(p)
        row = listed(p, "4.2.2@lab.test")["4.2.2@lab.test"]
        last = row.pop("last")
        assert (row["sender"], row["status"], row["attempts"], row["client"]) == ("one@example.test", "deferred", 1, "127.0.0.1")
        assert row["message_id"] == "m-1@example.test" and row["next"] > row["received"] and 30 < row["next_in"] < 90, row
        assert (last["code"], last["enhanced"], last["failure_code"], last["stage"]) == (450, "4.2.2", 3001, "rcpt"), last
        shown = p.command("queue", "show", row["queue_id"])
        for word in ("4.2.2@lab.test", "POL-T1@lab.test", "450 4.2.2 Mailbox full", "3001", "m-1@example.test", "last attempt"):
            assert word in shown, (word, shown)
        assert p.command("queue", "list", "--most", "1", "--json").count('"queue_id"') <= 2


def a_dry_run_shows_and_changes_nothing(program):
    with Postern(program) as p:
        two_letters(p)
        before = listed(p)
        for action in ("retry", "hold", "release", "delete", "bounce"):
            text = p.command("queue", action, "--dry-run", "id=*")
            assert "dry run, nothing changed" in text and "3 recipients" in text, text
            summary = change(p, action, "--dry-run", "id=*")
            assert summary["dry_run"] and not summary["changed"], summary
        for address, row in listed(p).items():
            for key in ("status", "attempts", "next"):
                assert row[key] == before[address][key], (address, row)
        assert not [e for e in p.events() if e["event"] in ("held", "released", "retry", "deleted", "bounced")]


def a_hold_outlasts_retry_and_restart_and_is_lifted(program):
    with Postern(program) as p:
        two_letters(p)
        queue_id = p.events(recipient="4.2.2@lab.test")[0]["queue_id"]
        assert change(p, "hold", queue_id)["changed"] == 2
        assert {a for a, r in listed(p).items() if r["status"] == "held"} == {"4.2.2@lab.test", "POL-T1@lab.test"}
        assert "next" not in listed(p, "4.2.2@lab.test")["4.2.2@lab.test"]
        # A retry of everything leaves what is on hold alone.
        change(p, "retry", "id=*")
        settled(p, 2, event="deferred", recipient="any@refused.connect.lab.test")
        p.stop()
        p.start()
        assert len(listed(p, "status=held")) == 2
        assert "on hold until an operator releases it" in p.command("why", queue_id)
        assert change(p, "release", "4.2.2@lab.test")["changed"] == 1
        settled(p, 2, event="deferred", recipient="4.2.2@lab.test")
        assert len(p.events(event="deferred", recipient="POL-T1@lab.test")) == 1
        assert set(listed(p, "status=held")) == {"POL-T1@lab.test"}
        # Released twice: nothing is left to lift, and nothing is tried for it.
        change(p, "release", "4.2.2@lab.test")
        change(p, "release", "POL-T1@lab.test")
        settled(p, 2, event="deferred", recipient="POL-T1@lab.test")


def a_retry_is_made_at_once(program):
    with Postern(program) as p:
        two_letters(p)
        assert change(p, "retry", "recipient=4*")["changed"] == 1
        settled(p, 2, event="deferred", recipient="4.2.2@lab.test")
        assert len(p.events(event="deferred", recipient="POL-T1@lab.test")) == 1, "each recipient by itself"
        wait("the new state", lambda: listed(p, "recipient=4*")["4.2.2@lab.test"]["attempts"] == 2)
        assert "attempt 3 in" in p.command("why", "4.2.2@lab.test")


def what_is_deleted_leaves_without_a_word(program):
    with Postern(program) as p:
        two_letters(p)
        assert change(p, "delete", "sender=one@*")["changed"] == 2
        p.event(event="finished")
        assert set(listed(p)) == {"any@refused.connect.lab.test"}
        assert not p.events(event="bounced") and not p.mailbox("one")
        assert "taken out by the operator" in p.command("why", "POL-T1@lab.test")
        assert change(p, "delete", "sender=one@*")["recipients"] == 0


def a_bounce_tells_the_sender_with_the_last_cause(program):
    with Postern(program) as p:
        two_letters(p)
        queue_id = p.events(recipient="4.2.2@lab.test")[0]["queue_id"]
        assert change(p, "bounce", "4.2.2@lab.test")["changed"] == 1
        octets = wait("the notification", lambda: p.mailbox("one"))[0]
        for text in (b"Final-Recipient: rfc822; 4.2.2@lab.test", b"Status: 5.2.2", b"X-Postern-Failure-Code: 3001"):
            assert text in octets, (text, octets)
        assert b"POL-T1@" not in octets
        assert set(listed(p, queue_id)) == {"POL-T1@lab.test"}
        why = p.command("why", queue_id)
        assert "The sender was told" in why and "given up" in why and "attempt 2 in" in why, why
        # Nobody is told of what came from nobody.
        assert change(p, "bounce", "any@refused.connect.lab.test")["changed"] == 1
        p.event(event="dsn_undeliverable", recipient="any@refused.connect.lab.test")
        assert len(p.events(event="bounced")) == 1


def without_a_server_the_queue_can_be_read_and_not_changed(program):
    with Postern(program) as p:
        two_letters(p)
        p.stop()
        assert set(listed(p, "domain=lab.test")) == {"4.2.2@lab.test", "POL-T1@lab.test"}
        assert "450 4.2.2" in p.command("queue", "show", "4.2.2@lab.test")
        r = p.command("queue", "delete", "id=*", ok=False)
        assert r.returncode == 1 and "no server runs" in r.stderr, r
        assert len(listed(p)) == 3
        why = p.command("why", "4.2.2@lab.test")
        assert "3001" in why and "next" in why, why
        p.start()
        assert len(listed(p)) == 3


def why_tells_of_what_was_refused_at_the_door(program):
    with Postern(program, STRANGER + "reply_style: postern\n") as p:
        with p.smtp() as s:
            s.ehlo()
            s.mail("spammer@far.test")
            for to, code in (("x@elsewhere.test", 554), ("nobody@example.test", 550)):
                assert s.rcpt(to)[0] == code
        for key, words in (("x@elsewhere.test", ("refused", "554 5.7.1", "reject_unauth_destination", "who acts", "what to do")),
                           ("nobody@example.test", ("refused", "550 5.1.1", "RCP-P1", "2001", "reject_unlisted_recipient")),
                           ("spammer@far.test", ("x@elsewhere.test", "nobody@example.test"))):
            text = p.command("why", key)
            for word in words:
                assert word in text, (key, word, text)
        rows = [json.loads(line) for line in p.command("why", "--json", "nobody@example.test").splitlines()]
        assert [r["reply_id"] for r in rows] == ["rcpt_unknown"], rows


run([every_field_of_a_filter_chooses, a_row_tells_all_of_the_last_attempt, a_dry_run_shows_and_changes_nothing,
     a_hold_outlasts_retry_and_restart_and_is_lifted, a_retry_is_made_at_once, what_is_deleted_leaves_without_a_word,
     a_bounce_tells_the_sender_with_the_last_cause, without_a_server_the_queue_can_be_read_and_not_changed,
     why_tells_of_what_was_refused_at_the_door])
