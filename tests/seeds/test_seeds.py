#!/usr/bin/python3
"""Every code and every line of the source documents is known to `postern explain`.

usage: test_seeds.py POSTERN
POSTERN_SEEDS names the directory of the documents; without it ../shared/seeds beside the
repository.  Exit code 77 (skipped) when they are not there.

SPDX-License-Identifier: MPL-2.0
"""
import json
import os
import re
import subprocess
import sys

POSTERN = sys.argv[1]
SEEDS = os.environ.get("POSTERN_SEEDS") or os.path.join(
    os.environ.get("SOURCE_ROOT", "."), "..", "shared", "seeds")
failures = 0


def explain(words):
    """Exit code and readings."""
    run = subprocess.run([POSTERN, "explain", "--json", words], capture_output=True, text=True)
    if run.returncode not in (0, 1):
        sys.exit(f"postern explain {words!r}: exit code {run.returncode}\n{run.stderr}")
    return run.returncode, json.loads(run.stdout)["readings"]


def check(good, what):
    global failures
    if not good:
        failures += 1
        print("not so:", what)


def text_of(name):
    with open(os.path.join(SEEDS, name), encoding="utf-8") as f:
        return f.read()


def is_whole(reading):
    return reading["exact"] and reading["cause"].strip() and reading["remedy"].strip()


def codes(document, pattern, kind, at_least, expand=lambda code: [code]):
    found = []
    for match in re.findall(pattern, text_of(document), re.M):
        found += [code for code in expand(match) if code not in found]
    check(len(found) >= at_least, f"{document}: only {len(found)} codes found")
    for code in found:
        status, readings = explain(code)
        check(status == 0 and readings and readings[0]["kind"] == kind and is_whole(readings[0]),
              f"{document}: {code} is not a known {kind} code")
    return len(found)


def postfix_lines():
    lines = sorted({line for line in text_of("postfix-replies.txt").splitlines()
                    if re.match(r"[2-5]\d\d ", line)})
    check(len(lines) >= 150, f"only {len(lines)} lines of Postfix found")
    claimed = {}
    for line in lines:
        status, readings = explain(line)
        first = readings[0] if readings else {}
        good = status == 0 and first.get("kind") == "reply" and line in first["postfix_lines"]
        check(good, f"{line!r} does not find its row, but {first.get('id')}")
        if good:
            claimed[line] = first["id"]
    ids = sorted(set(claimed.values()))
    for row in ids:
        _, readings = explain(row)
        for line in readings[0]["postfix_lines"]:
            check(claimed.get(line) == row, f"{row} claims {line!r}, which is of {claimed.get(line)}")
    return len(lines)


def main():
    if not os.path.isdir(SEEDS):
        print("skipped: the source documents are not there; POSTERN_SEEDS names their directory")
        sys.exit(77)
    count = codes("basic-reply-codes.txt", r"^(\d\d\d) \S", "basic", 20)
    count += codes("enhanced-status-codes.txt", r"^\s*(X\.\d+\.\d+)\s", "enhanced", 45)
    count += codes("facebook-response-codes.txt", r"\b([A-Z]{3}-[PT]\d+)\b", "policy", 35)
    count += codes("delivery-failure-codes.txt", r"^- (\d{4}(?:-\d{4})?)\b", "failure", 20,
                   lambda m: [str(c) for c in range(int(m[:4]), int(m[-4:]) + 1)])
    count += postfix_lines()
    print(f"{count} codes and lines asked, {failures} failures")
    sys.exit(1 if failures else 0)


main()
