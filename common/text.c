/*
 * text: length-safe text: comparison, strict numbers, UTF-8, hexadecimal, base64, percent-escapes.
 * Must not allocate, log, or look at the locale. Pure; runs in every process.
 */
#include "common/text.h"

char text_lower_char(char c)
{
	return (c >= 'A' && c <= 'Z') ? (char)(c | 0x20) : c;
}

void text_lower(char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = text_lower_char(p[i]);
}

bool text_eq_nocase(struct strv a, struct strv b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++) {
		if (text_lower_char(a.p[i]) != text_lower_char(b.p[i]))
			return false;
	}
	return true;
}

bool text_starts_nocase(struct strv text, struct strv prefix)
{
	return text.n >= prefix.n && text_eq_nocase((struct strv){ text.p, prefix.n }, prefix);
}

struct strv text_trim(struct strv text)
{
	while (text.n > 0 && (text.p[0] == ' ' || text.p[0] == '\t')) {
		text.p++;
		text.n--;
	}
	while (text.n > 0 && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\t'))
		text.n--;
	return text;
}

struct strv text_split(struct strv *rest, char sep)
{
	struct strv first = *rest;
	const char *at = first.n > 0 ? memchr(first.p, sep, first.n) : NULL;

	if (at == NULL) {
		*rest = (struct strv){ NULL, 0 };
		return first;
	}
	first.n = (size_t)(at - first.p);
	*rest = (struct strv){ at + 1, rest->n - first.n - 1 };
	return first;
}

/* --- numbers --- */

/* The value of one digit in either case, 16 for anything else. */
static unsigned digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	c = text_lower_char(c);
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10;
	return 16;
}

static int read_number(struct strv text, unsigned base, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (text.n == 0)
		return -1;
	for (size_t i = 0; i < text.n; i++) {
		unsigned digit = digit_value(text.p[i]);

		if (digit >= base || digit > max || value > (max - digit) / base)
			return -1;
		value = value * base + digit;
	}
	*out = value;
	return 0;
}

int text_u64(struct strv text, uint64_t max, uint64_t *out)
{
	return read_number(text, 10, max, out);
}

int text_hex_u64(struct strv text, uint64_t max, uint64_t *out)
{
	return text.n > 16 ? -1 : read_number(text, 16, max, out);
}

/* --- UTF-8 (RFC 3629) --- */

/* Reads the code point at p; returns its length in bytes, or 0 if it is malformed or cut. */
static size_t utf8_next(const unsigned char *p, size_t n, uint32_t *out)
{
	uint32_t point, least;
	size_t need;

	if (p[0] < 0x80) {
		*out = p[0];
		return 1;
	}
	if (p[0] >= 0xc2 && p[0] <= 0xdf) {
		need = 2, least = 0x80, point = p[0] & 0x1fu;
	} else if ((p[0] & 0xf0) == 0xe0) {
		need = 3, least = 0x800, point = p[0] & 0x0fu;
	} else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		need = 4, least = 0x10000, point = p[0] & 0x07u;
	} else {
		return 0;
	}
	if (n < need)
		return 0;
	for (size_t i = 1; i < need; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (p[i] & 0x3fu);
	}
	if (point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
		return 0;
	*out = point;
	return need;
}

/* C1 controls and the marks that turn the direction of writing deceive who reads a log. */
static bool is_deceiving(uint32_t point)
{
	return (point >= 0x80 && point <= 0x9f) || (point >= 0x202a && point <= 0x202e) ||
	    (point >= 0x2066 && point <= 0x2069);
}

static bool is_text(struct strv text, bool allow_deceiving)
{
	const unsigned char *p = (const unsigned char *)text.p;
	uint32_t point = 0;
	size_t step;

	for (size_t i = 0; i < text.n; i += step) {
		step = utf8_next(p + i, text.n - i, &point);
		if (step == 0 || point < 0x20 || point == 0x7f)
			return false;
		if (!allow_deceiving && is_deceiving(point))
			return false;
	}
	return true;
}

bool text_is_clean(struct strv text)
{
	return is_text(text, false);
}

int text_copy(char *out, size_t size, struct strv text)
{
	if (size == 0)
		return -1;
	if (text.n >= size || !is_text(text, true)) {
		out[0] = '\0';
		return -1;
	}
	if (text.n > 0)
		memcpy(out, text.p, text.n);
	out[text.n] = '\0';
	return 0;
}

