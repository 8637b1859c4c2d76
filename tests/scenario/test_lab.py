#!/usr/bin/python3
"""The simulator through the real queue and client: what the address asks for is what happens, and why tells it.

"""
import os
import re
import sys

from harness import Postern, run, wait

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def policy_codes():
    text = open(os.path.join(TOP, "catalogue", "policy-codes.yaml")).read()
    return re.findall(r"^\s*- code: (\S+)", text, re.M)


def ended(p, address):
    """The event that ended the first attempt for an address."""
    return wait(f"an attempt for {address}", lambda: [e for e in p.events(recipient=address) if e["event"] in
                ("delivered", "deferred", "failed")])[0]


def every_policy_code_is_answered_filed_and_explained(program):
    codes = policy_codes()
    assert len(codes) >= 45, codes
    with Postern(program) as p:
        for code in codes:
            p.send(f"{code}@lab.test")
        for code in codes:
            e = ended(p, f"{code}@lab.test")
            assert code in e["text"], e
            temporary = "-T" in code
            assert (400 <= e["code"] < 500) == temporary, e
            assert e["event"] == ("deferred" if temporary else "failed"), e
            assert e["enhanced"].startswith(str(e["code"])[0]), e
            assert 1000 < e["failure_code"] < 9999, e
        for code in ("POL-T1", "POL-P5", "DNS-P3"):
            text = p.command("why", f"{code}@lab.test")
            for word in ("state", "answer", code, "code", "means", "who acts", "what to do", "decided by", "next"):
                assert word in text, (word, text)


def reply_codes_come_as_asked(program):
    asked = {"550": (550, None), "554-5.7.1": (554, "5.7.1"), "451-4.7.1": (451, "4.7.1"), "5.1.1": (550, "5.1.1"),
             "4.2.2": (450, "4.2.2"), "421": (421, None), "452-4.5.3": (452, "4.5.3"), "556-5.1.10": (556, "5.1.10")}
    with Postern(program) as p:
        for name in asked:
            p.send(f"{name}@lab.test")
        for name, (code, enhanced) in asked.items():
            e = ended(p, f"{name}@lab.test")
            assert e["code"] == code and e.get("enhanced") == enhanced, e
            assert e["event"] == ("failed" if code >= 500 else "deferred"), e


def every_failure_code_has_a_reply_that_is_filed_under_it(program):
    text = open(os.path.join(TOP, "catalogue", "failure-codes.yaml")).read()
    codes = [c for c in re.findall(r"^\s*- code: (\d+)", text, re.M) if not c.startswith("5")]
    assert len(codes) >= 25, codes
    with Postern(program) as p:
        for code in codes:
            p.send(f"{code}@lab.test")
        for code in codes:
            e = ended(p, f"{code}@lab.test")
            assert e.get("failure_code") == int(code), e


def behaviours_are_what_their_names_say(program):
    with Postern(program) as p:
        for name in ("ok", "slow", "timeout", "disconnect", "garbage", "greylist-1h", "no-such-name"):
            p.send(f"{name}@lab.test")
        assert ended(p, "ok@lab.test")["event"] == "delivered"
        assert ended(p, "slow@lab.test")["event"] == "delivered"
        for name, word in (("timeout", "timed out"), ("disconnect", "closed"), ("garbage", "protocol")):
            e = ended(p, f"{name}@lab.test")
            assert e["event"] == "deferred" and e["failure_code"] == 4002 and word in e["text"], e
        e = ended(p, "greylist-1h@lab.test")
        assert (e["event"], e["code"], e["failure_code"]) == ("deferred", 451, 3003), e
        assert ended(p, "no-such-name@lab.test")["failure_code"] == 2001


def a_greylist_lets_the_retry_in(program):
    with Postern(program) as p:
        p.send("greylist-1s@lab.test")
        assert ended(p, "greylist-1s@lab.test")["event"] == "deferred"

        def retried():
            p.command("queue", "retry", "greylist-1s@lab.test")
            return p.events(event="delivered", recipient="greylist-1s@lab.test")
        wait("the retry that is taken", retried)


def earlier_stages_are_asked_for_by_domain(program):
    asked = {"421.connect": ("connect", 4001), "pol-t2.connect": ("connect", 1002), "554-5.7.1.helo": ("helo", None),
             "451-4.3.0.mail": ("mail", 4999), "disconnect.helo": ("helo", 4002), "garbage.mail": ("mail", 4002),
             "timeout.connect": ("connect", 4002), "refused.connect": ("connect", 4003)}
    with Postern(program) as p:
        for name in asked:
            p.send(f"any@{name}.lab.test")
        for name, (stage, code) in asked.items():
            e = ended(p, f"any@{name}.lab.test")
            assert e["stage"] == stage, (name, e)
            assert code is None or e["failure_code"] == code, (name, e)


def recipients_of_one_message_have_outcomes_of_their_own(program):
    with Postern(program) as p:
        to = ["ok@lab.test", "5.1.1@lab.test", "4.2.2@lab.test"]
        p.send(to)
        assert [ended(p, a)["event"] for a in to] == ["delivered", "failed", "deferred"]
        assert len({e["queue_id"] for a in to for e in p.events(event="received", recipient=a)}) == 1
        rows = p.command("queue", "list", "--json").splitlines()
        assert sum('"recipient":"4.2.2@lab.test"' in r for r in rows) == 1 and not any('"ok@' in r for r in rows)


run([every_policy_code_is_answered_filed_and_explained, reply_codes_come_as_asked,
     every_failure_code_has_a_reply_that_is_filed_under_it, behaviours_are_what_their_names_say,
     a_greylist_lets_the_retry_in, earlier_stages_are_asked_for_by_domain,
     recipients_of_one_message_have_outcomes_of_their_own])
