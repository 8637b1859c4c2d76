/*
 * lab/lab.c - the simulator's listeners: one for lab.test, one for each domain that asks for more.
 *
 * A simulator cannot see a domain before RCPT, so a domain that asks for something at
 * connect, greeting or MAIL gets a port of its own, and the routes lead there.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "lab/lab-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct ip loopback = { 4, { 127, 0, 0, 1 } };

static void on_client(void *arg, int fd)
{
	lab_session_start(arg, fd);
}

static void start_listening(struct net_task *task)
{
	struct lab_listener *l = task->arg;
	int fd = l->fd;

	l->fd = -1;
	if (l->lab->stopped || net_listener_start(l->lab->loop, fd, on_client, l, &l->ln) < 0)
		close(fd);
}

int lab_start(struct net_loop *loop, struct config *cfg, int fd, struct lab **lab_r)
{
	struct lab *lab = calloc(1, sizeof(*lab));
	struct lab_listener *l = calloc(1, sizeof(*l));
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct ip ip;

	if (!lab || !l) {
		free(lab);
		free(l);
		close(fd);
		return -ERR_NOMEM;
	}
	lab->loop = loop;
	lab->cfg = config_ref(cfg);
	pthread_mutex_init(&lab->lock, NULL);
	l->lab = lab;
	l->stage = CAT_STAGE_rcpt;
	l->fd = -1;
	if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
		ip_from_sockaddr((struct sockaddr *)&sa, &ip, &l->port);
	lab->listeners = l;
	lab->count = 1;
	*lab_r = lab;
	return net_listener_start(loop, fd, on_client, l, &l->ln);
}

/* "421.connect" of "421.connect.lab.test"; empty: the domain itself. */
static struct span prefix_of(const struct lab *lab, struct span domain)
{
	size_t n = strlen(lab->cfg->lab_domain);

	return domain.n > n + 1 ? span_of(domain.p, domain.n - n - 1) : span_of(domain.p, 0);
}

static bool parse_prefix(struct lab *lab, struct lab_listener *l)
{
	static const enum cat_stage stages[] = { CAT_STAGE_connect, CAT_STAGE_helo,
		CAT_STAGE_mail };
	static const char *const names[] = { "connect", "helo", "mail" };
	struct span s = span_str(l->name);
	ptrdiff_t dot = span_rfind(s, '.');

	for (size_t i = 0; dot > 0 && i < 3; i++)
		if (span_eq_nocase(span_skip(s, (size_t)dot + 1), span_str(names[i]))) {
			l->stage = stages[i];
			return lab_verdict_parse(
			    lab->cfg->catalogue, span_of(s.p, (size_t)dot), stages[i], &l->verdict);
		}
	return false;
}

static struct lab_listener *oldest(struct lab *lab)
{
	struct lab_listener *old = NULL;

	for (struct lab_listener *l = lab->listeners; l; l = l->next)
		if (l->name[0] && l->ln && (!old || l->used < old->used))
			old = l;
	return old;
}

/* Under the lock: a new listener for a prefix, or NULL. */
static struct lab_listener *add(struct lab *lab, struct span prefix)
{
	struct lab_listener *l;

	if (prefix.n >= LAB_NAME_MAX || lab->count >= LAB_LISTENERS_MAX)
		return NULL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->lab = lab;
	memcpy(l->name, prefix.p, prefix.n);
	l->fd = parse_prefix(lab, l) ? net_listen_socket(&loopback, 0, false, &l->port) : -1;
	if (l->fd < 0) {
		free(l);
		return NULL;
	}
	l->next = lab->listeners;
	lab->listeners = l;
	lab->count++;
	if (l->verdict.kind == LAB_REFUSE) {
		/* The port is ours no more, and nobody's: a connection is refused. */
		close(l->fd);
		l->fd = -1;
		return l;
	}
	l->task = (struct net_task){ .run = start_listening, .arg = l };
	net_loop_post(lab->loop, &l->task);
	return l;
}

int lab_port_for(struct lab *lab, struct span domain, uint16_t *port_r)
{
	struct span prefix = prefix_of(lab, domain);
	struct lab_listener *l;

	pthread_mutex_lock(&lab->lock);
	for (l = lab->listeners; l; l = l->next)
		if (span_eq_nocase(span_str(l->name), prefix))
			break;
	if (!l)
		l = add(lab, prefix);
	if (!l && lab->count >= LAB_LISTENERS_MAX && (l = oldest(lab))) {
		/* Give the oldest another name; its port stays, sessions under way keep what they
		 * began with. */
		struct lab_listener as = { .lab = lab };
		if (prefix.n < LAB_NAME_MAX) {
			memcpy(as.name, prefix.p, prefix.n);
			if (parse_prefix(lab, &as) && as.verdict.kind != LAB_REFUSE) {
				memcpy(l->name, as.name, sizeof(l->name));
				l->stage = as.stage;
				l->verdict = as.verdict;
			} else {
				l = NULL;
			}
		} else {
			l = NULL;
		}
	}
	if (l) {
		l->used = ++lab->uses;
		*port_r = l->port;
	}
	pthread_mutex_unlock(&lab->lock);
	return l ? 0 : -ERR_NOTFOUND;
}

void lab_stop(struct lab *lab)
{
	if (lab->stopped)
		return;
	lab->stopped = true;
	pthread_mutex_lock(&lab->lock);
	for (struct lab_listener *l = lab->listeners; l; l = l->next)
		net_listener_close(&l->ln);
	pthread_mutex_unlock(&lab->lock);
	while (lab->sessions)
		lab_session_close(lab->sessions);
}

void lab_free(struct lab **lab)
{
	struct lab_listener *l, *next;

	if (!*lab)
		return;
	lab_stop(*lab);
	for (l = (*lab)->listeners; l; l = next) {
		next = l->next;
		if (l->fd >= 0)
			close(l->fd);
		free(l);
	}
	config_unref(&(*lab)->cfg);
	pthread_mutex_destroy(&(*lab)->lock);
	free(*lab);
	*lab = NULL;
}
