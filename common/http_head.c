/*
 * http_head: HTTP/1.x heads: where they end, their fields, how the body is framed (RFC 9112
 * sections 2, 5, 6 and 9). Must not repair, allocate, or remember anything outside the caller's
 * structs. Pure; runs wherever HTTP is spoken.
 */
#include "common/http_head.h"

#include "common/http_parts.h"
#include "common/text.h"

typedef enum http_result line_fn(struct http_head *head, struct strv line);

/* Fields that may stand once at most. */
#define ONCE                                                                                       \
	(1u << HTTP_HOST | 1u << HTTP_CONTENT_LENGTH | 1u << HTTP_TRANSFER_ENCODING |              \
	    1u << HTTP_EXPECT)

struct notes {         /* what the fields said, before it is judged together */
	uint32_t seen; /* bits of enum http_name */
	struct strv host, length, coding, expect;
	bool close, keep_alive;
};
_Static_assert(HTTP_NAMES <= 32, "notes.seen holds one bit a name");

const char *http_result_text(enum http_result result)
{
	switch (result) {
	case HTTP_MORE: return "the head is not complete";
	case HTTP_DONE: return "complete";
	case HTTP_BAD_LINE: return "malformed first line";
	case HTTP_BAD_LINE_END: return "bare CR or LF in the head";
	case HTTP_BAD_NAME: return "malformed field name, or white space before the colon";
	case HTTP_BAD_VALUE: return "control byte or malformed list in a field value";
	case HTTP_BAD_FOLD: return "line that begins with white space";
	case HTTP_BAD_TARGET: return "malformed or unwanted request target";
	case HTTP_BAD_HOST: return "Host missing, doubled, malformed or other than the target's";
	case HTTP_BAD_LENGTH: return "Content-Length malformed, doubled or where none may be";
	case HTTP_BAD_CODING: return "Transfer-Encoding other than one single chunked in HTTP/1.1";
	case HTTP_BAD_BOTH: return "Content-Length and Transfer-Encoding together";
	case HTTP_BAD_VERSION: return "version other than HTTP/1.0 and HTTP/1.1";
	case HTTP_BAD_CHUNK: return "malformed chunked body";
	case HTTP_BAD_EXPECT: return "Expect other than 100-continue";
	case HTTP_TOO_LARGE: return "more bytes than the limit allows";
	case HTTP_TOO_MANY: return "more fields than the limit allows";
	}
	return "unknown result";
}

/* --- where the head ends --- */

/* The end of the first line, from where the last call stopped. HTTP_DONE: scan->line is set. */
static enum http_result find_line(struct http_scan *scan, const char *p, size_t n)
{
	const char *lf =
	    n > scan->scanned ? memchr(p + scan->scanned, '\n', n - scan->scanned) : NULL;

	if (lf == NULL) {
		scan->scanned = n;
		return HTTP_MORE;
	}
	if (lf == p || lf[-1] != '\r')
		return HTTP_BAD_LINE_END;
	scan->scanned = scan->line = (size_t)(lf + 1 - p);
	return HTTP_DONE;
}

/* The end of the head behind the first line. HTTP_DONE: *end is its length. */
static enum http_result find_end(struct http_scan *scan, const char *p, size_t n, size_t *end)
{
	const char *lf;

	while (n > scan->scanned &&
	    (lf = memchr(p + scan->scanned, '\n', n - scan->scanned)) != NULL) {
		if (lf[-1] != '\r')
			return HTTP_BAD_LINE_END;
		scan->scanned = (size_t)(lf + 1 - p);
		if (lf[-2] == '\n') {
			*end = scan->scanned;
			return HTTP_DONE;
		}
	}
	scan->scanned = n;
	return HTTP_MORE;
}

/* --- one field --- */

