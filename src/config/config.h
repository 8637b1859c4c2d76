/*
 * config/config.h - the configuration: one YAML file, read once, then immutable and counted.
 *
 * Every key is a row of config/schema.def, from which the loader, the manual and
 * `postern check-config` are made.  All errors of a file are reported, each with
 * file, line and key.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_CONFIG_CONFIG_H
#define POSTERN_CONFIG_CONFIG_H

#include "base/arena.h"
#include "base/ip.h"
#include "base/map.h"
#include "catalogue/catalogue.h"

struct yaml_errors;

enum config_service { CONFIG_SERVICE_MX, CONFIG_SERVICE_SUBMISSION };

struct config_networks {
	struct ip_net *nets;
	size_t count;
};

/* A file that the configuration names, and where it does: "FILE:LINE: KEY". */
struct config_file {
	const char *path, *place; /* NULL: none */
};

struct config_certificate {
	struct config_file chain, key;
};

enum config_auth { CONFIG_AUTH_NONE, CONFIG_AUTH_OFFERED, CONFIG_AUTH_REQUIRED };
enum config_tls_mode { CONFIG_TLS_NONE, CONFIG_TLS_STARTTLS, CONFIG_TLS_IMPLICIT };
enum config_tls_ask { CONFIG_TLS_ASK_NONE, CONFIG_TLS_ASK, CONFIG_TLS_REQUIRE };

struct config_tls {
	struct config_certificate *certificates; /* the first is the default */
	size_t certificate_count;                /* 0: no TLS as a server */
	unsigned min_version;                    /* 10 to 13 */
	const char *ciphers, *ciphersuites;      /* "": the standard ones */
	const char *ciphers_place, *ciphersuites_place;
	enum config_tls_ask client_certificates;
	struct config_file client_ca; /* whom clients' certificates are verified against */
	struct config_file ca;        /* and servers', when we are the client; none: the system's */
};

/* Keywords of EHLO that can be kept from a client. */
#define CONFIG_EHLO_KEYWORDS(X)                                                                    \
	X(PIPELINING, "pipelining")                                                                \
	X(SIZE, "size")                                                                            \
	X(8BITMIME, "8bitmime")                                                                    \
	X(ENHANCEDSTATUSCODES, "enhancedstatuscodes")                                              \
	X(DSN, "dsn")                                                                              \
	X(VRFY, "vrfy")                                                                            \
	X(STARTTLS, "starttls")                                                                    \
	X(AUTH, "auth")                                                                            \
	X(CHUNKING, "chunking")                                                                    \
	X(BINARYMIME, "binarymime")                                                                \
	X(SMTPUTF8, "smtputf8")                                                                    \
	X(LIMITS, "limits")                                                                        \
	X(REQUIRETLS, "requiretls")                                                                \
	X(ETRN, "etrn")                                                                            \
	X(XCLIENT, "xclient")                                                                      \
	X(XFORWARD, "xforward")

enum config_ehlo_keyword {
#define X(id, name) CONFIG_EHLO_##id,
	CONFIG_EHLO_KEYWORDS(X)
#undef X
	    CONFIG_EHLO_COUNT
};

struct config_ehlo_discard {
	struct config_networks networks;
	unsigned keywords; /* 1 << enum config_ehlo_keyword */
};

struct config_listen {
	struct ip ip;
	uint16_t port; /* 0: the kernel gives one (tests) */
	enum config_service service;
	enum config_tls_mode tls;
	bool tls_required; /* 530 before STARTTLS */
	enum config_auth auth;
	bool auth_without_tls;        /* passwords may travel in clear */
	struct config_networks proxy; /* these send a PROXY header, and nobody else may come */
	const char *place;            /* "FILE:LINE", for a message when it cannot be bound */
};

/* TLS to a next host. */
enum config_route_tls {
	CONFIG_ROUTE_TLS_NONE,    /* never */
	CONFIG_ROUTE_TLS_MAY,     /* when offered, with any certificate; in clear where it fails */
	CONFIG_ROUTE_TLS_ENCRYPT, /* or not at all; any certificate */
	CONFIG_ROUTE_TLS_VERIFY,  /* and the certificate is the host's */
};

/* A row of the transport table: where mail goes, and how.  `host` and `path` NULL: by MX. */
struct config_route {
	/* "user@example.org", "example.org", ".example.org" (what is below it), "*" (all others);
	 * a sender's: "user@example.org", "@example.org" */
	struct span pattern;
	const char *host; /* a name or an address */
	uint16_t port;
	bool mx;          /* look up MX records of host (written without brackets, as in Postfix) */
	bool lab;         /* the built-in simulator */
	bool discard;     /* nowhere: taken and thrown away */
	bool lmtp;        /* RFC 2033 */
	const char *path; /* LMTP over this unix socket */
	enum config_route_tls tls;
	bool tls_implicit;            /* from the first octet on, RFC 8314 */
	const char *const *tls_names; /* VERIFY: that the certificate may have; NULL: the host's */
	const char *auth_user;        /* NULL: none */
	const char *auth_password;    /* secret: never in an event or a message */
	bool auth_in_clear;
	bool auth_parameter;        /* AUTH=<> on MAIL */
	struct ip source4, source6; /* addresses to come from; family 0: the kernel's choice */
	const char *hostname;       /* to greet with; NULL: the server's own */
	struct config_route *next_with_password;
	unsigned number; /* 0: nothing of its own in how, so connections are shared */
};

struct config {
	struct arena arena; /* owns everything below */
	const char *file;

