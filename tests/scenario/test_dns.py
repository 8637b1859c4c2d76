#!/usr/bin/python3
"""Where mail goes by DNS: preference, shuffle among equals, implicit MX, null MX, and what could not be found out."""
from harness import LOCAL, Postern, run, wait
from peers import Dns, Host

CONFIG = LOCAL + """
dns: {{stubs: ["zone.test. 127.0.0.1@{dns}"], timeout: 2s}}
delivery: {{connect_timeout: 1s, retry_first: 1m}}
routes:
  - {{domain: by-mx.test, to: "mx:zone.test:{port}"}}
  - {{domain: equal.test, to: "mx:equal.zone.test:{port}"}}
  - {{domain: implicit.test, to: "mx:implicit.zone.test:{port}"}}
  - {{domain: six.test, to: "mx:six.zone.test:{port}"}}
  - {{domain: named.test, to: "b.zone.test:{port}"}}
"""


class World:
    """Two hosts on 127.0.0.2 and .3 of one port, and a zone that names them."""

    def __init__(self, program):
        self.a = Host("127.0.0.2")
        self.b = Host("127.0.0.3", self.a.port)
        self.dns = Dns("zone.test", {
            ("zone.test", "MX"): [(20, "b.zone.test"), (10, "dead.zone.test")],
            ("equal.zone.test", "MX"): [(10, "a.zone.test"), (10, "b.zone.test")],
            ("implicit.zone.test", "A"): ["127.0.0.2"],
            ("six.zone.test", "MX"): [(10, "six-host.zone.test")],
            ("six-host.zone.test", "AAAA"): ["::1"],
            ("null.zone.test", "MX"): [(0, ".")],
            ("broken.zone.test", "MX"): "SERVFAIL",
            ("silent.zone.test", "MX"): "SILENCE",
            ("hostless.zone.test", "MX"): [(10, "gone.zone.test")],
            ("us.zone.test", "MX"): [(10, "mx.example.test")],
            ("a.zone.test", "A"): ["127.0.0.2"],
            ("b.zone.test", "A"): ["127.0.0.3"],
            # Nobody listens there.
            ("dead.zone.test", "A"): ["127.0.0.4"],
        })
        self.postern = Postern(program, CONFIG, dns=self.dns.port, port=self.a.port)

    def __enter__(self):
        self.postern.start()
        return self

    def __exit__(self, *what):
        self.postern.__exit__(*what)
        for x in (self.a, self.b, self.dns):
            x.close()

    def outcome(self, address):
        self.postern.send(address)
        return wait(f"an attempt for {address}", lambda: [e for e in self.postern.events(recipient=address)
                    if e["event"] in ("delivered", "deferred", "failed")])[0]


def the_lower_preference_is_tried_first_and_the_next_one_takes_it(program):
    with World(program) as w:
        e = w.outcome("x@by-mx.test")
        assert e["event"] == "delivered" and e["host"] == "b.zone.test", e
        assert len(w.b.messages) == 1 and not w.a.messages


def equals_share_the_mail(program):
    with World(program) as w:
        for i in range(40):
            w.outcome(f"x{i}@equal.test")
        # 40 flips of a fair coin that all fall alike: once in 5e11.
        assert w.a.messages and w.b.messages, (len(w.a.messages), len(w.b.messages))


def a_domain_without_mx_is_its_own_host(program):
    with World(program) as w:
        e = w.outcome("x@implicit.test")
        assert e["event"] == "delivered" and e["host"] == "implicit.zone.test", e
        assert len(w.a.messages) == 1


def a_route_to_a_name_asks_for_its_address_not_its_mx(program):
    with World(program) as w:
        assert w.outcome("x@named.test")["host"] == "b.zone.test"
        assert ("b.zone.test", 15) not in w.dns.asked


def ipv6_hosts_are_reached(program):
    with World(program) as w:
        try:
            six = Host("::1", w.a.port)
        except OSError as e:
            return f"no IPv6 on loopback: {e}"
        e = w.outcome("x@six.test")
        six.close()
        assert e["event"] == "delivered" and e["address"].startswith("[::1]:"), e


def a_null_mx_and_a_missing_domain_fail_at_once_as_2002(program):
    with World(program) as w:
        for domain, word in (("null.zone.test", "null MX"), ("no-such.zone.test", "does not exist")):
            e = w.outcome(f"x@{domain}")
            assert (e["event"], e["failure_code"]) == ("failed", 2002) and word in e["text"], e
        assert w.postern.events(recipient="x@null.zone.test", event="failed")[0]["enhanced"] == "5.1.10"


def what_could_not_be_found_out_is_deferred_as_4003_never_failed(program):
    with World(program) as w:
        for domain in ("broken.zone.test", "silent.zone.test"):
            e = w.outcome(f"x@{domain}")
            assert (e["event"], e["failure_code"]) == ("deferred", 4003), e


def an_mx_without_address_waits_and_a_loop_to_ourselves_is_seen(program):
    with World(program) as w:
        e = w.outcome("x@hostless.zone.test")
        assert (e["event"], e["failure_code"]) == ("deferred", 4003), e
        e = w.outcome("x@us.zone.test")
        assert e["event"] == "deferred" and "loops back" in e["text"], e


run([the_lower_preference_is_tried_first_and_the_next_one_takes_it, equals_share_the_mail,
     a_domain_without_mx_is_its_own_host, a_route_to_a_name_asks_for_its_address_not_its_mx, ipv6_hosts_are_reached,
     a_null_mx_and_a_missing_domain_fail_at_once_as_2002,
     what_could_not_be_found_out_is_deferred_as_4003_never_failed,
     an_mx_without_address_waits_and_a_loop_to_ourselves_is_seen])
