#!/usr/bin/python3
"""What an operator configures is what happens: relay host, routes, words of their own, restrictions."""
import os

from harness import LOCAL, QUICK, Postern, run, wait
from peers import Host

STRICT = LOCAL.replace("]", "], recipients: [ann@example.test]", 1) + "mynetworks: []\nreply_style: postfix\n"


def other_domains_go_to_the_relay_host(program):
    host = Host("127.0.0.1")
    with Postern(program, LOCAL + QUICK + "relay_host: \"127.0.0.1:{port}\"\n", port=host.port) as p:
        p.send("x@anywhere.example")
        e = p.event(event="delivered", recipient="x@anywhere.example")
        assert e["address"] == f"127.0.0.1:{host.port}" and host.messages, e
        p.send("ann@example.test")
        wait("the local letter", lambda: p.mailbox("ann"))
    host.close()


def a_route_for_a_domain_goes_before_the_relay_host(program):
    host = Host("127.0.0.1")
    config = (LOCAL + "relay_host: \"127.0.0.1:{port}\"\nroutes: [{{domain: gone.test, to: discard}}, "
              "{{domain: .sub.test, to: discard}}]\n")
    with Postern(program, config, port=host.port) as p:
        for address in ("x@gone.test", "x@a.sub.test"):
            p.send(address)
            assert p.event(event="delivered", recipient=address)["host"] == "discard"
        assert not host.messages
        p.send("x@sub.test")
        p.event(event="delivered", recipient="x@sub.test")
        assert len(host.messages) == 1
    host.close()


ROWS = """
replies:
  - id: rcpt_unknown
    text: "<{recipient}>: nobody of this name works here"
"""
BAD_ROWS = """
replies:
  - id: mine
    code: 450
    enhanced: 5.1.1
    text: "{nonsense}"
"""


def words(program, rows):
    p = Postern(program, STRICT + "catalogue_directory: \"{dir}/rows\"\n")
    os.makedirs(f"{p.dir}/rows")
    with open(f"{p.dir}/rows/mine.yaml", "w") as f:
        f.write(rows)
    return p


def texts_of_an_operator_replace_ours(program):
    with words(program, ROWS) as p:
        with p.smtp() as s:
            s.ehlo()
            s.docmd("MAIL FROM:<a@b.test>")
            code, text = s.docmd("RCPT TO:<bob@example.test>")
        assert (code, text) == (550, b"5.1.1 <bob@example.test>: nobody of this name works here"), text


def rows_that_contradict_themselves_stop_the_start_and_name_their_place(program):
    p = words(program, BAD_ROWS)
    for command in ("check-config", "serve"):
        r = p.command(command, ok=False)
        assert r.returncode == 1, r
        assert "mine.yaml:5" in r.stderr and "enhanced" in r.stderr, r.stderr
        assert "mine.yaml:6" in r.stderr and "nonsense" in r.stderr, r.stderr
    p.__exit__(None)


def check_config_says_good_or_every_error(program):
    p = Postern(program, LOCAL)
    assert "good" in p.command("check-config")
    with open(p.config, "a") as f:
        f.write("limits: {hops: 4x0}\nrestrictions: {recipient: [permit_mynetworks, reject_unauth_destinaton, reject]}\n"
                "colour: red\n")
    r = p.command("check-config", ok=False)
    assert r.returncode == 1 and "limits.hops" in r.stderr and "colour" in r.stderr, r.stderr
    lines = open(p.config).read().splitlines()
    with open(p.config, "w") as f:
        f.write("\n".join(x for x in lines if not x.startswith(("limits", "colour"))) + "\n")
    r = p.command("check-config", ok=False)
    assert r.returncode == 1 and "reject_unauth_destinaton" in r.stderr and "restrictions.recipient" in r.stderr, r.stderr
    p.__exit__(None)


def warn_if_reject_lets_mail_in_and_keeps_the_trace(program):
    config = STRICT + ("restrictions: {{recipient: [warn_if_reject reject_unauth_destination, permit_mynetworks, "
                       "reject_unauth_destination]}}\n")
    with Postern(program, config) as p:
        with p.smtp() as s:
            s.ehlo()
            s.docmd("MAIL FROM:<a@b.test>")
            assert s.docmd("RCPT TO:<x@elsewhere.test>")[0] == 554
        trace = p.event(event="refused", recipient="x@elsewhere.test")["trace"]
        assert "(only warned)" in trace and trace.count("reject_unauth_destination") == 2, trace


run([other_domains_go_to_the_relay_host, a_route_for_a_domain_goes_before_the_relay_host,
     texts_of_an_operator_replace_ours, rows_that_contradict_themselves_stop_the_start_and_name_their_place,
     check_config_says_good_or_every_error, warn_if_reject_lets_mail_in_and_keeps_the_trace])
