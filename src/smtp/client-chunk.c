/*
 * smtp/client-chunk.c - the body by BDAT (RFC 3030).
 *
 * Octets gather until they make a chunk.  With PIPELINING some chunks are under way at
 * a time, else one; for each we know where its last octet stands in the output, so that
 * a reply which comes before its chunk has left answers nothing.  The first refusal
 * settles every recipient: nothing more is sent, and the answers to what is under way
 * are waited for, whatever they are.  Only the answer to LAST delivers.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "smtp/client-private.h"

void smtp_client_chunks_begin(struct smtp_client *c, uint64_t now_ms)
{
	struct client_chunks *k = &c->chunks;

	buf_reset(&k->text);
	k->sent = k->got = 0;
	k->last_sent = false;
	c->need_reset = false;
	c->end_at = 0;
	c->body_bol = true;
	c->body_cr = false;
	smtp_client_state_set(c, SMTP_CL_BODY);
	c->deadline_ms = now_ms + c->o.timeouts.block_ms;
}

bool smtp_client_chunks_room(const struct smtp_client *c)
{
	return buf_len(&c->chunks.text) < CHUNK_OCTETS;
}

/* May another chunk go?  LMTP answers LAST once for each recipient; what it would answer behind a
 * refusal nobody knows, so LAST waits for the others there. */
static bool may_write(const struct smtp_client *c, bool last)
{
	size_t under_way = c->chunks.sent - c->chunks.got;

	if (under_way == 0)
		return true;
	return c->pipelining && under_way < CHUNKS_MAX && !(last && c->o.lmtp);
}

void smtp_client_chunks_write(struct smtp_client *c, uint64_t now_ms)
{
	struct client_chunks *k = &c->chunks;
	bool last = c->state == SMTP_CL_END;
	size_t before = buf_len(&c->out);

	if (!c->by_bdat || (c->state != SMTP_CL_BODY && !last) || k->last_sent || c->failed ||
	    (!last && buf_len(&k->text) < CHUNK_OCTETS) || !may_write(c, last))
		return;
	buf_addf(&c->out, "BDAT %zu%s\r\n", buf_len(&k->text), last ? " LAST" : "");
	buf_add_span(&c->out, buf_span(&k->text));
	buf_reset(&k->text);
	smtp_client_wrote(c, before);
	k->ends_at[k->sent++ % CHUNKS_MAX] = c->written;
	k->last_sent = last;
	c->deadline_ms = now_ms + (last ? c->o.timeouts.end_ms : c->o.timeouts.block_ms);
}

void smtp_client_chunks_take(struct smtp_client *c, struct span octets, uint64_t now_ms)
{
	if (c->message.body_binary)
		buf_add_span(&c->chunks.text, octets);
	else
		smtp_client_stuff(c, &c->chunks.text, octets);
	if (c->chunks.text.failed)
		c->failed = true;
	smtp_client_chunks_write(c, now_ms);
}

void smtp_client_chunks_end(struct smtp_client *c, uint64_t now_ms)
{
	if (!c->message.body_binary)
		smtp_client_stuff_end(c, &c->chunks.text);
	if (c->chunks.text.failed)
		c->failed = true;
	smtp_client_state_set(c, SMTP_CL_END);
	c->deadline_ms = now_ms + c->o.timeouts.end_ms;
	smtp_client_chunks_write(c, now_ms);
}

bool smtp_client_chunk_expected(const struct smtp_client *c)
{
	const struct client_chunks *k = &c->chunks;

	return k->got < k->sent && octets_left(c) >= k->ends_at[k->got % CHUNKS_MAX];
}

/* Refused: whoever is open gets this, and nothing more of the message goes out. */
static void chunk_refused(struct smtp_client *c, const struct smtp_reply *r)
{
	struct smtp_outcome o = { .stage = CAT_STAGE_message };

	o.reply = smtp_client_keep(&c->arena, r);
	for (size_t i = 0; i < c->rcpt_count; i++)
		smtp_client_settle(c, i, &o);
	c->need_reset = true;
	smtp_client_state_set(c, SMTP_CL_DRAIN);
}

void smtp_client_on_chunk(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	struct client_chunks *k = &c->chunks;
	bool is_last = k->last_sent && k->got + 1 == k->sent;

	if (c->state == SMTP_CL_END && is_last) {
		/* LMTP: one for each recipient, and all of them answer the same chunk */
		smtp_client_on_end(c, r, now_ms);
		if (c->state != SMTP_CL_END)
			k->got++;
		return;
	}
	k->got++;
	if (c->state != SMTP_CL_DRAIN && r->code >= 400)
		chunk_refused(c, r);
	if (c->state == SMTP_CL_DRAIN && k->got == k->sent)
		smtp_client_done(c);
	else
		c->deadline_ms = now_ms + c->o.timeouts.end_ms;
}
