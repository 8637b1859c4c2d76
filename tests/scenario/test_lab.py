#!/usr/bin/python3
"""The simulator through the real queue and client: what the address asks for is what happens, and why tells it.

Each test takes its names from the catalogue's own files, so that a row which is added is tried.
"""
import os
import re
import subprocess

from harness import QUICK, Postern, run, wait

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
OUTCOMES = ("delivered", "deferred", "failed")
WHY = ("state", "answer", "code", "means", "who acts", "what to do", "decided by", "next")


def rows(name, key="code"):
    """Rows of a file of the catalogue, each as {key: value} of its one-line keys."""
    text = open(os.path.join(TOP, "catalogue", name), encoding="utf-8").read()
    found = [dict(re.findall(r"^\s*(\w+): (.*?)(?: +#.*)?$", row, re.M)) for row in re.split(r"^  - ", text, flags=re.M)[1:]]
    assert found and all(key in row for row in found), name
    return found


def ended(p, names, domain="lab.test"):
    """By name: the event that ended the first attempt for NAME@domain."""
    def all_of_them():
        seen = {}
        for e in p.events():
            if e["event"] in OUTCOMES and "recipient" in e:
                seen.setdefault(e["recipient"], e)
        return all(f"{n}@{domain}" in seen for n in names) and {n: seen[f"{n}@{domain}"] for n in names}
    return wait(f"attempts for all of {list(names)[:5]}...", all_of_them)


def send_all(p, names, domain="lab.test"):
    with p.smtp() as s:
        for name in names:
            s.sendmail("you@example.test", [f"{name}@{domain}"], b"Subject: hello\r\n\r\nHello.\r\n")
    return ended(p, names, domain)


def check(name, e, why=None):
    """What holds for every answer of another server, and for what `why` says of it."""
    temporary = e["code"] < 500
    assert 400 <= e["code"] < 600, (name, e)
    assert e["event"] == ("deferred" if temporary else "failed"), (name, e)
    assert bool(e.get("next")) == temporary, (name, e)
    assert 1000 < e["failure_code"] <= 9999 and e["rule"] and e["acts"], (name, e)
    if "enhanced" in e:
        assert e["enhanced"][0] == str(e["code"])[0], (name, e)
    if why is None:
        return
    for word in WHY:
        assert re.search(rf"^    {word} ", why, re.M), (name, word, why)
    assert str(e["code"]) in why and str(e["failure_code"]) in why and e.get("enhanced", "") in why, (name, why)
    assert ("attempt 2 in " if temporary else "it was given up") in why, (name, why)
    # No name of a field is left in braces.
    assert not re.search(r"\{\w+\}", why), (name, why)


def every_policy_code_is_answered_filed_and_explained(program):
    codes = {row["code"]: row for row in rows("policy-codes.yaml")}
    assert len(codes) >= 45, codes
    with Postern(program) as p:
        for name, e in send_all(p, codes).items():
            check(name, e, p.command("why", f"{name}@lab.test"))
            assert name in e["text"] and e["event"] == ("deferred" if "-T" in name else "failed"), e
            assert e["failure_code"] == int(codes[name]["failure_code"]), (codes[name], e)
            assert e["code"] == int(codes[name]["reply_code"]) and e["enhanced"] == codes[name]["enhanced"], e


def codes_about_the_message_are_said_at_its_end(program):
    with Postern(program) as p:
        seen = send_all(p, ["MSG-P1", "MSG-P2", "MSG-P3", "POL-P5", "POL-P6", "POL-P7", "POL-P8", "pol-p5", "MSG-T1", "POL-P2"])
        assert {n for n, e in seen.items() if e["stage"] == "message"} == set(seen) - {"MSG-T1", "POL-P2"}, seen


def every_reply_code_comes_as_asked(program):
    codes = [row["code"] for row in rows("basic.yaml") if row["code"] >= "400"]
    assert len(codes) > 30, codes
    with Postern(program) as p:
        for name, e in send_all(p, codes).items():
            assert e["code"] == int(name) and "enhanced" not in e, e
            check(name, e, p.command("why", f"{name}@lab.test"))


def every_enhanced_status_code_comes_as_asked(program):
    ends = [row["code"][1:] for row in rows("enhanced.yaml")]
    names = [f"{c}{end}" for c in "45" for end in ends]
    assert len(names) > 120, names
    pairs = {"554-5.7.1": (554, "5.7.1"), "451-4.7.1": (451, "4.7.1"), "452-4.5.3": (452, "4.5.3"),
             "421-4.3.2": (421, "4.3.2"), "556-5.1.10": (556, "5.1.10"), "599-5.123.456": (599, "5.123.456")}
    with Postern(program) as p:
        for name, e in send_all(p, names).items():
            assert e["enhanced"] == name, e
            check(name, e)
        for name, e in send_all(p, pairs).items():
            assert (e["code"], e["enhanced"]) == pairs[name], e
            check(name, e, p.command("why", f"{name}@lab.test"))


