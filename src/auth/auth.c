/*
 * auth/auth.c - the backend: which mechanisms, which table; see auth/auth.h.
 *
 * The table is read again when the file is another (its inode, time or size), looked at
 * when an exchange begins: `postern passwd` renames a new file into place, and nothing
 * need be told.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "auth/auth-private.h"
#include "base/err.h"
#include "base/file.h"
#include "base/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define TABLE_FILE_MAX (256u << 20)

static const char *const known[] = { "PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS" };

void auth_snapshot_unref(struct auth_snapshot **s)
{
	if (*s && atomic_fetch_sub(&(*s)->refs, 1) == 1) {
		auth_table_done(&(*s)->table);
		free(*s);
	}
	*s = NULL;
}

static int read_snapshot(
    const char *file, struct auth_snapshot **s_r, unsigned *line_r, const char **why_r)
{
	struct auth_snapshot *s = calloc(1, sizeof(*s));
	struct stat st;
	struct buf text;
	int r;

	*why_r = NULL;
	*line_r = 0;
	if (!s)
		return -ERR_NOMEM;
	buf_init(&text, TABLE_FILE_MAX);
	/* Before the reading: what changes meanwhile is read again next time. */
	r = stat(file, &st) < 0 ? err_from_errno(errno) : file_read(file, &text);
	if (r == 0)
		r = auth_table_parse(buf_span(&text), &s->table, line_r, why_r);
	buf_done(&text);
	if (r < 0) {
		free(s);
		return r;
	}
	s->changed = st.st_mtim;
	s->inode = st.st_ino;
	s->size = st.st_size;
	atomic_init(&s->refs, 1);
	*s_r = s;
	return 0;
}

static bool is_current(const struct auth_snapshot *s, const char *file)
{
	struct stat st;

	return stat(file, &st) == 0 && st.st_ino == s->inode && st.st_size == s->size &&
	    st.st_mtim.tv_sec == s->changed.tv_sec && st.st_mtim.tv_nsec == s->changed.tv_nsec;
}

struct auth_snapshot *auth_snapshot_get(struct auth *a, const char **why_r)
{
	struct auth_snapshot *s = NULL, *fresh;
	const char *why;
	unsigned line;

	pthread_mutex_lock(&a->lock);
	if (!is_current(a->snapshot, a->password_file)) {
		if (read_snapshot(a->password_file, &fresh, &line, &why) == 0) {
			auth_snapshot_unref(&a->snapshot);
			a->snapshot = fresh;
		} else {
			*why_r = "the table of passwords cannot be read";
			pthread_mutex_unlock(&a->lock);
			return NULL;
		}
	}
	s = a->snapshot;
	atomic_fetch_add(&s->refs, 1);
	pthread_mutex_unlock(&a->lock);
	return s;
}

static bool is_known(struct span word)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (span_eq(word, span_str(known[i])))
			return true;
	return false;
}

/* Words of the option, each known; Dovecot may have others, but of these we know what they need. */
static int set_mechanisms(struct auth *a, const struct auth_options *o, char *why, size_t n)
{
	struct span rest = span_str(o->mechanisms ? o->mechanisms
		: a->dovecot_socket               ? "PLAIN LOGIN"
						  : "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS");
	size_t at = 0;

	for (rest = span_trim(rest); rest.n; rest = span_trim(rest)) {
		ptrdiff_t blank = span_find(rest, ' ');
		struct span word = span_of(rest.p, blank < 0 ? rest.n : (size_t)blank);
		rest = span_skip(rest, word.n);
		if (!is_known(word) ||
		    (a->dovecot_socket && span_ends_nocase(word, SPAN_LIT("-PLUS")))) {
			snprintf(why, n, "\"%.*s\" is no mechanism that can be offered here",
			    SPAN_FMT(word));
			return -ERR_SYNTAX;
		}
		at += (size_t)snprintf(a->mechanisms + at, sizeof(a->mechanisms) - at, "%s%.*s",
		    at ? " " : "", SPAN_FMT(word));
		if (at >= sizeof(a->mechanisms))
			return -ERR_SYNTAX;
	}
	if (at == 0) {
		snprintf(why, n, "no mechanism is offered");
		return -ERR_SYNTAX;
	}
	return 0;
}

static int open_table(struct auth *a, char *why, size_t n)
{
	const char *sentence;
	unsigned line;
	int r = read_snapshot(a->password_file, &a->snapshot, &line, &sentence);

	if (r == -ERR_SYNTAX)
		snprintf(why, n, "%s:%u: %s", a->password_file, line, sentence);
	else if (r < 0)
		snprintf(why, n, "%s: %s", a->password_file, err_text(r));
	return r;
}

