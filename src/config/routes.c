/*
 * config/routes.c - where mail goes and how: `routes`, `sender_routes`, `relay_host`, and
 * `local.delivery`.
 *
 * The transport table is looked up as Postfix's transport(5): the address, its domain, the
 * parent domains with a dot before them, longest first, then "*".  The order of the file
 * does not matter, so a pattern stands only once.  Passwords are read here, once; they
 * are in the memory of the configuration and nowhere else.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/file.h"
#include "config/config-private.h"

#include <errno.h>
#include <sys/stat.h>

/* A password, or a token. */
#define PASSWORD_OCTETS_MAX 8192

#define LMTP_PORT 24

/* "mx:NAME" or "mx:NAME:PORT". */
static bool read_mx(struct yaml_errors *e, const struct yaml_node *n, struct config *cfg,
    const char *text, struct config_route *route)
{
	struct span name = span_str(text);
	ptrdiff_t colon = span_rfind(name, ':');
	uint64_t port = 25;

	if (colon >= 0 && span_u64(span_skip(name, (size_t)colon + 1), 65535, &port) < 0)
		port = 0;
	if (colon >= 0)
		name.n = (size_t)colon;
	if (!config_domain_like(name) || port == 0) {
		yaml_error(e, n, "\"%s\" is not NAME or NAME:PORT", text);
		return false;
	}
	route->mx = true;
	route->port = (uint16_t)port;
	route->host = arena_str(&cfg->arena, config_normal(cfg, name, 0));
	return true;
}

/* "lmtp:unix:/PATH" or "lmtp:HOST:PORT"; `text` is what is behind "lmtp:". */
static bool read_lmtp(struct yaml_errors *e, const struct yaml_node *n, struct config *cfg,
    const char *text, struct config_route *route)
{
	struct yaml_node rest = *n;

	route->lmtp = true;
	if (strncmp(text, "unix:", 5) != 0) {
		rest.text = span_str(text);
		return rest.text.n > 0 ? yaml_host_port(e, &rest, &cfg->arena, LMTP_PORT,
					     &route->host, &route->port) == 0
				       : (yaml_error(e, n, "there is no host behind lmtp:"), false);
	}
	/* sun_path of unix(7) */
	if (text[5] != '/' || strlen(text + 5) > 107) {
		yaml_error(e, n, "\"%s\" is not the full path of a socket", text + 5);
		return false;
	}
	route->path = arena_str(&cfg->arena, span_str(text + 5));
	return route->path != NULL;
}

/* "HOST:PORT", "[ADDRESS]:PORT", "lab", "discard", "mx:NAME", "lmtp:...". */
static bool read_target(struct yaml_errors *e, const struct yaml_node *n, struct config *cfg,
    struct config_route *route)
{
	const char *text = NULL;

	if (yaml_string(e, n, &text) < 0 || !text)
		return false;
	if (strcmp(text, "lab") == 0) {
		route->lab = true;
		return true;
	}
	if (strcmp(text, "discard") == 0) {
		route->discard = true;
		return true;
	}
	if (strncmp(text, "mx:", 3) == 0)
		return read_mx(e, n, cfg, text + 3, route);
	if (strncmp(text, "lmtp:", 5) == 0)
		return read_lmtp(e, n, cfg, text + 5, route);
	return yaml_host_port(e, n, &cfg->arena, 25, &route->host, &route->port) == 0;
}

/* Others must not be able to read a password. */
static bool is_private(struct yaml_errors *e, const struct yaml_node *n, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		yaml_error(e, n, "%s: %s", path, err_text(err_from_errno(errno)));
		return false;
	}
	if (!S_ISREG(st.st_mode)) {
		yaml_error(e, n, "%s is not a file", path);
		return false;
	}
	if (st.st_mode & 037) {
		yaml_error(e, n, "%s can be read or written by others (mode %03o, at most 640)",
		    path, (unsigned)st.st_mode & 0777);
		return false;
	}
	return true;
}

