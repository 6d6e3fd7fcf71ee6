/*
 * mime: header fields, encoded words, recipients.
 * The parts of a body are in mime_text.c.
 * Part of the sample mail server, which runs as one process.
 */
#include "mime.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mime_internal.h"
#include "text.h"

/* Takes a line with its end off *s. */
static struct span take_line(struct span *s)
{
	const char *end = memchr(s->p, '\n', s->n);
	struct span line = { s->p, end == NULL ? s->n : (size_t)(end - s->p) + 1 };

	s->p += line.n;
	s->n -= line.n;
	return line;
}

static bool is_blank(struct span line)
{
	return line.n == 0 || line.p[0] == '\n' || (line.n == 2 && memcmp(line.p, "\r\n", 2) == 0);
}

bool mime_next_field(struct span *head, struct span *field, struct span *name,
    struct span *value)
{
	while (head->n > 0) {
		struct span line = take_line(head);
		const char *colon;

		if (is_blank(line))
			return false;
		while (head->n > 0 && (head->p[0] == ' ' || head->p[0] == '\t'))
			line.n += take_line(head).n;
		colon = memchr(line.p, ':', line.n);
		if (colon == NULL || colon == line.p)
			continue;
		*field = line;
		name->p = line.p;
		name->n = (size_t)(colon - line.p);
		value->p = colon + 1;
		value->n = line.n - name->n - 1;
		return true;
	}
	return false;
}

static bool name_is(struct span name, const char *want)
{
	return name.n == strlen(want) && strncasecmp(name.p, want, name.n) == 0;
}

bool mime_field(struct span mail, const char *want, struct span *value)
{
	struct span field, name;

	while (mime_next_field(&mail, &field, &name, value))
		if (name_is(name, want))
			return true;
	return false;
}

struct span mime_body(struct span mail)
{
	struct span field, name, value;

	while (mime_next_field(&mail, &field, &name, &value))
		continue;
	return mail;
}

bool mime_is_mail(const char *mail, size_t n)
{
	struct span head = { mail, n }, field, name, value;

	return mime_next_field(&head, &field, &name, &value) && field.p == mail;
}

/* An encoded word's text with its B or Q undone. `out` has room for n bytes. -1: broken. */
static ssize_t word_bytes(char kind, const char *text, size_t n, char *out)
{
	size_t made = 0;

	if (kind == 'B' || kind == 'b')
		return text_base64(text, n, false, (unsigned char *)out);
	for (size_t i = 0; i < n; i++) {
		int byte = text[i] == '=' && i + 2 < n ? text_hex(text[i + 1], text[i + 2]) : -1;

		if (byte >= 0)
			i += 2;
		out[made++] = byte >= 0 ? (char)byte : text[i] == '_' ? ' ' : text[i];
	}
	return (ssize_t)made;
}

/*
 * Decodes one encoded word (RFC 2047) at s: =?charset?B|Q?text?=. Writes UTF-8 to `out`, which
 * has room for 2 * s.n bytes. Returns the number of bytes read, 0 if it is none.
 */
static size_t encoded_word(struct span s, char *out, size_t *made)
{
	const char *end = s.p + s.n, *kind, *text, *stop;
	char *clean;
	ssize_t n;

	if (s.n < 8 || memcmp(s.p, "=?", 2) != 0)
		return 0;
	kind = memchr(s.p + 2, '?', s.n - 2);
	if (kind == NULL || end - kind < 5 || kind[2] != '?')
		return 0;
	text = kind + 3;
	stop = memmem(text, (size_t)(end - text), "?=", 2);
	if (stop == NULL)
		return 0;
	n = word_bytes(kind[1], text, (size_t)(stop - text), out);
	clean = n < 0 ? NULL : text_clean(out, (size_t)n);      /* a word has its own charset */
	if (clean == NULL)
		return 0;
	*made = strlen(clean);
	memcpy(out, clean, *made);
	free(clean);
	return (size_t)(stop + 2 - s.p);
}