const char *http_skip_value(const char *p, const char *end)
{
	const uint64_t ones = ~(uint64_t)0 / 255, tops = ones * 0x80;

	for (;;) {
		/* eight bytes at once: is any of them below 0x20, or 0x7f? */
		while (end - p >= 8) {
			uint64_t word, del;

			memcpy(&word, p, 8);
			del = word ^ ones * 0x7f;
			if ((((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & tops)
				break;
			p += 8;
		}
		for (int i = 0; i < 8; i++, p++) {
			if (p == end || !http_is(*p, HTTP_C_VALUE))
				return p;
		}
	}
}

/*
 * What a byte that ends a name or a value too early is called. There is always one more byte behind
 * p.
 */
static enum http_result misplaced(const char *p, enum http_result otherwise)
{
	return p[0] == '\r' && p[1] != '\n' ? HTTP_BAD_LINE_END : otherwise;
}

/*
 * Reads the line at *p, which lies before the empty line that ends the head at `end`: a CR stops
 * each loop at the latest, and every LF has been seen behind a CR.
 */
static enum http_result read_field(struct http_field *field, const char **p, const char *end)
{
	const char *name = *p, *q = name, *value;

	while (http_is(*q, HTTP_C_TOKEN))
		q++;
	if (q == name && (*q == ' ' || *q == '\t'))
		return HTTP_BAD_FOLD;
	if (q == name || *q != ':')
		return misplaced(q, HTTP_BAD_NAME);
	field->name = (struct strv){ name, (size_t)(q - name) };
	for (q++; *q == ' ' || *q == '\t'; q++)
		;
	value = q;
	q = http_skip_value(q, end);
	if (*q != '\r' || q[1] != '\n')
		return misplaced(q, HTTP_BAD_VALUE);
	*p = q + 2;
	while (q > value && (q[-1] == ' ' || q[-1] == '\t'))
		q--;
	field->value = (struct strv){ value, (size_t)(q - value) };
	field->id = http_name_of(field->name);
	if (field->id == HTTP_OTHER && http_name_is_lookalike(field->name))
		return HTTP_BAD_NAME;
	return HTTP_DONE;
}

static enum http_result note_connection(
    struct http_head *head, struct notes *notes, struct strv list)
{
	do {
		struct strv option = text_trim(text_split(&list, ','));

		if (option.n > 0 && !http_is_token(option))
			return HTTP_BAD_VALUE;
		if (text_eq_nocase(option, STRV("close")))
			notes->close = true;
		else if (text_eq_nocase(option, STRV("keep-alive")))
			notes->keep_alive = true;
		else if (text_eq_nocase(option, STRV("upgrade")))
			head->has_upgrade = true;
	} while (list.p != NULL);
	return HTTP_DONE;
}

static enum http_result doubled(enum http_name id)
{
	switch (id) {
	case HTTP_HOST: return HTTP_BAD_HOST;
	case HTTP_CONTENT_LENGTH: return HTTP_BAD_LENGTH;
	case HTTP_EXPECT: return HTTP_BAD_EXPECT;
	default: return HTTP_BAD_CODING;
	}
}

static enum http_result note_field(
    struct http_head *head, struct notes *notes, const struct http_field *field)
{
	uint32_t bit = (uint32_t)1 << field->id;

	if (notes->seen & bit & ONCE)
		return doubled(field->id);
	notes->seen |= bit;
	switch (field->id) {
	case HTTP_HOST: notes->host = field->value; break;
	case HTTP_CONTENT_LENGTH: notes->length = field->value; break;
	case HTTP_TRANSFER_ENCODING: notes->coding = field->value; break;
	case HTTP_EXPECT: notes->expect = field->value; break;
	case HTTP_UPGRADE: head->has_upgrade = true; break;
	case HTTP_CONNECTION: return note_connection(head, notes, field->value);
	default: break;
	}
	return HTTP_DONE;
}

/* --- what the fields mean together --- */

static bool saw(const struct notes *notes, enum http_name id)
{
	return (notes->seen >> id & 1) != 0;
}

/* RFC 9112 section 6.3, but for what depends on request or response. */
static enum http_result judge_body(struct http_head *head, const struct notes *notes)
{
	bool length = saw(notes, HTTP_CONTENT_LENGTH), coding = saw(notes, HTTP_TRANSFER_ENCODING);

	if (length && coding)
		return HTTP_BAD_BOTH;
	if (coding) {
		if (head->minor == 0 || !text_eq_nocase(notes->coding, STRV("chunked")))
			return HTTP_BAD_CODING;
		head->body = HTTP_BODY_CHUNKED;
	}
	if (length) {
		/*
		 * "010" is 10 for one reader and 8 for another; beyond 2^63 signs begin to matter
		 */
		if ((notes->length.n > 1 && notes->length.p[0] == '0') ||
		    text_u64(notes->length, INT64_MAX, &head->length) < 0)
			return HTTP_BAD_LENGTH;
		head->body = HTTP_BODY_LENGTH;
	}
	head->keep_alive = !notes->close && (head->minor == 1 || notes->keep_alive);
	return HTTP_DONE;
}

static enum http_result judge_request(struct http_head *head, const struct notes *notes)
{
	enum http_result r;

	if (!saw(notes, HTTP_HOST))
		return HTTP_BAD_HOST;
	r = http_host_value(head, notes->host);
	if (r != HTTP_DONE)
		return r;
	r = judge_body(head, notes);
	if (r != HTTP_DONE || !saw(notes, HTTP_EXPECT))
		return r;
	if (!text_eq_nocase(notes->expect, STRV("100-continue")))
		return HTTP_BAD_EXPECT;
	/*
	 * RFC 9110 section 10.1.1: nothing to wait for without content, and 1.0 cannot take a 100
	 */
	head->expect_continue =
	    head->minor == 1 && (head->body == HTTP_BODY_CHUNKED || head->length > 0);
	return HTTP_DONE;
}

static enum http_result judge_response(struct http_head *head, const struct notes *notes)
{
	enum http_result r = judge_body(head, notes);
	bool bare = head->status < 200 || head->status == 204;

	if (r != HTTP_DONE)
		return r;
	if (bare && head->body == HTTP_BODY_CHUNKED)
		return HTTP_BAD_CODING;
	if (bare && head->length > 0)
		return HTTP_BAD_LENGTH;
	if (bare || head->status == 304) {
		head->body = HTTP_BODY_NONE;
		head->length = 0;
	} else if (head->body == HTTP_BODY_NONE) {
		head->body = HTTP_BODY_UNTIL_CLOSE;
		head->keep_alive = false;
	}
	return HTTP_DONE;
}

static enum http_result read_fields(
    struct http_head *head, struct notes *notes, const char *p, const char *end, size_t max)
{
	enum http_result r;

	while (p < end - 2) {
		struct http_field *field = &head->field[head->fields];

		if (head->fields >= max || head->fields >= HTTP_FIELDS_MAX)
			return HTTP_TOO_MANY;
		r = read_field(field, &p, end);
		if (r == HTTP_DONE && field->id != HTTP_OTHER)
			r = note_field(head, notes, field);
		if (r != HTTP_DONE)
			return r;
		head->fields++;
	}
	return HTTP_DONE;
}

/* Sets everything but the fields, which are many and mostly unused, and reads the first line. */
static enum http_result start_head(struct http_head *head, struct strv line, line_fn *read_line)
{
	memset(head, 0, offsetof(struct http_head, field));
	head->fields = 0;
	head->body = HTTP_BODY_NONE;
	head->length = 0;
	head->keep_alive = head->expect_continue = head->has_upgrade = false;
	return read_line(head, line);
}

/*
 * The head up to its fields; HTTP_DONE: *used is set and `notes` is filled. A bad first line is
 * refused as soon as it is there; a good one is read once more with the end, since nobody keeps
 * *head between calls.
 */
static enum http_result read_head(struct http_head *head, struct http_scan *scan, const char *p,
    size_t n, const struct http_limits *limits, size_t *used, line_fn *read_line,
    struct notes *notes)
{
	size_t within = n < limits->head_bytes ? n : limits->head_bytes, end = 0;
	enum http_result r, more = n < limits->head_bytes ? HTTP_MORE : HTTP_TOO_LARGE;
	bool begun = false;

	if (scan->line == 0) {
		r = find_line(scan, p, within);
		if (r == HTTP_DONE)
			r = start_head(head, (struct strv){ p, scan->line - 2 }, read_line);
		if (r != HTTP_DONE)
			return r == HTTP_MORE ? more : r;
		begun = true;
	}
	r = find_end(scan, p, within, &end);
	if (r != HTTP_DONE)
		return r == HTTP_MORE ? more : r;
	if (!begun)
		r = start_head(head, (struct strv){ p, scan->line - 2 }, read_line);
	if (r == HTTP_DONE)
		r = read_fields(head, notes, p + scan->line, p + end, limits->fields);
	*used = end;
	return r;
}

enum http_result http_read_request(struct http_head *head, struct http_scan *scan, const char *p,
    size_t n, const struct http_limits *limits, size_t *used)
{
	struct notes notes = { 0 };
	enum http_result r = read_head(head, scan, p, n, limits, used, http_request_line, &notes);

	return r == HTTP_DONE ? judge_request(head, &notes) : r;
}

enum http_result http_read_response(struct http_head *head, struct http_scan *scan, const char *p,
    size_t n, const struct http_limits *limits, size_t *used)
{
	struct notes notes = { 0 };
	enum http_result r = read_head(head, scan, p, n, limits, used, http_status_line, &notes);

	return r == HTTP_DONE ? judge_response(head, &notes) : r;
}

const struct http_field *http_find(const struct http_head *head, enum http_name id)
{
	for (size_t i = 0; i < head->fields; i++) {
		if (head->field[i].id == id)
			return &head->field[i];
	}
	return NULL;
}

bool http_is_connection_option(const struct http_head *head, struct strv name)
{
	for (size_t i = 0; i < head->fields; i++) {
		struct strv list = head->field[i].value;

		if (head->field[i].id != HTTP_CONNECTION)
			continue;
		do {
			if (text_eq_nocase(text_trim(text_split(&list, ',')), name))
				return true;
		} while (list.p != NULL);
	}
	return false;
}