/* The first line of a file, without its end. */
static const char *read_password(
    struct yaml_errors *e, const struct yaml_node *n, struct config *cfg, const char *path)
{
	const char *password = NULL;
	struct buf text;
	struct span line;
	ptrdiff_t lf;
	int r;

	if (!is_private(e, n, path))
		return NULL;
	buf_init(&text, PASSWORD_OCTETS_MAX);
	r = file_read(path, &text);
	line = buf_span(&text);
	lf = span_find(line, '\n');
	if (lf >= 0)
		line.n = (size_t)lf;
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	if (r < 0)
		yaml_error(e, n, "%s: %s", path, err_text(r));
	else if (line.n == 0 || span_find(line, 0) >= 0)
		yaml_error(e, n, "%s: its first line is not a password", path);
	else
		password = arena_str(&cfg->arena, line);
	if (text.data)
		explicit_bzero(text.data, text.cap);
	buf_done(&text);
	return password;
}

static void read_auth(struct yaml_errors *e, const struct yaml_node *auth, struct config *cfg,
    struct config_route *route)
{
	static const char *const keys[] = { "user", "password_file", "in_clear", "mail_parameter",
		NULL };
	const char *user = NULL, *path = NULL;
	const struct yaml_node *file;

	if (!auth || !yaml_is_mapping(e, auth) || yaml_check_keys(e, auth, keys) < 0)
		return;
	file = yaml_need(e, auth, "password_file");
	(void)yaml_string(e, yaml_need(e, auth, "user"), &user);
	(void)yaml_bool(e, yaml_get(auth, "in_clear"), &route->auth_in_clear);
	(void)yaml_bool(e, yaml_get(auth, "mail_parameter"), &route->auth_parameter);
	if (yaml_string(e, file, &path) < 0 || !path || !user)
		return;
	route->auth_user = arena_str(&cfg->arena, span_str(user));
	route->auth_password = read_password(e, file, cfg, path);
	route->next_with_password = cfg->with_password;
	cfg->with_password = route;
	if (route->tls == CONFIG_ROUTE_TLS_NONE && !route->auth_in_clear)
		yaml_error(e, auth,
		    "with tls: none the password would go in clear; `in_clear: true` allows that");
}

static const char *const tls_levels[] = { "none", "may", "encrypt", "verify", "implicit",
	"implicit_unverified", NULL };

static void read_tls(struct yaml_errors *e, const struct yaml_node *n, struct config *cfg,
    struct config_route *route)
{
	const struct yaml_node *tls = yaml_get(n, "tls");
	unsigned level = route->path ? CONFIG_ROUTE_TLS_NONE : cfg->delivery_tls;

	/* Mailboxes are near; a rule for the world outside must not stop their mail. */
	if (route->lmtp && level > CONFIG_ROUTE_TLS_MAY)
		level = CONFIG_ROUTE_TLS_MAY;
	/* A password goes to whom it is meant for, unless the operator says otherwise. */
	if (yaml_get(n, "auth") && !route->path)
		level = CONFIG_ROUTE_TLS_VERIFY;
	if (yaml_enum(e, tls, tls_levels, &level) < 0)
		return;
	route->tls_implicit = level >= 4;
	if (route->tls_implicit)
		level = level == 4 ? CONFIG_ROUTE_TLS_VERIFY : CONFIG_ROUTE_TLS_ENCRYPT;
	route->tls = (enum config_route_tls)level;
	if (route->path && level != CONFIG_ROUTE_TLS_NONE)
		yaml_error(e, tls, "there is no TLS over a unix socket");
	(void)yaml_strings(e, yaml_get(n, "tls_names"), &cfg->arena, &route->tls_names);
	if (route->tls_names && route->tls != CONFIG_ROUTE_TLS_VERIFY)
		yaml_error(e, yaml_get(n, "tls_names"),
		    "names of a certificate are asked for with tls: verify or implicit only");
}

