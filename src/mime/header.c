/*
 * mime/header.c - see mime/header.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "mime/header.h"
#include "base/arena.h"
#include "base/err.h"

enum at {
	AT_BOL,   /* at the start of a line, no field is open */
	AT_NAME,  /* in a name */
	AT_BLANK, /* between name and colon */
	AT_VALUE, /* in a value */
	AT_FOLD,  /* behind the line end of a value: a blank goes on with it */
	AT_CR,    /* CR at the start of a line: the empty line, if LF follows */
	AT_END,   /* the body */
};

void mime_header_init(struct mime_header_reader *r, size_t value_max)
{
	*r = (struct mime_header_reader){ .value_max = value_max ? value_max : MIME_VALUE_MAX };
	buf_init(&r->name, MIME_NAME_MAX);
	buf_init(&r->value, r->value_max);
}

void mime_header_done(struct mime_header_reader *r)
{
	buf_done(&r->name);
	buf_done(&r->value);
}

/* Keep what fits below the bound of the buffer; without memory the buffer has failed. */
static void keep(struct mime_header_reader *r, struct buf *to, struct span s)
{
	size_t room = to->max - buf_len(to);

	if (s.n > room) {
		r->cut = true;
		s.n = room;
	}
	buf_add_span(to, s);
}

static void open_field(struct mime_header_reader *r)
{
	buf_reset(&r->name);
	buf_reset(&r->value);
	r->cut = r->cr = false;
	r->field_at = r->offset;
	r->at = AT_NAME;
}

static int close_field(struct mime_header_reader *r, const struct mime_field **field_r)
{
	if (++r->fields > MIME_FIELDS_MAX)
		return -ERR_LIMIT;
	r->field = (struct mime_field){ .name = buf_span(&r->name),
		.value = span_trim(buf_span(&r->value)),
		.cut = r->cut,
		.offset = r->field_at };
	r->at = AT_BOL;
	*field_r = &r->field;
	return MIME_HEADER_FIELD;
}

/* The rest of a line of value without its line end; returns octets taken. */
static size_t take_value(struct mime_header_reader *r, struct span s)
{
	ptrdiff_t lf = span_find(s, '\n');
	struct span text = span_of(s.p, lf < 0 ? s.n : (size_t)lf);
	bool cr = text.n && text.p[text.n - 1] == '\r';

	if (r->cr && (lf != 0)) /* the CR held back was no line end */
		keep(r, &r->value, SPAN_LIT("\r"));
	text.n -= cr;
	keep(r, &r->value, text);
	r->cr = cr && lf < 0;
	if (lf >= 0)
		r->at = AT_FOLD;
	return lf < 0 ? s.n : (size_t)lf + 1;
}

/* One octet outside of values.  Returns octets taken: 0 leaves it to the state that it set. */
static size_t take_octet(struct mime_header_reader *r, uint8_t c)
{
	/* clang-format off */
	switch ((enum at)r->at) {
	case AT_BOL:
		if (c == '\r' || c == '\n') {
			r->at = c == '\r' ? AT_CR : AT_END;
			return 1;
		}
		open_field(r);
		return 0;
	case AT_CR:
		r->at = AT_END;
		return c == '\n' ? 1 : 0;
	case AT_NAME:
	case AT_BLANK:
		if (c == ':') {
			r->at = buf_len(&r->name) ? AT_VALUE : AT_END;
			return r->at == AT_VALUE;
		}
		if ((c == ' ' || c == '\t') && buf_len(&r->name)) {
			r->at = AT_BLANK;
			return 1;
		}
		if (r->at == AT_BLANK || c < 33 || c > 126) {
			r->at = AT_END; /* no field: a line of the body */
			return 0;
		}
		keep(r, &r->name, span_of(&c, 1));
		return 1;
	case AT_VALUE:
	case AT_FOLD:
	case AT_END:
		break;
	}
	/* clang-format on */
	return 0;
}

/* Where the line of the open field began, if that is still in these octets. */
static size_t back_to_line(const struct mime_header_reader *r, size_t used)
{
	uint64_t taken = r->offset - r->field_at;

	return taken <= used ? used - (size_t)taken : used;
}

