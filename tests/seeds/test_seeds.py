#!/usr/bin/python3
"""Each code and each Postfix line of the source documents is known to `postern explain`.

The documents are not part of the project: they are read from ../shared/seeds and ../shared/facts
(POSTERN_SHARED names another place), and the test is skipped, saying so, where they are absent.
"""
import json
import os
import re
import subprocess
import sys

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SHARED = os.environ.get("POSTERN_SHARED", os.path.join(TOP, "..", "shared"))
PROGRAM = sys.argv[1]


def read(name):
    return open(os.path.join(SHARED, name), encoding="utf-8").read()


def explain(text):
    r = subprocess.run([PROGRAM, "explain", "--json", "--", text] if text.startswith("-") else
                       [PROGRAM, "explain", "--json", text], capture_output=True, text=True, timeout=60)
    return r.returncode, json.loads(r.stdout) if r.stdout.strip() else {}


def check(name, found, least, known):
    """A line of TAP for a list of codes: how many, and which are unknown."""
    unknown = [c for c in found if not known(c)]
    good = not unknown and len(found) >= least
    check.number += 1
    print(f"# {name}: {len(found)} found, {len(unknown)} unknown {unknown[:10]}")
    print(f"{'ok' if good else 'not ok'} {check.number} - {name}", flush=True)
    check.failed += not good


check.number = check.failed = 0


def postfix_lines():
    text = read("seeds/postfix-replies.txt")
    return sorted(set(re.findall(r"^[2-5]\d\d [245]\.\d+\.\d+ .*$", text, re.M)))


def known(code):
    return explain(code)[0] == 0


def own_row(line):
    """The line is explained by the one row that names it."""
    code, answer = explain(line)
    rows = [r for r in answer.get("readings", []) if line in r.get("postfix_lines", [])]
    return code == 0 and len(rows) == 1 and answer["readings"][0] is rows[0]


def main():
    if not os.path.isdir(os.path.join(SHARED, "seeds")):
        print(f"1..0 # SKIP the source documents are not here ({SHARED}/seeds)")
        return 0
    print("1..9")
    basic = read("seeds/basic-reply-codes.txt")
    check("basic reply codes", sorted(set(re.findall(r"^([2-5]\d\d) ", basic, re.M))), 20, known)
    enhanced = read("seeds/enhanced-status-codes.txt")
    check("enhanced status codes", sorted(set(re.findall(r"X\.\d+\.\d+", enhanced))), 40, known)
    check("the same in classes 4 and 5", [c.replace("X", k) for c in re.findall(r"X\.\d+\.\d+", enhanced) for k in "45"],
          80, known)
    policy = read("seeds/facebook-response-codes.txt")
    check("policy codes", sorted(set(re.findall(r"\b[A-Z]{3}-[PT]\d+\b", policy))), 38, known)
    failure = read("seeds/delivery-failure-codes.txt")
    check("failure codes", sorted(set(re.findall(r"\b[1-9]\d{3}\b", failure))), 27, known)
    check("Postfix's lines", postfix_lines(), 140, known)
    check("each of Postfix's lines by its own row", postfix_lines(), 140, own_row)
    registry = read("facts/enhanced-status-codes-iana.tsv")
    check("the registry of enhanced status codes", re.findall(r"^X\.\d+\.\d+", registry, re.M), 60, known)
    facts = read("facts/policy-codes.tsv")
    check("the whole family of policy codes", re.findall(r"^[A-Z]{3}-[PT]\d+(?=\t)", facts, re.M) +
          [f"INT-T{n}" for n in range(1, 13)], 45, known)
    return 1 if check.failed else 0


sys.exit(main())