int auth_new(const struct auth_options *o, struct auth **a_r, char *why, size_t n)
{
	struct auth *a = calloc(1, sizeof(*a));
	int r = a ? 0 : -ERR_NOMEM;

	snprintf(why, n, "%s", err_text(-ERR_NOMEM));
	if (r == 0) {
		atomic_init(&a->refs, 1);
		pthread_mutex_init(&a->lock, NULL);
		random_fill(a->secret, sizeof(a->secret));
		a->password_file = o->password_file ? strdup(o->password_file) : NULL;
		a->dovecot_socket = o->dovecot_socket ? strdup(o->dovecot_socket) : NULL;
		if ((o->password_file && !a->password_file) ||
		    (o->dovecot_socket && !a->dovecot_socket))
			r = -ERR_NOMEM;
	}
	if (r == 0 && !a->password_file == !a->dovecot_socket) {
		snprintf(
		    why, n, "name a table of passwords or Dovecot's socket, and one of them only");
		r = -ERR_INVAL;
	}
	if (r == 0)
		r = set_mechanisms(a, o, why, n);
	if (r == 0 && gsasl_init(&a->gsasl) != GSASL_OK)
		r = -ERR_NOMEM;
	if (r == 0)
		gsasl_callback_set(a->gsasl, sasl_callback);
	if (r == 0 && a->password_file)
		r = open_table(a, why, n);
	if (r < 0) {
		auth_unref(&a);
		return r;
	}
	*why = '\0';
	*a_r = a;
	return 0;
}

struct auth *auth_ref(struct auth *a)
{
	atomic_fetch_add(&a->refs, 1);
	return a;
}

void auth_unref(struct auth **ap)
{
	struct auth *a = *ap;

	*ap = NULL;
	if (!a || atomic_fetch_sub(&a->refs, 1) != 1)
		return;
	auth_snapshot_unref(&a->snapshot);
	if (a->gsasl)
		gsasl_done(a->gsasl);
	pthread_mutex_destroy(&a->lock);
	explicit_bzero(a->secret, sizeof(a->secret));
	free(a->password_file);
	free(a->dovecot_socket);
	free(a);
}

const char *auth_mechanisms(const struct auth *a)
{
	return a->mechanisms;
}

bool auth_may_send(struct auth *a, struct span user, struct span sender)
{
	const struct auth_user *u;
	const char *why;
	struct auth_snapshot *s;
	bool may;

	if (sender.n == 0 || a->dovecot_socket)
		return true;
	s = auth_snapshot_get(a, &why);
	if (!s) /* it has just been read: the old one speaks */
		return span_eq_nocase(user, sender);
	u = auth_table_user(&s->table, user);
	may = u && auth_user_may_send(u, sender);
	auth_snapshot_unref(&s);
	return may;
}

int auth_worker_new(
    struct auth *a, struct net_loop *loop, struct net_pool *pool, struct auth_worker **w_r)
{
	struct auth_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return -ERR_NOMEM;
	w->auth = auth_ref(a);
	w->loop = loop;
	w->pool = pool;
	*w_r = w;
	return 0;
}

void auth_worker_free(struct auth_worker **w)
{
	if (!*w)
		return;
	dovecot_free(&(*w)->dovecot);
	auth_unref(&(*w)->auth);
	free(*w);
	*w = NULL;
}

static void wipe(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_done(b);
}

void auth_exchange_free(struct auth_exchange *x)
{
	sasl_done(x);
	wipe(&x->in);
	wipe(&x->out);
	free(x);
}

void auth_exchange_answer(struct auth_exchange *x)
{
	struct auth_answer a = { .result = x->result,
		.challenge = buf_span(&x->out),
		.user = span_str(x->user),
		.why = x->why ? x->why : "" };

	wipe(&x->in);
	if (x->orphan)
		auth_exchange_free(x);
	else
		x->answered(x->arg, &a);
}

int auth_begin(
    struct auth_worker *w, const struct auth_request *request, struct auth_exchange **x_r)
{
	struct auth_exchange *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return -ERR_NOMEM;
	x->worker = w;
	x->answered = request->answered;
	x->arg = request->arg;
	buf_init(&x->in, AUTH_RESPONSE_MAX);
	buf_init(&x->out, AUTH_RESPONSE_MAX);
	x->is_dovecot = w->auth->dovecot_socket != NULL;
	r = buf_add_span(&x->in, request->initial);
	if (r == 0)
		r = x->is_dovecot ? dovecot_begin(x, request) : sasl_begin(x, request);
	if (r < 0) {
		auth_exchange_free(x);
		return r;
	}
	*x_r = x;
	return 0;
}

int auth_respond(struct auth_exchange *x, struct span response)
{
	if (x->is_dovecot)
		return dovecot_respond(x, response);
	buf_reset(&x->in);
	if (buf_add_span(&x->in, response) < 0)
		return -ERR_NOMEM;
	x->started = true;
	sasl_step(x);
	return 0;
}

void auth_end(struct auth_exchange **xp)
{
	struct auth_exchange *x = *xp;

	*xp = NULL;
	if (!x)
		return;
	if (x->is_dovecot)
		dovecot_forget(x);
	if (x->busy)
		x->orphan = true; /* freed when the pool gives it back */
	else
		auth_exchange_free(x);
}