/* Unfolds, decodes encoded words, drops white space at both ends and between such words. */
static char *header_text(struct span v)
{
	char *plain = malloc(2 * v.n + 1), *clean;
	size_t made = 0, last_word = 0;         /* where the last word ended, white space aside */

	if (plain == NULL)
		return NULL;
	while (v.n > 0) {
		size_t word_n = 0, used = encoded_word(v, plain + made, &word_n);

		if (used > 0) {
			if (last_word > 0) {
				memmove(plain + last_word, plain + made, word_n);
				made = last_word;
			}
			made += word_n;
			last_word = made;
		} else {
			used = 1;
			if (!isspace((unsigned char)*v.p))
				last_word = 0;
			if (strchr("\r\n", *v.p) == NULL &&
			    (made > 0 || !isspace((unsigned char)*v.p)))
				plain[made++] = *v.p;
		}
		v.p += used;
		v.n -= used;
	}
	while (made > 0 && isspace((unsigned char)plain[made - 1]))
		made--;
	clean = text_clean(plain, made);
	free(plain);
	return clean;
}

char *mime_header(const char *mail, size_t n, const char *name)
{
	struct span value = { "", 0 };

	if (!mime_field((struct span){ mail, n }, name, &value))
		value.n = 0;
	return header_text(value);
}

/* One entry of an address list: what stands in <>, or the whole without its white space. */
static int take_address(struct span s, mime_address_fn *each, void *arg)
{
	const char *open = memchr(s.p, '<', s.n), *close;
	char address[MIME_ADDRESS_MAX + 1];
	size_t made = 0;

	if (open != NULL) {
		close = memchr(open, '>', s.n - (size_t)(open - s.p));
		if (close == NULL)
			return -1;
		s.p = open + 1;
		s.n = (size_t)(close - s.p);
	}
	while (s.n > 0 && isspace((unsigned char)s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n > 0 && isspace((unsigned char)s.p[s.n - 1]))
		s.n--;
	if (s.n == 0)
		return open == NULL ? 0 : -1;   /* an empty entry, as in "a@b, ,c@d" */
	for (size_t i = 0; i < s.n; i++) {
		if (!isgraph((unsigned char)s.p[i]) || made == MIME_ADDRESS_MAX)
			return -1;
		address[made++] = (char)tolower((unsigned char)s.p[i]);
	}
	address[made] = '\0';
	each(arg, address);
	return 1;
}

/* Cuts an address list at the commas that stand outside quotes and angle brackets. */
static int take_list(struct span v, mime_address_fn *each, void *arg)
{
	bool quoted = false, angle = false;
	size_t from = 0;
	int count = 0;

	for (size_t i = 0; i <= v.n; i++) {
		char c = i < v.n ? v.p[i] : ',';

		if (c == '\\' && quoted) {
			i++;
		} else if (c == '"' && !angle) {
			quoted = !quoted;
		} else if (!quoted && (c == '<' || c == '>')) {
			angle = c == '<';
			if (angle)
				from = i;       /* the name before it may hold anything */
		} else if (i >= v.n || (c == ',' && !quoted && !angle)) {
			size_t stop = i < v.n ? i : v.n;
			int rc = take_address((struct span){ v.p + from, stop - from }, each, arg);

			if (rc < 0)
				return -1;
			count += rc;
			from = i + 1;
		}
	}
	return count > MIME_RECIPIENTS_MAX ? -1 : count;
}

int mime_recipients(const char *mail, size_t n, mime_address_fn *each, void *arg)
{
	struct span head = { mail, n }, field, name, value;
	int count = 0;

	while (mime_next_field(&head, &field, &name, &value)) {
		int more;

		if (!name_is(name, "To") && !name_is(name, "Cc") && !name_is(name, "Bcc"))
			continue;
		more = take_list(value, each, arg);
		if (more < 0 || count + more > MIME_RECIPIENTS_MAX)
			return -1;
		count += more;
	}
	return count;
}

char *mime_without_bcc(const char *mail, size_t n, size_t *out_n)
{
	struct span head = { mail, n }, field, name, value;
	char *out = malloc(n + 1);
	const char *from = mail;
	size_t made = 0;

	if (out == NULL)
		return NULL;
	while (mime_next_field(&head, &field, &name, &value)) {
		if (!name_is(name, "Bcc"))
			continue;
		memcpy(out + made, from, (size_t)(field.p - from));
		made += (size_t)(field.p - from);
		from = field.p + field.n;
	}
	memcpy(out + made, from, n - (size_t)(from - mail));
	*out_n = made + n - (size_t)(from - mail);
	return out;
}
