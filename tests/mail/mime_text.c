/*
 * mime_text: finds the part of a mail that a person reads, and decodes it.
 * Bounded depth; a broken structure shows the bytes as they are.
 * Part of the sample mail server, which runs as one process.
 */
#include "mime.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mime_internal.h"
#include "text.h"

#define DEPTH_MAX 8
#define BOUNDARY_MAX 70         /* RFC 2046 5.1.1 */

static bool value_starts(struct span v, const char *want)
{
	while (v.n > 0 && strchr(" \t\r\n", v.p[0]) != NULL) {
		v.p++;
		v.n--;
	}
	return v.n >= strlen(want) && strncasecmp(v.p, want, strlen(want)) == 0;
}

/* The boundary parameter of a Content-Type value, quoted or not. Returns its length, 0: none. */
static size_t boundary_of(struct span v, char out[BOUNDARY_MAX + 1])
{
	static const char key[] = "boundary=";

	for (size_t i = 0; i + sizeof(key) - 1 < v.n; i++) {
		const char *p = v.p + i + sizeof(key) - 1, *end = v.p + v.n;
		const char *stops = "; \t\r\n";
		size_t made = 0;

		if (strncasecmp(v.p + i, key, sizeof(key) - 1) != 0)
			continue;
		if (*p == '"') {
			stops = "\"";
			p++;
		}
		while (p < end && *p != '\0' && strchr(stops, *p) == NULL && made < BOUNDARY_MAX)
			out[made++] = *p++;
		out[made] = '\0';
		return made;
	}
	return 0;
}

/* Finds the next "--boundary" at the start of a line. NULL: none. */
static const char *delimiter(struct span s, const char *boundary, size_t n)
{
	const char *p = s.p, *end = s.p + s.n;

	while ((p = memmem(p, (size_t)(end - p), boundary, n)) != NULL) {
		if (p - s.p >= 2 && p[-1] == '-' && p[-2] == '-' &&
		    (p - s.p == 2 || p[-3] == '\n'))
			return p - 2;
		p++;
	}
	return NULL;
}

/* Takes the next part of a multipart body off *s. */
static bool next_part(struct span *s, const char *boundary, size_t n, struct span *part)
{
	const char *from = delimiter(*s, boundary, n), *end = s->p + s->n, *stop;

	if (from == NULL || (end - from >= (ptrdiff_t)n + 4 && memcmp(from + 2 + n, "--", 2) == 0))
		return false;
	from = memchr(from, '\n', (size_t)(end - from));
	if (from == NULL)
		return false;
	from++;
	s->p = from;
	s->n = (size_t)(end - from);
	stop = delimiter(*s, boundary, n);
	if (stop == NULL)
		stop = end;
	part->p = from;
	part->n = (size_t)(stop - from);
	s->p = stop;
	s->n = (size_t)(end - stop);
	return true;
}

/* First text/plain leaf below `mail`; a mail without parts is its own leaf. */
static bool find_text(struct span mail, unsigned depth, struct span *leaf)
{
	struct span type, body, part;
	char boundary[BOUNDARY_MAX + 1];
	size_t n;

	if (!mime_field(mail, "Content-Type", &type) || value_starts(type, "text/plain")) {
		*leaf = mail;
		return true;
	}
	if (!value_starts(type, "multipart/") || depth == DEPTH_MAX)
		return false;
	n = boundary_of(type, boundary);
	body = mime_body(mail);
	while (n > 0 && next_part(&body, boundary, n, &part))
		if (find_text(part, depth + 1, leaf))
			return true;
	return false;
}

/* Quoted-printable (RFC 2045 6.7); `out` has room for in.n bytes. */
static size_t quoted_printable(struct span in, char *out)
{
	size_t made = 0;

	for (size_t i = 0; i < in.n; i++) {
		struct span rest = { in.p + i, in.n - i };
		int byte = rest.n >= 3 ? text_hex(rest.p[1], rest.p[2]) : -1;

		if (*rest.p != '=') {
			out[made++] = *rest.p;
		} else if (rest.n >= 2 && rest.p[1] == '\n') {
			i += 1;                 /* soft line break */
		} else if (rest.n >= 3 && rest.p[1] == '\r' && rest.p[2] == '\n') {
			i += 2;
		} else if (byte >= 0) {
			out[made++] = (char)byte;
			i += 2;
		} else {
			out[made++] = '=';
		}
	}
	return made;
}

char *mime_text(const char *mail, size_t n)
{
	struct span leaf = { mail, n }, encoding, body;
	char *plain = NULL, *clean;
	size_t made;
	ssize_t decoded;

	if (!find_text(leaf, 0, &leaf))
		return text_clean("", 0);
	body = mime_body(leaf);
	if (!mime_field(leaf, "Content-Transfer-Encoding", &encoding))
		return text_clean(body.p, body.n);
	plain = malloc(body.n + 1);
	if (plain == NULL)
		return NULL;
	made = body.n;
	memcpy(plain, body.p, body.n);
	if (value_starts(encoding, "quoted-printable")) {
		made = quoted_printable(body, plain);
	} else if (value_starts(encoding, "base64")) {
		decoded = text_base64(body.p, body.n, true, (unsigned char *)plain);
		if (decoded >= 0)
			made = (size_t)decoded;
		else
			memcpy(plain, body.p, body.n);
	}
	clean = text_clean(plain, made);
	free(plain);
	return clean;
}