int mime_header_feed(struct mime_header_reader *r, struct span octets, size_t *used_r,
    const struct mime_field **field_r)
{
	*used_r = 0;
	while (*used_r < octets.n && r->at != AT_END) {
		struct span rest = span_skip(octets, *used_r);
		unsigned before = r->at;
		size_t n;

		if (r->at == AT_FOLD) {
			if (rest.p[0] != ' ' && rest.p[0] != '\t')
				return close_field(r, field_r);
			r->at = AT_VALUE;
			continue;
		}
		n = r->at == AT_VALUE ? take_value(r, rest) : take_octet(r, rest.p[0]);
		if (r->name.failed || r->value.failed)
			return -ERR_NOMEM;
		*used_r += n;
		r->offset += n;
		if (r->at == AT_END && (before == AT_NAME || before == AT_BLANK))
			*used_r = back_to_line(r, *used_r);
	}
	return r->at == AT_END ? MIME_HEADER_END : MIME_HEADER_MORE;
}

int mime_header_finish(struct mime_header_reader *r, const struct mime_field **field_r)
{
	if (r->at == AT_VALUE || r->at == AT_FOLD)
		return close_field(r, field_r);
	r->at = AT_END;
	return MIME_HEADER_END;
}

ptrdiff_t mime_header_end(struct span message)
{
	struct span rest = message;

	while (rest.n) {
		ptrdiff_t lf = span_find(rest, '\n');
		if (lf < 0)
			break;
		if (lf == 0 || (lf == 1 && rest.p[0] == '\r'))
			return rest.p + lf + 1 - message.p;
		rest = span_skip(rest, (size_t)lf + 1);
	}
	return -1;
}

static const char *const once[] = { "Date", "From", "Sender", "Reply-To", "To", "Message-ID",
	"Subject", "Return-Path" };

const char *mime_once_name(size_t i)
{
	return i < sizeof(once) / sizeof(*once) ? once[i] : NULL;
}

/* Between < and >, without blanks; a value without brackets as it is. */
static struct span bare_id(struct span value)
{
	ptrdiff_t open = span_find(value, '<'), close;

	if (open >= 0) {
		value = span_skip(value, (size_t)open + 1);
		close = span_find(value, '>');
		if (close >= 0)
			value.n = (size_t)close;
	}
	return span_trim(value);
}

/* The first of several counts. */
static int remember(struct arena *arena, struct span value, struct span *to)
{
	if (to->p)
		return 0;
	*to = arena_span(arena, value);
	return to->p ? 0 : -ERR_NOMEM;
}

static int add_field(struct mime_summary *s, const struct mime_field *f, struct arena *arena)
{
	const struct span received = SPAN_LIT("Received"), date = SPAN_LIT("Date"),
			  message_id = SPAN_LIT("Message-ID");

	s->received += span_eq_nocase(f->name, received);
	for (size_t i = 0; i < sizeof(once) / sizeof(*once); i++)
		s->once[i] += span_eq_nocase(f->name, span_str(once[i]));
	if (span_eq_nocase(f->name, date))
		return remember(arena, f->value, &s->date);
	if (span_eq_nocase(f->name, message_id))
		return remember(arena, bare_id(f->value), &s->message_id);
	return 0;
}

int mime_summary_read(struct span octets, struct arena *arena, struct mime_summary *summary_r)
{
	struct mime_summary s = { 0 };
	struct mime_header_reader r;
	const struct mime_field *f;
	size_t used;
	int rc, err = 0;

	mime_header_init(&r, 0);
	while (err == 0 && (rc = mime_header_feed(&r, octets, &used, &f)) == MIME_HEADER_FIELD) {
		octets = span_skip(octets, used);
		err = add_field(&s, f, arena);
	}
	s.whole = err == 0 && rc == MIME_HEADER_END;
	/* a last line that is whole counts; half of one could be half a Message-ID */
	if (err == 0 && rc == MIME_HEADER_MORE && r.at == AT_FOLD &&
	    mime_header_finish(&r, &f) == MIME_HEADER_FIELD)
		err = add_field(&s, f, arena);
	if (err == 0 && rc < 0)
		err = rc;
	mime_header_done(&r);
	if (err < 0)
		return err;
	*summary_r = s;
	return 0;
}