static void take_source(
    struct yaml_errors *e, const struct yaml_node *n, struct config_route *route)
{
	const char *text = NULL;
	struct ip ip;

	if (yaml_string(e, n, &text) < 0 || !text)
		return;
	if (ip_parse(span_str(text), &ip) < 0)
		yaml_error(e, n, "\"%s\" is not an address", text);
	else if ((ip.family == 6 ? route->source6 : route->source4).family)
		yaml_error(e, n, "a second address of the same family");
	else if (ip.family == 6)
		route->source6 = ip;
	else
		route->source4 = ip;
}

static void read_identity(struct yaml_errors *e, const struct yaml_node *n, struct config *cfg,
    struct config_route *route)
{
	const struct yaml_node *source = yaml_get(n, "source"), *name = yaml_get(n, "hostname");
	const char *text = NULL;

	if (source && source->kind == YAML_KIND_SCALAR)
		take_source(e, source, route);
	else if (source && yaml_is_sequence(e, source))
		for (const struct yaml_node *s = yaml_first(source); s; s = s->next)
			take_source(e, s, route);
	if (yaml_string(e, name, &text) < 0 || !text)
		return;
	if (!config_domain_like(span_str(text)))
		yaml_error(e, name, "\"%s\" is not a domain name", text);
	route->hostname = arena_str(&cfg->arena, span_str(text));
}

/* How it is done.  A route with a way of its own shares no connection with another. */
static void read_how(struct yaml_errors *e, const struct yaml_node *n, struct config *cfg,
    struct config_route *route)
{
	static const char *const how[] = { "tls", "tls_names", "auth", "source", "hostname" };
	bool any = false;

	read_tls(e, n, cfg, route);
	read_auth(e, yaml_get(n, "auth"), cfg, route);
	read_identity(e, n, cfg, route);
	for (size_t i = 0; i < sizeof(how) / sizeof(*how); i++)
		any = any || yaml_get(n, how[i]);
	if (any && (route->lab || route->discard))
		yaml_error(e, n, "%s has no tls, auth, source or hostname",
		    route->lab ? "the simulator" : "`discard`");
	route->number = any ? ++cfg->special_routes : 0;
}

/* user@domain, domain, .domain, *; a sender's: user@domain or @domain. */
static bool is_pattern(struct span s, bool sender)
{
	ptrdiff_t at = span_rfind(s, '@');

	if (at > 0 || (sender && at == 0))
		return config_domain_like(span_skip(s, (size_t)at + 1));
	if (sender || at == 0)
		return false;
	return span_eq(s, SPAN_LIT("*")) ||
	    config_domain_like(span_skip(s, s.n && s.p[0] == '.' ? 1 : 0));
}

static void add(
    struct yaml_errors *e, const struct yaml_node *at, struct map *to, struct config_route *route)
{
	if (map_get(to, route->pattern))
		yaml_error(e, at, "\"%.*s\" is named twice", SPAN_FMT(route->pattern));
	else if (map_put(to, route->pattern, route) < 0)
		yaml_error(e, at, "out of memory");
}

/* With its domain in the form that look-ups use. */
static struct span normal_pattern(struct config *cfg, const char *text)
{
	struct span s = arena_span(&cfg->arena, span_str(text));
	ptrdiff_t at = span_rfind(s, '@');

	if (!s.p || strcmp(text, "*") == 0)
		return s;
	return config_normal(cfg, s, at >= 0 ? (size_t)at + 1 : text[0] == '.');
}

static void read_table(struct yaml_errors *e, const struct yaml_node *list, struct config *cfg,
    struct map *to, bool sender)
{
	static const char *const keys[] = { "domain", "address", "to", "tls", "tls_names", "auth",
		"source", "hostname", NULL };
	static const char *const sender_keys[] = { "sender", "to", "tls", "tls_names", "auth",
		"source", "hostname", NULL };

