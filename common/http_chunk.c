/*
 * http_chunk: the chunked transfer coding, decoded as it comes (RFC 9112 section 7.1).
 * Must not copy data or let a trailer out. Pure; runs wherever HTTP is spoken.
 */
#include "common/http_chunk.h"

#include "common/http_parts.h"

#define DIGITS_MAX 16u
#define EXTENSION_MAX 256u
#define TRAILER_MAX 4096u

enum state {
	CHUNK_SIZE = 0,  /* in the number; zero: what a zero-initialised struct starts with */
	CHUNK_EXT_START, /* behind ';' */
	CHUNK_EXT_NAME,
	CHUNK_EXT_VALUE_START, /* behind '=' */
	CHUNK_EXT_VALUE,
	CHUNK_EXT_QUOTED,
	CHUNK_EXT_ESCAPED,  /* behind a backslash inside quotes */
	CHUNK_EXT_UNQUOTED, /* behind the closing quote */
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	CHUNK_TRAILER, /* at the start of a line behind the last chunk */
	CHUNK_TRAILER_NAME,
	CHUNK_TRAILER_VALUE,
	CHUNK_TRAILER_LF,
	CHUNK_LAST_LF,
	CHUNK_END,
	CHUNK_FAILED,
};

static enum http_result go(struct http_chunk *c, enum state to)
{
	c->state = to;
	return HTTP_MORE;
}

static enum http_result expect(struct http_chunk *c, char byte, char wanted, enum state to)
{
	return byte == wanted ? go(c, to) : HTTP_BAD_CHUNK;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum http_result read_size(struct http_chunk *c, char byte)
{
	int digit = hex_value(byte);

	if (digit >= 0) {
		if (c->digits == DIGITS_MAX)
			return HTTP_BAD_CHUNK;
		c->digits++;
		c->left = c->left << 4 | (unsigned)digit;
		return HTTP_MORE;
	}
	if (c->digits == 0)
		return HTTP_BAD_CHUNK;
	if (byte == ';')
		return go(c, CHUNK_EXT_START);
	return expect(c, byte, '\r', CHUNK_SIZE_LF);
}

/* What may follow a complete extension. */
static enum http_result end_extension(struct http_chunk *c, char byte)
{
	if (byte == ';')
		return go(c, CHUNK_EXT_START);
	return expect(c, byte, '\r', CHUNK_SIZE_LF);
}

static enum http_result read_extension(struct http_chunk *c, char byte)
{
	bool token = http_is(byte, HTTP_C_TOKEN), visible = byte > 0x20 && byte < 0x7f;

	if (++c->line > EXTENSION_MAX)
		return HTTP_BAD_CHUNK;
	switch (c->state) {
	case CHUNK_EXT_START: return token ? go(c, CHUNK_EXT_NAME) : HTTP_BAD_CHUNK;
	case CHUNK_EXT_NAME:
		if (byte == '=')
			return go(c, CHUNK_EXT_VALUE_START);
		return token ? HTTP_MORE : end_extension(c, byte);
	case CHUNK_EXT_VALUE_START:
		if (byte == '"')
			return go(c, CHUNK_EXT_QUOTED);
		return token ? go(c, CHUNK_EXT_VALUE) : HTTP_BAD_CHUNK;
	case CHUNK_EXT_VALUE: return token ? HTTP_MORE : end_extension(c, byte);
	case CHUNK_EXT_QUOTED:
		if (byte == '"')
			return go(c, CHUNK_EXT_UNQUOTED);
		if (byte == '\\')
			return go(c, CHUNK_EXT_ESCAPED);
		return visible ? HTTP_MORE : HTTP_BAD_CHUNK;
	case CHUNK_EXT_ESCAPED: return visible ? go(c, CHUNK_EXT_QUOTED) : HTTP_BAD_CHUNK;
	default: return end_extension(c, byte);
	}
}

/* The number is complete: is there room for so much? */
static enum http_result begin_data(struct http_chunk *c)
{
	if (c->left > INT64_MAX)
		return HTTP_BAD_CHUNK;
	if (c->left > (c->max_body != 0 ? c->max_body : INT64_MAX) - c->total)
		return HTTP_TOO_LARGE;
	c->digits = c->line = 0;
	return go(c, c->left > 0 ? CHUNK_DATA : CHUNK_TRAILER);
}

static enum http_result read_trailer(struct http_chunk *c, char byte)
{
	if (++c->line > TRAILER_MAX)
		return HTTP_TOO_LARGE;
	switch (c->state) {
	case CHUNK_TRAILER:
		if (byte == '\r')
			return go(c, CHUNK_LAST_LF);
		return http_is(byte, HTTP_C_TOKEN) ? go(c, CHUNK_TRAILER_NAME) : HTTP_BAD_CHUNK;
	case CHUNK_TRAILER_NAME:
		if (http_is(byte, HTTP_C_TOKEN))
			return HTTP_MORE;
		return expect(c, byte, ':', CHUNK_TRAILER_VALUE);
	case CHUNK_TRAILER_VALUE:
		if (http_is(byte, HTTP_C_VALUE))
			return HTTP_MORE;
		return expect(c, byte, '\r', CHUNK_TRAILER_LF);
	case CHUNK_TRAILER_LF: return expect(c, byte, '\n', CHUNK_TRAILER);
	default:
		if (byte != '\n')
			return HTTP_BAD_CHUNK;
		c->state = CHUNK_END;
		return HTTP_DONE;
	}
}

static enum http_result read_byte(struct http_chunk *c, char byte)
{
	switch (c->state) {
	case CHUNK_SIZE: return read_size(c, byte);
	case CHUNK_SIZE_LF: return byte == '\n' ? begin_data(c) : HTTP_BAD_CHUNK;
	case CHUNK_DATA_CR: return expect(c, byte, '\r', CHUNK_DATA_LF);
	case CHUNK_DATA_LF: return expect(c, byte, '\n', CHUNK_SIZE);
	default: return c->state < CHUNK_SIZE_LF ? read_extension(c, byte) : read_trailer(c, byte);
	}
}

static struct strv take_data(struct http_chunk *c, const char *p, size_t n)
{
	struct strv run = { p, n < c->left ? n : (size_t)c->left };

	c->left -= run.n;
	c->total += run.n;
	if (c->left == 0)
		c->state = CHUNK_DATA_CR;
	return run;
}

enum http_result http_chunk_read(
    struct http_chunk *c, const char *p, size_t n, size_t *used, struct strv *data)
{
	enum http_result r = HTTP_MORE;
	size_t at = 0;

	*data = (struct strv){ NULL, 0 };
	if (c->state == CHUNK_FAILED)
		r = HTTP_BAD_CHUNK;
	else if (c->state == CHUNK_END)
		r = HTTP_DONE;
	while (r == HTTP_MORE && at < n) {
		if (c->state == CHUNK_DATA) {
			*data = take_data(c, p + at, n - at);
			at += data->n;
			break;
		}
		r = read_byte(c, p[at]);
		if (r == HTTP_MORE || r == HTTP_DONE)
			at++;
	}
	if (r != HTTP_MORE && r != HTTP_DONE)
		c->state = CHUNK_FAILED;
	*used = at;
	return r;
}