	const char *hostname;
	const char *run_directory;
	unsigned workers;
	enum reply_style reply_style;
	const char *help_url;
	const char *catalogue_directory;   /* NULL: none */
	const struct catalogue *catalogue; /* one reference */

	struct config_listen *listens;
	size_t listen_count;

	struct config_tls tls;

	/* who may log in; both NULL: nobody */
	const char *auth_password_file, *auth_dovecot_socket;
	const char *auth_mechanisms; /* NULL: all that the backend has */
	const char *auth_place;      /* "FILE:LINE: KEY" of the backend */
	bool auth_sender_login;      /* users write as themselves */
	struct config_networks xclient_hosts, xforward_hosts;
	struct config_ehlo_discard *ehlo_discards;
	size_t ehlo_discard_count;

	struct ip_net *mynetworks;
	size_t mynetwork_count;
	struct map local_domains; /* name -> itself */
	struct map relay_domains;
	struct map recipients; /* address -> itself; empty map and any_recipient: all are known */
	bool any_recipient;
	const char **alias_files, **alias_virtual; /* NULL at the end */
	const char *alias_domain;                  /* of targets without one */
	const char *recipient_delimiter;           /* "": none */
	const char *maildir_directory;             /* {domain}/{user} below it */
	const char *postmaster;                    /* where <postmaster> goes */
	const char **recipient_restrictions;       /* NULL at the end */
	const char *
	    *recipient_restriction_places; /* "FILE:LINE" of each; policy/ knows the names */

	/* limits of a session */
	uint64_t message_octets_max;
	uint32_t rcpt_max, line_octets_max, error_soft_limit, error_hard_limit, junk_limit,
	    hops_max;
	uint32_t command_timeout_ms;
	uint32_t sessions_max;            /* of the whole server: 421 4.3.2 */
	uint32_t sessions_per_client_max; /* 421 4.7.0 */
	bool helo_required;

	/* spool */
	const char *spool_directory;
	uint32_t segment_octets, spill_octets;
	uint64_t spool_memory_octets, queue_minfree, spool_reserve_octets;

	const char *submission_directory;

	/* delivery */
	struct map routes;                         /* pattern -> struct config_route */
	struct map sender_routes;                  /* likewise */
	const struct config_route *local_delivery; /* LMTP; NULL: maildirs */
	enum config_route_tls delivery_tls;
	unsigned special_routes; /* that have a number */
	struct config_route *with_password;
	bool chunking;
	uint32_t tls_clear_ms, connection_reuse_ms, connection_reuse_messages;
	uint32_t starttls_timeout_ms;
	int64_t retry_first_ms, retry_max_ms, queue_lifetime_ms;
	unsigned retry_jitter_pct;
	uint32_t connections_max, site_connections_max;
	uint32_t connect_timeout_ms, helo_timeout_ms, mail_timeout_ms, rcpt_timeout_ms,
	    data_timeout_ms, block_timeout_ms, end_timeout_ms, quit_timeout_ms;
	bool prefer_ipv6;
	uint64_t dsn_return_octets_max; /* a larger original is returned as headers only */
	int64_t dsn_delay_ms; /* its sender hears of a message that is so late; 0: never */
	bool dsn_copy_bounce, dsn_copy_delay, dsn_copy_double_bounce; /* the postmaster too */

	/* DNS */
	const char *
	    *dns_servers; /* "ADDRESS" or "ADDRESS@PORT"; NULL at the end; none: /etc/resolv.conf */
	const char **dns_stubs; /* "ZONE ADDRESS@PORT": ask this authoritative server */
	uint32_t dns_timeout_ms;

	/* record */
	const char *events_log; /* path, "-", or NULL */
	const char *mail_log;   /* path, "-", "journal", "syslog", or NULL */
	const char *mail_log_tag, *journal_socket, *syslog_socket;
	const char *history_directory;
	int64_t history_keep_ms;

	/* lab */
	bool lab;
	const char *lab_domain;

	bool test_ack_before_commit; /* not from the file: `serve --test-ack-before-commit` in test
					builds */
};

/*
 * Read a file.
 * Returns 0 with a reference in *cfg_r, -ERR_CONFIG (see errors), -ERR_NOTFOUND, -ERR_NOMEM.
 */
int config_load(const char *file, struct yaml_errors *errors, struct config **cfg_r);

/* Likewise, but only the plain keys and section `local`: for a program of any user, who may not
 * read the files that the configuration names. */
int config_load_plain(const char *file, struct yaml_errors *errors, struct config **cfg_r);

struct config *config_ref(struct config *cfg);
void config_unref(struct config **cfg);

/* Rows of the schema, for the manual: key, type, default, text.  NULL key at the end. */
struct config_row {
	const char *key, *type, *standard, *text;
};
const struct config_row *config_rows(void);

/* "local", "relay", or NULL: not ours.  The empty domain is local. */
const char *config_domain_class(const struct config *cfg, struct span domain);

/* Is the address of a local domain known?  postmaster always is (RFC 5321 4.5.1). */
bool config_recipient_listed(const struct config *cfg, struct span address);

/* The network of mynetworks that has the address; NULL: none. */
const struct ip_net *config_in_mynetworks(const struct config *cfg, const struct ip *ip);

bool config_networks_have(const struct config_networks *networks, const struct ip *ip);

/* Where an address goes when it is from this sender (empty: the null sender): the row of `routes`
 * for the address, its domain or a domain above it, else of `sender_routes`, else "*"; or NULL (by
 * MX).  A domain alone will do for an address. */
const struct config_route *config_route(
    const struct config *cfg, struct span address, struct span sender);

#endif