	if (!list || !yaml_is_sequence(e, list))
		return;
	for (const struct yaml_node *n = yaml_first(list); n; n = n->next) {
		struct config_route *route = arena_zalloc(&cfg->arena, sizeof(*route));
		const struct yaml_node *key;
		const char *text = NULL;
		if (!route || !yaml_is_mapping(e, n) ||
		    yaml_check_keys(e, n, sender ? sender_keys : keys) < 0)
			continue;
		key = sender ? yaml_need(e, n, "sender") : yaml_get(n, "address");
		if (!key)
			key = yaml_need(e, n, "domain");
		else if (yaml_get(n, "domain"))
			yaml_error(e, n, "either domain or address");
		if (yaml_string(e, key, &text) < 0 || !text ||
		    !read_target(e, yaml_need(e, n, "to"), cfg, route))
			continue;
		if (!is_pattern(span_str(text), sender)) {
			yaml_error(e, key, "\"%s\" is not %s", text,
			    sender ? "an address or @domain" : "a domain");
			continue;
		}
		route->pattern = normal_pattern(cfg, text);
		read_how(e, n, cfg, route);
		add(e, key, to, route);
	}
}

/* A target alone, as a string, or a mapping {to: ..., and how}. */
static struct config_route *read_one(
    struct yaml_errors *e, const struct yaml_node *n, struct config *cfg)
{
	static const char *const keys[] = { "to", "tls", "tls_names", "auth", "source", "hostname",
		NULL };
	struct config_route *route = arena_zalloc(&cfg->arena, sizeof(*route));
	const struct yaml_node *to = n;

	if (!route)
		return NULL;
	if (n->kind == YAML_KIND_MAPPING) {
		if (yaml_check_keys(e, n, keys) < 0)
			return NULL;
		to = yaml_need(e, n, "to");
	}
	if (!read_target(e, to, cfg, route))
		return NULL;
	read_how(e, n, cfg, route);
	return route;
}

static void read_local_delivery(
    struct yaml_errors *e, const struct yaml_node *root, struct config *cfg)
{
	const struct yaml_node *n = yaml_get(yaml_get(root, "local"), "delivery");
	struct config_route *route;

	if (yaml_is_empty(n) ||
	    (n->kind == YAML_KIND_SCALAR && span_eq(n->text, SPAN_LIT("maildir"))))
		return;
	route = read_one(e, n, cfg);
	if (route && !route->lmtp)
		yaml_error(e, n, "mailboxes are reached by `maildir` or `lmtp:...`");
	else
		cfg->local_delivery = route;
}

void config_read_routes(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg)
{
	const struct yaml_node *list = yaml_get(root, "routes");
	const struct yaml_node *relay = yaml_get(root, "relay_host");
	const struct yaml_node *tls = yaml_get(yaml_get(root, "delivery"), "tls");
	static const char *const levels[] = { "none", "may", "encrypt", "verify", NULL };
	unsigned level = CONFIG_ROUTE_TLS_MAY;

	(void)yaml_enum(e, tls, levels, &level);
	cfg->delivery_tls = (enum config_route_tls)level;
	read_table(e, list, cfg, &cfg->routes, false);
	read_table(e, yaml_get(root, "sender_routes"), cfg, &cfg->sender_routes, true);
	/* As a last route: one for "*" that is written in the table stands before it. */
	if (!yaml_is_empty(relay)) {
		struct config_route *route = read_one(e, relay, cfg);
		if (route && !map_get(&cfg->routes, SPAN_LIT("*"))) {
			route->pattern = SPAN_LIT("*");
			add(e, relay, &cfg->routes, route);
		}
	}
	read_local_delivery(e, root, cfg);
}

void config_forget_passwords(struct config *cfg)
{
	for (struct config_route *r = cfg->with_password; r; r = r->next_with_password)
		if (r->auth_password)
			explicit_bzero(
			    (char *)(uintptr_t)r->auth_password, strlen(r->auth_password));
}
