/*
 * bench/smtp_load.c - a small SMTP load generator that is not what is measured.
 *
 *   smtp_load PORT SESSIONS MESSAGES OCTETS keep|close [RECIPIENT]
 *
 * SESSIONS connections to 127.0.0.1, MESSAGES in all; MAIL, RCPT and DATA go out in one write, then
 * the body.  "close" makes a connection for each message.  Prints one line: MESSAGES SECONDS
 * MESSAGES/s P50_MS P99_MS FAILED The times are from the first octet of the body to the final
 * reply.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum state { BANNER, EHLO, COMMANDS, FINAL, QUIT };

struct client {
	int fd;
	enum state state;
	unsigned replies; /* still expected before 354 */
	char in[4096];
	size_t len;
	double sent;
};

static char *message;
static size_t message_len;
static char commands[512];
static struct sockaddr_in to;
static int epfd;
static long left, done, failed;
static double *times;
static bool keep;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void put(struct client *c, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t w = send(c->fd, p, n, MSG_NOSIGNAL);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0) {
			perror("send");
			exit(1);
		}
		p += w;
		n -= (size_t)w;
	}
}

static void start(struct client *c)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		perror("connect");
		exit(1);
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->state = BANNER;
	c->len = 0;
	epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &ev);
}

static void next_message(struct client *c)
{
	if (left > 0) {
		left--;
		c->state = COMMANDS;
		c->replies = 3;
		put(c, commands, strlen(commands));
	} else {
		c->state = QUIT;
		put(c, "QUIT\r\n", 6);
	}
}

static void line(struct client *c, const char *l)
{
	switch (c->state) {
	case BANNER:
		put(c, "EHLO load.example\r\n", 19);
		c->state = EHLO;
		break;
	case EHLO:
		if (l[3] != '-')
			next_message(c);
		break;
	case COMMANDS:
		if (l[0] != '2' && l[0] != '3') {
			fprintf(stderr, "refused: %s\n", l);
			exit(1);
		}
		if (--c->replies == 0) {
			c->sent = now();
			c->state = FINAL;
			put(c, message, message_len);
		}
		break;
	case FINAL:
		if (l[0] != '2')
			failed++;
		times[done++] = now() - c->sent;
		if (keep) {
			next_message(c);
		} else {
			put(c, "QUIT\r\n", 6);
			c->state = QUIT;
		}
		break;
	case QUIT:
		break;
	}
}

static void readable(struct client *c)
{
	ssize_t n = recv(c->fd, c->in + c->len, sizeof(c->in) - 1 - c->len, 0);
	char *at = c->in, *end;

	if (n <= 0) {
		close(c->fd);
		c->fd = -1;
		if (c->state != QUIT) {
			fprintf(stderr, "lost a connection\n");
			exit(1);
		}
		if (!keep && left > 0)
			start(c);
		return;
	}
	c->len += (size_t)n;
	c->in[c->len] = '\0';
	while ((end = strstr(at, "\r\n"))) {
		*end = '\0';
		line(c, at);
		at = end + 2;
	}
	c->len -= (size_t)(at - c->in);
	memmove(c->in, at, c->len);
}

static int by_time(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	struct client *clients;
	double begin, took;
	long total, sessions;
	size_t octets;

	if (argc < 6) {
		fprintf(stderr,
		    "usage: smtp_load PORT SESSIONS MESSAGES OCTETS keep|close [RECIPIENT]\n");
		return 2;
	}
	to = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(argv[1])),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	sessions = atol(argv[2]);
	total = left = atol(argv[3]);
	octets = (size_t)atol(argv[4]);
	keep = strcmp(argv[5], "keep") == 0;
	snprintf(commands, sizeof(commands),
	    "MAIL FROM:<load@example.net>\r\nRCPT TO:<%s>\r\nDATA\r\n",
	    argc > 6 ? argv[6] : "x@sink.test");
	message = malloc(octets + 512);
	times = calloc((size_t)total + (size_t)sessions, sizeof(*times));
	clients = calloc((size_t)sessions, sizeof(*clients));
	if (!message || !times || !clients || sessions < 1 || total < sessions)
		return 2;
	message_len = (size_t)snprintf(
	    message, octets + 512, "From: load@example.net\r\nSubject: load\r\n\r\n");
	while (message_len < octets)
		message_len += (size_t)snprintf(message + message_len, octets + 512 - message_len,
		    "%.62s\r\n", "the quick brown fox jumps over the lazy dog and then once more");
	message_len += (size_t)snprintf(message + message_len, octets + 512 - message_len, ".\r\n");
	epfd = epoll_create1(0);
	begin = now();
	for (long i = 0; i < sessions; i++)
		start(&clients[i]);
	while (done < total) {
		struct epoll_event evs[256];
		int n = epoll_wait(epfd, evs, 256, 30000);
		if (n <= 0) {
			fprintf(stderr, "no answer in 30 seconds: %ld of %ld done\n", done, total);
			return 1;
		}
		for (int i = 0; i < n; i++)
			readable(evs[i].data.ptr);
	}
	took = now() - begin;
	qsort(times, (size_t)total, sizeof(*times), by_time);
	printf("%ld %.3f %.0f %.2f %.2f %ld\n", total, took, (double)total / took,
	    times[total / 2] * 1e3, times[total * 99 / 100] * 1e3, failed);
	return failed ? 1 : 0;
}
