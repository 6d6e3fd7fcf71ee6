/*
 * text: base64, percent escapes, numbers, UTF-8.
 * Refuses what it does not understand; repairs only in text_clean(), for display.
 * Part of the sample mail server, which runs as one process.
 */
#include "text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static int base64_value(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

ssize_t text_base64(const char *in, size_t n, bool spaces, unsigned char *out)
{
	uint32_t word = 0;
	unsigned have = 0, pads = 0;
	size_t made = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)in[i];
		int v = base64_value(c);

		if (spaces && (c == ' ' || c == '\t' || c == '\r' || c == '\n'))
			continue;
		if (have == 0 && pads > 0)
			return -1;              /* nothing follows a padded group */
		if (c == '=' && have >= 2) {
			v = 0;
			pads++;
		} else if (v < 0 || pads > 0) {
			return -1;
		}
		word = word << 6 | (uint32_t)v;
		if (++have < 4)
			continue;
		out[made++] = (unsigned char)(word >> 16);
		if (pads < 2)
			out[made++] = (unsigned char)(word >> 8);
		if (pads < 1)
			out[made++] = (unsigned char)word;
		word = 0;
		have = 0;
	}
	return have == 0 ? (ssize_t)made : -1;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int text_hex(char high, char low)
{
	int h = hex_value(high), l = hex_value(low);

	return h < 0 || l < 0 ? -1 : h << 4 | l;
}

int text_percent(const char *in, size_t n, char *out, size_t room)
{
	size_t made = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)in[i];

		if (c == '%') {
			int v = i + 2 < n ? text_hex(in[i + 1], in[i + 2]) : -1;

			if (v < 0)
				return -1;
			c = (unsigned char)v;
			i += 2;
		}
		if (c < 0x20 || c == 0x7f || made + 1 >= room)
			return -1;
		out[made++] = (char)c;
	}
	if (room == 0)
		return -1;
	out[made] = '\0';
	return 0;
}

bool text_number(const char *s, uint32_t max, uint32_t *out)
{
	uint64_t v = 0;

	if (*s == '\0')
		return false;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9')
			return false;
		v = v * 10 + (uint64_t)(*s - '0');
		if (v > max)
			return false;
	}
	*out = (uint32_t)v;
	return true;
}

/* Length of the UTF-8 character at s, 0 if there is none that XML 1.0 allows. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
	uint32_t code;
	size_t want;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf) {
		want = 2;
		code = s[0] & 0x1fu;
	} else if ((s[0] & 0xf0) == 0xe0) {
		want = 3;
		code = s[0] & 0x0fu;
	} else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		want = 4;
		code = s[0] & 0x07u;
	} else {
		return 0;
	}
	if (want > n)
		return 0;
	for (size_t i = 1; i < want; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}
	if ((want == 3 && code < 0x800) || (want == 4 && code < 0x10000) || code > 0x10ffff)
		return 0;
	if ((code >= 0xd800 && code <= 0xdfff) || code == 0xfffe || code == 0xffff)
		return 0;
	return want;
}

static bool utf8_valid(const unsigned char *s, size_t n)
{
	while (n > 0) {
		size_t step = utf8_length(s, n);

		if (step == 0)
			return false;
		s += step;
		n -= step;
	}
	return true;
}

char *text_clean(const char *in, size_t n)
{
	const unsigned char *s = (const unsigned char *)in;
	bool utf8 = utf8_valid(s, n);
	char *out = malloc(n * 2 + 1);
	size_t made = 0;

	if (out == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		bool space = s[i] == '\t' || s[i] == '\r' || s[i] == '\n';

		if ((s[i] < 0x20 && !space) || s[i] == 0x7f) {
			out[made++] = ' ';
		} else if (s[i] < 0x80 || utf8) {
			out[made++] = (char)s[i];
		} else {
			out[made++] = (char)(0xc0 | s[i] >> 6);
			out[made++] = (char)(0x80 | (s[i] & 0x3f));
		}
	}
	out[made] = '\0';
	return out;
}

size_t text_utf8_cut(const char *s, size_t n, size_t room)
{
	if (n <= room)
		return n;
	while (room > 0 && ((unsigned char)s[room] & 0xc0) == 0x80)
		room--;
	return room;
}

void text_log(FILE *f, const char *s)
{
	if (s == NULL || *s == '\0') {
		fputc('-', f);
		return;
	}
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;

		if (isgraph(c) && c < 0x80 && c != '%' && c != '"')
			fputc(c, f);
		else
			fprintf(f, "%%%02X", c);
	}
}
