#!/usr/bin/python3
"""Where mail goes: the transport table, relay hosts by sender, source addresses, names, and kept connections."""
from harness import BASE, LOCAL, QUICK, Postern, run, wait
from peers import Mta

ROUTES = """
relay_host: "127.0.0.1:{rest}"
sender_routes:
  - {{sender: boss@example.test, to: "127.0.0.1:{boss}"}}
  - {{sender: "@branch.test", to: "127.0.0.1:{branch}"}}
routes:
  - {{domain: .deep.test, to: "127.0.0.1:{below}"}}
  - {{domain: deep.test, to: "127.0.0.1:{domain}"}}
  - {{domain: very.deep.test, to: "127.0.0.1:{exact}"}}
  - {{address: vip@deep.test, to: "127.0.0.1:{vip}"}}
  - {{domain: named.test, to: "127.0.0.1:{rest}", source: [127.0.0.9, "::1"], hostname: other.example.test}}
  - {{domain: foreign.test, to: "127.0.0.1:{rest}", source: 203.0.113.77}}
"""
NAMES = ("rest", "boss", "branch", "below", "domain", "exact", "vip")


class World:
    def __init__(self, program, more=QUICK, **host):
        self.hosts = {n: Mta(**host) for n in NAMES}
        # one worker: each has connections of its own
        self.postern = Postern(program, LOCAL + more + ROUTES, base=BASE.replace("workers: 2", "workers: 1"), **{n: h.port for n, h in self.hosts.items()})

    def __enter__(self):
        self.postern.start()
        return self

    def __exit__(self, *what):
        self.postern.__exit__(*what)
        for h in self.hosts.values():
            h.close()

    def outcome(self, address, sender="you@example.test"):
        self.postern.send(address, sender=sender)
        return wait(f"an attempt for {address}", lambda: [e for e in self.postern.events(recipient=address)
                    if e["event"] in ("delivered", "deferred", "failed")])[-1]


def the_nearest_row_counts_whatever_the_order(program):
    cases = (("x@elsewhere.test", "rest"), ("x@deep.test", "domain"), ("VIP@Deep.test", "vip"), ("x@a.b.deep.test", "below"),
             ("x@very.deep.test", "exact"), ("x@a.very.deep.test", "below"), ("x@notdeep.test", "rest"))
    with World(program) as w:
        for address, name in cases:
            before = {n: len(h.messages) for n, h in w.hosts.items()}
            assert w.outcome(address)["event"] == "delivered"
            grown = [n for n, h in w.hosts.items() if len(h.messages) > before[n]]
            assert grown == [name], (address, grown)


def the_relay_host_depends_on_the_sender_where_no_row_names_the_recipient(program):
    with World(program) as w:
        for sender, to, name in (("boss@example.test", "a@elsewhere.test", "boss"), ("x@branch.test", "b@elsewhere.test", "branch"),
                                 ("x@sub.branch.test", "c@elsewhere.test", "rest"), ("boss@example.test", "d@deep.test", "domain"),
                                 ("", "e@elsewhere.test", "rest")):
            w.outcome(to, sender)
            assert w.hosts[name].messages and to in w.hosts[name].messages[-1]["rcpts"][0], (sender, to)


def a_route_has_its_own_source_and_name(program):
    with World(program) as w:
        w.outcome("a@named.test")
        w.outcome("a@elsewhere.test")
        first, second = (m["session"] for m in w.hosts["rest"].messages)
        # connections are not shared between the two ways to the same host
        assert first is not second
        assert (first.peer[0], first.greeted) == ("127.0.0.9", "other.example.test"), (first.peer, first.greeted)
        assert (second.peer[0], second.greeted) == ("127.0.0.1", "mx.example.test"), (second.peer, second.greeted)
        # an address that is not ours: no connection, and the message waits
        e = w.outcome("a@foreign.test")
        assert (e["event"], e["failure_code"]) == ("deferred", 4003), e


def a_pattern_twice_or_a_strange_one_is_an_error(program):
    for row, word in (('{domain: deep.test, to: "h:25"}', "named twice"), ('{domain: "a b", to: "h:25"}', "is not a domain"),
                      ('{domain: x.test, to: "lmtp:unix:run/lmtp"}', "not the full path"),
                      ('{domain: x.test, to: "h:25", source: nowhere}', "is not an address"),
                      ('{domain: x.test, to: "h:25", tls: sometimes}', "none, may, encrypt"),
                      ('{domain: x.test, to: discard, tls: verify}', "has no tls")):
        w = World(program)
        text = open(w.postern.config).read().replace("routes:\n  - {domain: .deep", f"routes:\n  - {row}\n  - {{domain: .deep")
        open(w.postern.config, "w").write(text)
        r = w.postern.command("check-config", ok=False)
        assert r.returncode != 0 and word in r.stderr + r.stdout, (row, r)
        for h in w.hosts.values():
            h.close()