def every_reply_of_the_catalogue_is_filed_as_its_row_says(program):
    refusing = {}
    for name in sorted(os.listdir(os.path.join(TOP, "catalogue", "replies"))):
        for row in rows(os.path.join("replies", name), "id"):
            if row["code"].isdigit() and row["code"] >= "400" and "artefact" not in row and row["id"] != "timeout":
                refusing[row["id"]] = row
    assert len(refusing) > 150, len(refusing)
    with Postern(program) as p:
        for name, e in send_all(p, refusing).items():
            row = refusing[name]
            check(name, e)
            assert e["code"] == int(row["code"]) and e.get("enhanced", "none") == row.get("enhanced", "none"), (row, e)
            assert e["failure_code"] == int(row["failure_code"]), (row, e)


def every_failure_code_has_a_reply_that_is_filed_under_it(program):
    codes = [row["code"] for row in rows("failure-codes.yaml")]
    said = [c for c in codes if not c.startswith("5") and c != "4002"]
    assert len(said) >= 24, codes
    with Postern(program) as p:
        for name, e in send_all(p, said).items():
            assert e["failure_code"] == int(name), e
            check(name, e, p.command("why", f"{name}@lab.test"))
        # No reply is these: garbage, and what comes as a mail of its own later.
        e = send_all(p, ["4002"])["4002"]
        assert (e["event"], e["failure_code"]) == ("deferred", 4002) and "code" not in e, e
        for name, e in send_all(p, [c for c in codes if c.startswith("5")]).items():
            assert e["event"] == "delivered", e


def behaviours_are_what_their_names_say(program):
    silent = {"timeout": "rcpt", "timeout-data": "data", "timeout-message": "message"}
    lost = {"disconnect": "rcpt", "disconnect-data": "data", "disconnect-message": "message"}
    noise = {"garbage": "rcpt", "garbage-data": "data", "garbage-message": "message"}
    with Postern(program) as p:
        seen = send_all(p, ["ok", "OK", "slow", "no-such-name", "greylist-1h", *silent, *lost, *noise])
        assert [seen[n]["event"] for n in ("ok", "OK", "slow")] == ["delivered"] * 3, seen
        assert seen["slow"]["text"].endswith("queued as LAB") and seen["slow"]["code"] == 250, seen["slow"]
        for names, word in ((silent, "timed out"), (lost, "closed"), (noise, "protocol")):
            for name, stage in names.items():
                e = seen[name]
                assert (e["event"], e["failure_code"], e["stage"]) == ("deferred", 4002, stage), e
                assert word in e["text"] and "code" not in e, e
                why = p.command("why", f"{name}@lab.test")
                assert word in why and f"stage {stage}" in why and "attempt 2 in " in why and "4002" in why, why
        e = seen["greylist-1h"]
        assert (e["event"], e["code"], e["enhanced"], e["failure_code"]) == ("deferred", 451, "4.7.1", 3003), e
        e = seen["no-such-name"]
        assert e["failure_code"] == 2001 and "postern lab" in e["text"], e


def answers_are_put_off_to_where_the_name_says(program):
    asked = {"554-5.6.0-message": ("message", 554), "451-4.3.0-data": ("data", 451), "POL-T1-message": ("message", 451),
             "rcpt_unknown-data": ("data", 550)}
    with Postern(program) as p:
        for name, e in send_all(p, asked).items():
            assert (e["stage"], e["code"]) == asked[name], e


def a_greylist_lets_the_retry_in(program):
    with Postern(program) as p:
        assert send_all(p, ["greylist-1s"])["greylist-1s"]["event"] == "deferred"

        def retried():
            p.command("queue", "retry", "greylist-1s@lab.test")
            return p.events(event="delivered", recipient="greylist-1s@lab.test")
        wait("the retry that is taken", retried)


def earlier_stages_are_asked_for_by_domain(program):
    asked = {"421.connect": ("connect", 4001), "pol-t2.connect": ("connect", 1002), "554-5.7.1.helo": ("helo", None),
             "451-4.3.0.mail": ("mail", 4999), "POL-P3.connect": ("connect", None), "disconnect.connect": ("connect", 4002),
             "disconnect.helo": ("helo", 4002), "disconnect.mail": ("mail", 4002), "garbage.connect": ("connect", 4002),
             "garbage.helo": ("helo", 4002), "garbage.mail": ("mail", 4002), "timeout.connect": ("connect", 4002),
             "timeout.helo": ("helo", 4002), "timeout.mail": ("mail", 4002), "refused.connect": ("connect", 4003),
             "sender_domain_not_found.mail": ("mail", None)}
    with Postern(program) as p:
        for name in asked:
            p.send(f"any@{name}.lab.test")
        p.send("any@slow.connect.lab.test")
        for name, (stage, code) in asked.items():
            e = ended(p, ["any"], f"{name}.lab.test")["any"]
            assert e["stage"] == stage, (name, e)
            assert code is None or e["failure_code"] == code, (name, e)
            why = p.command("why", f"any@{name}.lab.test")
            assert f"stage {stage}" in why and ("attempt 2 in " if e["event"] == "deferred" else "given up") in why, why
        assert ended(p, ["any"], "slow.connect.lab.test")["any"]["event"] == "delivered"