/* --- hexadecimal --- */

void text_hex(char *out, const void *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = bytes;

	for (size_t i = 0; i < n; i++) {
		*out++ = digits[p[i] >> 4];
		*out++ = digits[p[i] & 15];
	}
	*out = '\0';
}

int text_unhex(void *out, size_t n, struct strv hex)
{
	unsigned char *p = out;

	if (hex.n / 2 != n || hex.n % 2 != 0)
		return -1;
	for (size_t i = 0; i < hex.n; i++) {
		if (digit_value(hex.p[i]) > 15)
			return -1;
	}
	for (size_t i = 0; i < n; i++)
		p[i] =
		    (unsigned char)(digit_value(hex.p[2 * i]) << 4 | digit_value(hex.p[2 * i + 1]));
	return 0;
}

/* --- base64 (RFC 4648 sections 4 and 5) --- */

static const char base64_last[] = "+/", base64url_last[] = "-_";	/* where the two alphabets differ */

static int base64_value(char c, const char *last)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == last[0])
		return 62;
	return c == last[1] ? 63 : -1;
}

/*
 * want + 1 characters into `want` (1 to 3) bytes; 0, or -1: not of the alphabet, or bits set that no
 * byte holds.
 */
static int base64_quad(unsigned char *out, size_t want, const char *p, const char *last)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < 4; i++) {
		int value = i <= want ? base64_value(p[i], last) : 0;

		if (value < 0)
			return -1;
		bits = bits << 6 | (uint32_t)value;
	}
	if ((want == 1 && (bits & 0xffff) != 0) || (want == 2 && (bits & 0xff) != 0))
		return -1;
	for (size_t i = 0; i < want; i++)
		out[i] = (unsigned char)(bits >> (16 - 8 * i));
	return 0;
}

/* Text of `total` bytes, its padding not looked at. */
static long base64_all(unsigned char *to, size_t total, const char *p, const char *last)
{
	for (size_t done = 0; done < total; p += 4) {
		size_t want = total - done < 3 ? total - done : 3;

		if (base64_quad(to + done, want, p, last) < 0)
			return -1;
		done += want;
	}
	return (long)total;
}

long text_base64_decode(void *out, size_t size, struct strv text)
{
	size_t pad = 0, total;

	if (text.n % 4 != 0)
		return -1;
	if (text.n > 0 && text.p[text.n - 1] == '=')
		pad = text.p[text.n - 2] == '=' ? 2 : 1;
	total = text.n / 4 * 3 - pad;
	return total > size ? -1 : base64_all(out, total, text.p, base64_last);
}

long text_base64url_decode(void *out, size_t size, struct strv text)
{
	size_t over = text.n % 4, total = text.n / 4 * 3 + (over > 0 ? over - 1 : 0);

	return over == 1 || total > size ? -1 : base64_all(out, total, text.p, base64url_last);
}

size_t text_base64(char *out, const void *bytes, size_t n)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = bytes, *whole = p + n / 3 * 3;
	char *to = out;

	for (; p < whole; p += 3, to += 4) {
		to[0] = alphabet[p[0] >> 2];
		to[1] = alphabet[(p[0] & 3) << 4 | p[1] >> 4];
		to[2] = alphabet[(p[1] & 15) << 2 | p[2] >> 6];
		to[3] = alphabet[p[2] & 63];
	}
	if (n % 3 > 0) {
		unsigned second = n % 3 > 1 ? p[1] : 0;

		*to++ = alphabet[p[0] >> 2];
		*to++ = alphabet[(p[0] & 3u) << 4 | second >> 4];
		*to++ = n % 3 > 1 ? alphabet[(second & 15) << 2] : '=';
		*to++ = '=';
	}
	*to = '\0';
	return (size_t)(to - out);
}

/* --- percent-escapes (RFC 3986 section 2.1) --- */

long text_percent_decode(char *out, size_t size, struct strv text)
{
	size_t done = 0;

	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c == '%') {
			if (text.n - i < 3 || digit_value(text.p[i + 1]) > 15 ||
			    digit_value(text.p[i + 2]) > 15)
				return -1;
			c = (unsigned char)(digit_value(text.p[i + 1]) << 4 |
			    digit_value(text.p[i + 2]));
			i += 2;
		}
		if (c < 0x20 || c == 0x7f || done == size)
			return -1;
		out[done++] = (char)c;
	}
	return (long)done;
}
