#!/usr/bin/python3
"""reply_style: postfix, beside a real Postfix: the same commands, the same replies, octet by octet.

What is known to differ stands in DIFFERS, with the reason; anything else is a failure.
"""
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))
sys.path.insert(0, HERE)
from harness import LOCAL, Postern, Raw, run  # noqa: E402
import postfix  # noqa: E402

UNPACKED, REASON = postfix.have()
OPEN = ["EHLO x", "MAIL FROM:<a@b.test>"]
DIALOGUES = {
    "commands before and after the greeting": [
        "NOOP", "RSET", "RSET x", "VRFY", "VRFY x@example.test", "RCPT TO:<x@example.test>", "DATA", "DATA x",
        "MAIL FROM:<a@b.test>", "HELO", "EHLO", "HELO x", "HELO x y", "NOOP x", "QUIT"],
    "MAIL and its syntax": [
        "HELO x", "MAIL", "MAIL FROM", "MAIL FROM:", "MAIL FROM:<>", "MAIL FROM:<a@b.test>", "RSET",
        "MAIL FROM: <a@b.test>", "RSET", "MAIL FROM:a@b.test", "RSET", "MAIL FROM:<a@b.test", "MAIL FROM:<a b@b.test>"],
    "parameters of MAIL": [
        "EHLO x", "MAIL FROM:<a@b.test> SIZE=x", "MAIL FROM:<a@b.test> BODY=9BIT", "MAIL FROM:<a@b.test> FOO=BAR",
        "MAIL FROM:<a@b.test> RET=X", "MAIL FROM:<a@b.test> SIZE=99999999999"],
    "a duplicate parameter": ["EHLO x", "MAIL FROM:<a@b.test> RET=FULL RET=FULL"],
    "parameters of RCPT": [
        "EHLO x", "MAIL FROM:<a@b.test> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=x", "RCPT", "RCPT TO", "RCPT TO:<>",
        "RCPT TO:<x@example.test> NOTIFY=X", "RCPT TO:<x@example.test> NOTIFY=NEVER,FAILURE",
        "RCPT TO:<x@example.test> ORCPT=x", "RCPT TO:<x@example.test> FOO=1", "RCPT TO:<x@example.test",
        "RCPT TO:<x y@example.test>", "DATA", "RCPT TO:<x@example.test> NOTIFY=SUCCESS ORCPT=rfc822;x@y", "DATA x", "QUIT"],
    "sequence": [
        "EHLO x", "DATA", "RCPT TO:<x@example.test>", "MAIL FROM:<a@b.test>", "MAIL FROM:<a@b.test>", "DATA",
        "RCPT TO:<nobody@elsewhere.test>", "DATA", "QUIT"],
    "relaying and recipients": OPEN + [
        "RCPT TO:<x@elsewhere.test>", "RCPT TO:<postmaster>", "RCPT TO:<@a,@b:x@example.test>", "RCPT TO:x@example.test",
        "RCPT TO:<\"a b\"@example.test>"],
    "chunks": [
        "EHLO x", "BDAT 0", "BDAT 0 LAST", "MAIL FROM:<a@b.test>", "BDAT 0 LAST", "RCPT TO:<x@example.test>", "RSET",
        "MAIL FROM:<a@b.test>", "RCPT TO:<x@example.test>", "BDAT 0", "QUIT"],
    "a chunk and then other commands": OPEN + [
        "RCPT TO:<x@example.test>", "BDAT 4\r\nab", "DATA", "MAIL FROM:<a@b.test>", "RCPT TO:<x@example.test>", "NOOP",
        "RSET", "QUIT"],
    "a chunk without a size": OPEN + ["RCPT TO:<x@example.test>", "BDAT x"],
    "a chunk with a word behind": OPEN + ["RCPT TO:<x@example.test>", "BDAT 0 FIRST"],
    "addresses beyond ASCII": [
        "EHLO x", "MAIL FROM:<a@b.test> SMTPUTF8", "RSET", "MAIL FROM:<\xc3\xa4@b.test>", "RSET", "MAIL FROM:<\xc3@b.test>",
        "MAIL FROM:<\xc3\xa4@b.test> SMTPUTF8", "RCPT TO:<\xc3\xa4@elsewhere.test>"],
    "commands that are not for us": ["ETRN x", "EXPN x", "AUTH PLAIN", "TURN"],
    "a web browser": ["GET / HTTP/1.0"],
    "a proxy": ["CONNECT x:25"],
    "a header": ["Subject: x"],
}
# (Postfix's, ours): why.
DIFFERS = {
    ("220 HOST ESMTP Postfix\r\n", "220 HOST ESMTP Postern\r\n"): "each says who it is",
    ("500 5.5.2 Error: command not recognized\r\n", "502 5.5.2 Error: command not recognized\r\n"):
        "502 is what the list of replies has; Postfix changed to 500 later",
    ("500 5.5.2 Error: command not recognized\r\n", "502 5.5.1 Error: command not implemented\r\n"):
        "EXPN and TURN are known verbs that we do not have, RFC 5321 4.2.4",
    ("503 Error: send HELO/EHLO first\r\n", "503 5.5.1 Error: send HELO/EHLO first\r\n"):
        "Postfix leaves the status out for ETRN alone",
    ("501 5.5.4 Syntax: VRFY address [SMTPUTF8]\r\n", "501 5.5.4 Syntax: VRFY address\r\n"):
        "the list has it without",
    ("503 5.5.1 Error: nested MAIL command\r\n", "503 5.5.1 Error: MAIL after BDAT\r\n"): "ours is the nearer cause",
    ("250 2.1.0 Ok\r\n", "553 5.6.7 Must declare SMTPUTF8 to send unicode address\r\n"):
        "Postfix asks for it with strict_smtputf8 only",
    ("551 5.0.0 Discarded 0 bytes after earlier error\r\n", "503 5.5.1 Error: need RCPT command\r\n"):
        "a refused chunk ends the transaction, and the next one is told what is missing",
    ("521 5.5.4 Syntax: BDAT count [LAST]\r\n", "501 5.5.4 Syntax: BDAT count [LAST]\r\n"):
        "the count is known, so the chunk is read away and the session lives; the list has both",
}
SETTINGS = {
    "mynetworks": "192.0.2.0/24", "smtpd_relay_restrictions": "reject_unauth_destination", "relay_domains": "example.test",
    "relay_recipient_maps": "inline:{{x@example.test=x},{\"a b\"@example.test=x}}", "smtpd_helo_required": "yes",
    "smtputf8_enable": "yes", "smtpd_error_sleep_time": "0", "smtpd_hard_error_limit": "100", "smtpd_soft_error_limit": "100",
    "message_size_limit": "52428800"}