REUSE = QUICK.replace("delivery: {{", "delivery: {{connection_reuse: 30s, connection_reuse_messages: 3, ")


def a_connection_is_used_again_for_a_while_and_so_many_messages(program):
    with World(program, REUSE) as w:
        host = w.hosts["rest"]
        for i in range(4):
            assert w.outcome(f"x{i}@elsewhere.test")["event"] == "delivered"
        sessions = [m["session"] for m in host.messages]
        assert len(set(map(id, sessions))) == 2 and sessions[0] is sessions[2], len(host.sessions)
        # the one that had its three said goodbye; stopping ends the other at once
        wait("QUIT", lambda: sessions[0].commands[-1] == "QUIT")


def without_reuse_each_message_has_its_own(program):
    with World(program, QUICK.replace("delivery: {{", "delivery: {{connection_reuse: 0, ")) as w:
        for i in range(3):
            w.outcome(f"x{i}@elsewhere.test")
        assert len(w.hosts["rest"].sessions) == 3


def a_kept_connection_that_is_dead_costs_no_attempt(program):
    # dead without a word; a 421 that came while it was idle; a 421 that answers MAIL
    calls = []

    def refuse_second(session, line):
        calls.append(line)
        return b"421 4.4.2 idle too long\r\n" if len(calls) == 2 else None
    for kind in ("drop", "mail"):
        with World(program, REUSE, answers={"MAIL": refuse_second} if kind == "mail" else {}) as w:
            host = w.hosts["rest"]
            assert w.outcome("a@elsewhere.test")["event"] == "delivered"
            if kind == "drop":
                host.drop()
            e = w.outcome("b@elsewhere.test")
            assert (e["event"], e["attempts"]) == ("delivered", 1), e
            assert len(host.sessions) == 2 and not w.postern.events(event="deferred")


def a_refused_message_does_not_keep_its_connection(program):
    with World(program, REUSE, answers={"RCPT": lambda s, line: b"450 4.2.0 later\r\n" if "bad" in line else None}) as w:
        assert w.outcome("bad@elsewhere.test")["event"] == "deferred"
        assert w.outcome("good@elsewhere.test")["event"] == "delivered"
        assert len(w.hosts["rest"].sessions) == 2


def idle_connections_give_their_places_up(program):
    tight = REUSE.replace("delivery: {{", "delivery: {{connections: 2, ")
    with World(program, tight) as w:
        for to, sender in (("a@elsewhere.test", "x@example.test"), ("a@deep.test", "x@example.test"),
                           ("a@elsewhere2.test", "boss@example.test"), ("vip@deep.test", "x@example.test"),
                           ("a@very.deep.test", "x@example.test")):
            assert w.outcome(to, sender)["event"] == "delivered"


def a_host_gets_as_many_recipients_and_messages_as_its_limits_say(program):
    with World(program, REUSE, ehlo=["PIPELINING", "LIMITS RCPTMAX=2 MAILMAX=2"]) as w:
        to = [f"x{i}@elsewhere.test" for i in range(7)]
        w.postern.send(to)
        for t in to:
            assert w.postern.event(event="delivered", recipient=t)["attempts"] == 1
        host = w.hosts["rest"]
        assert sorted(len(m["rcpts"]) for m in host.messages) == [1, 2, 2, 2]
        assert len(host.sessions) == 2 and not w.postern.events(event="deferred")


def a_host_that_takes_one_recipient_at_a_time_gets_a_thousand(program):
    with World(program, REUSE, ehlo=["PIPELINING", "LIMITS RCPTMAX=1"]) as w:
        to = [f"x{i}@elsewhere.test" for i in range(1000)]
        w.postern.send(to)
        wait("all of them", lambda: len(w.hosts["rest"].messages) == 1000, 100)
        wait("their events", lambda: len(w.postern.events(event="delivered")) == 1000)


run([the_nearest_row_counts_whatever_the_order, the_relay_host_depends_on_the_sender_where_no_row_names_the_recipient,
     a_route_has_its_own_source_and_name, a_pattern_twice_or_a_strange_one_is_an_error,
     a_connection_is_used_again_for_a_while_and_so_many_messages, without_reuse_each_message_has_its_own,
     a_kept_connection_that_is_dead_costs_no_attempt, a_refused_message_does_not_keep_its_connection,
     idle_connections_give_their_places_up, a_host_gets_as_many_recipients_and_messages_as_its_limits_say,
     a_host_that_takes_one_recipient_at_a_time_gets_a_thousand])