def more_domains_than_ports_are_all_served(program):
    with Postern(program) as p:
        names = [f"{code}-{code[0]}.{i}.{i}" for i in range(1, 41) for code in ("450", "550")]
        for name in names:
            p.send(f"any@{name}.mail.lab.test")
            e = ended(p, ["any"], f"{name}.mail.lab.test")["any"]
            assert f"{e['code']}-{e['enhanced']}" == name and e["stage"] == "mail", (name, e)


def recipients_of_one_message_have_outcomes_of_their_own(program):
    with Postern(program) as p:
        to = ["ok@lab.test", "5.1.1@lab.test", "4.2.2@lab.test"]
        p.send(to)
        seen = ended(p, ["ok", "5.1.1", "4.2.2"])
        assert [e["event"] for e in seen.values()] == ["delivered", "failed", "deferred"]
        assert len({e["queue_id"] for a in to for e in p.events(event="received", recipient=a)}) == 1
        listed = p.command("queue", "list", "--json").splitlines()
        assert sum('"recipient":"4.2.2@lab.test"' in r for r in listed) == 1 and not any('"ok@' in r for r in listed)


def the_list_of_names_is_shown_and_each_name_on_it_is_known(program):
    text = subprocess.run([os.path.abspath(program), "lab"], capture_output=True, text=True, timeout=60, check=True).stdout
    names = [w for line in re.findall(r"^  (\S.*)$", text, re.M) for w in re.sub(r"\(.*?\)", "", line).replace(",", " ").split()
             if "@" not in w and not w.startswith(".")]
    assert {"ok", "POL-T1", "3001", "greylist-60s", "timeout", "slow", "timeout-data"} <= set(names), names
    with Postern(program) as p:
        for name, e in send_all(p, names).items():
            assert e.get("rule") != "reply lab_unknown", e


LAB_FILE = open(os.path.join(TOP, "packaging", "lab.yaml"), encoding="utf-8").read()


def the_lab_configuration_serves_as_it_stands(program):
    filled = LAB_FILE.replace("@VAR@", "{dir}/var").replace("@PORT@", "0").replace("@SUBMISSION_PORT@", "0")
    # The harness fills in {dir}; braces of the file itself stay.
    filled = filled.replace("{", "{{").replace("}", "}}").replace("{{dir}}", "{dir}")
    assert "@" not in re.sub(r"#.*", "", filled), "every name between at signs is filled in"
    with Postern(program, "", filled, log="var/events.log") as p:
        assert set(p.ports) == {"mx", "submission"}, p.ports
        p.send("ann@example.test")
        wait("the letter", lambda: p.mailbox("ann", root="var/mail"))
        seen = send_all(p, ["POL-T1", "5.1.1"])
        assert seen["POL-T1"]["event"] == "deferred" and seen["5.1.1"]["event"] == "failed", seen
        wait("the notification", lambda: p.mailbox("you", root="var/mail"))
        assert "attempt 2 in" in p.command("why", "POL-T1@lab.test")
    # A laboratory does not wait: every time-out of the client is there and short.
    times = dict(re.findall(r"^  (\w+_timeout): (\d+)s$", LAB_FILE, re.M))
    assert len(times) == 8 and all(int(t) <= 10 for t in times.values()), times
    assert set(times) == set(re.findall(r"(\w+_timeout):", QUICK)), times


run([every_policy_code_is_answered_filed_and_explained, codes_about_the_message_are_said_at_its_end,
     every_reply_code_comes_as_asked, every_enhanced_status_code_comes_as_asked,
     every_reply_of_the_catalogue_is_filed_as_its_row_says, every_failure_code_has_a_reply_that_is_filed_under_it,
     behaviours_are_what_their_names_say, answers_are_put_off_to_where_the_name_says, a_greylist_lets_the_retry_in,
     earlier_stages_are_asked_for_by_domain, more_domains_than_ports_are_all_served,
     recipients_of_one_message_have_outcomes_of_their_own, the_list_of_names_is_shown_and_each_name_on_it_is_known,
     the_lab_configuration_serves_as_it_stands])