CONFIG = (LOCAL.replace("]", "], recipients: [x@example.test, '\"a b\"@example.test']", 1) +
          "mynetworks: []\nreply_style: postfix\nlimits: {{errors_soft: 100, errors_hard: 100}}\n")


def play(port, lines):
    r = Raw(port)
    answers = [("banner", r.reply())]
    for line in lines:
        try:
            answers.append((line, r.say(line)))
        except OSError:
            break
        if not answers[-1][1]:
            break
    r.close()
    return answers


def plain(line, reply):
    for name in ("postfix.example.net", "mx.example.test"):
        reply = reply.replace(name, "HOST")
    # Extensions differ by version; each has tests of its own.
    return "250 HOST\r\n" if line.startswith("EHLO") and reply.startswith("250") else reply


def both_say_the_same(program):
    if not UNPACKED:
        return REASON
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d, postfix.Postfix(d, UNPACKED, SETTINGS) as theirs, \
            Postern(program, CONFIG) as ours:
        wrong, seen = [], 0
        for name, lines in DIALOGUES.items():
            for (line, a), (_, b) in zip(play(theirs.port, lines), play(ours.port, lines)):
                a, b = plain(line, a), plain(line, b)
                seen += 1
                if a != b and (a, b) not in DIFFERS:
                    wrong.append(f"{name}: {line}: Postfix {a!r}, Postern {b!r}")
        print(f"# {seen} replies compared")
        assert not wrong, "\n".join(wrong)
        assert seen > 80, seen


if __name__ == "__main__":
    run([both_say_the_same])
