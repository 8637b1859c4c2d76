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
	struct lab *lab = l->lab;
	int fd;

	pthread_mutex_lock(&lab->lock);
	fd = l->fd;
	l->fd = -1;
	if (lab->stopped)
		close(fd);
	else
		(void)net_listener_start(lab->loop, fd, on_client, l, &l->ln);
	pthread_mutex_unlock(&lab->lock);
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

/* Name, stage and verdict of a prefix; false: it asks for nothing that is known. */
static bool name_listener(const struct lab *lab, struct lab_listener *l, struct span prefix)
{
	static const enum cat_stage stages[] = { CAT_STAGE_connect, CAT_STAGE_helo,
		CAT_STAGE_mail };
	ptrdiff_t dot = span_rfind(prefix, '.');
	struct lab_verdict v;

	for (size_t i = 0; dot > 0 && prefix.n < LAB_NAME_MAX && i < 3; i++) {
		if (!span_eq_nocase(
			span_skip(prefix, (size_t)dot + 1), span_str(cat_stage_name(stages[i]))))
			continue;
		if (!lab_verdict_parse(
			lab->cfg->catalogue, span_of(prefix.p, (size_t)dot), stages[i], &v))
			return false;
		memcpy(l->name, prefix.p, prefix.n);
		l->name[prefix.n] = '\0';
		l->stage = stages[i];
		l->verdict = v;
		return true;
	}
	return false;
}

static struct lab_listener *oldest(struct lab *lab)
{
	struct lab_listener *old = NULL;

	for (struct lab_listener *l = lab->listeners; l; l = l->next)
		if (l->name[0] && l->verdict.kind != LAB_REFUSE && (!old || l->used < old->used))
			old = l;
	return old;
}

/* Under the lock: a listener of the name, stage and verdict of `as`, or NULL. */
static struct lab_listener *add(struct lab *lab, const struct lab_listener *as)
{
	struct lab_listener *l = calloc(1, sizeof(*l));
	bool refuse = as->verdict.kind == LAB_REFUSE;

	if (!l)
		return NULL;
	*l = *as;
	l->lab = lab;
	l->fd = refuse ? net_refuse_socket(&loopback, &l->port)
		       : net_listen_socket(&loopback, 0, false, &l->port);
	if (l->fd < 0) {
		free(l);
		return NULL;
	}
	l->next = lab->listeners;
	lab->listeners = l;
	lab->count++;
	if (!refuse) {
		l->task = (struct net_task){ .run = start_listening, .arg = l };
		net_loop_post(lab->loop, &l->task);
	}
	return l;
}

/* Under the lock: the port keeps its listener and gets another name; sessions under way go on as
 * they began. */
static struct lab_listener *rename_oldest(struct lab *lab, const struct lab_listener *as)
{
	struct lab_listener *l = oldest(lab);

	if (!l || as->verdict.kind == LAB_REFUSE)
		return NULL;
	memcpy(l->name, as->name, sizeof(l->name));
	l->stage = as->stage;
	l->verdict = as->verdict;
	return l;
}

int lab_port_for(struct lab *lab, struct span domain, uint16_t *port_r)
{
	struct span prefix = prefix_of(lab, domain);
	struct lab_listener as = { .fd = -1 }, *l;

	pthread_mutex_lock(&lab->lock);
	for (l = lab->listeners; l; l = l->next)
		if (span_eq_nocase(span_str(l->name), prefix))
			break;
	if (!l && name_listener(lab, &as, prefix))
		l = lab->count < LAB_LISTENERS_MAX ? add(lab, &as) : rename_oldest(lab, &as);
	if (l) {
		l->used = ++lab->uses;
		*port_r = l->port;
	}
	pthread_mutex_unlock(&lab->lock);
	return l ? 0 : -ERR_NOTFOUND;
}

void lab_stop(struct lab *lab)
{
	pthread_mutex_lock(&lab->lock);
	lab->stopped = true;
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
