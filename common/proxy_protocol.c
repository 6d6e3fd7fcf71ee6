/*
 * proxy_protocol: reads the PROXY header of a load balancer, versions 1 and 2.
 * Must not decide whether it is to be believed. Pure; runs in the worker process.
 */
#include "common/proxy_protocol.h"

#include "common/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#define V1_MAX 107 /* longest line of version 1, with CRLF */
#define V2_FIXED 16
#define V2_TLV 3 /* type and length of an extra field */

static const char v1_start[] = "PROXY ";
static const char v2_start[] = "\r\n\r\n\0\r\nQUIT\n";

static bool begins_like(const char *p, size_t n, const char *start, size_t length)
{
	return memcmp(p, start, n < length ? n : length) == 0;
}

static void set_address(struct proxy_source *out, int family, const void *address, const void *port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

	if (family == AF_INET) {
		memcpy(&v4.sin_addr, address, sizeof(v4.sin_addr));
		memcpy(&v4.sin_port, port, sizeof(v4.sin_port));
		memcpy(&out->address, &v4, sizeof(v4));
		out->size = sizeof(v4);
	} else {
		memcpy(&v6.sin6_addr, address, sizeof(v6.sin6_addr));
		memcpy(&v6.sin6_port, port, sizeof(v6.sin6_port));
		memcpy(&out->address, &v6, sizeof(v6));
		out->size = sizeof(v6);
	}
}

/* --- version 1: one line of text --- */

static int read_text_address(unsigned char *out, int family, struct strv word)
{
	char text[INET6_ADDRSTRLEN];

	return text_copy(text, sizeof(text), word) == 0 && inet_pton(family, text, out) == 1 ? 0 :
											       -1;
}

static int read_text_port(in_port_t *out, struct strv word)
{
	uint64_t port;

	if (text_u64(word, 65535, &port) < 0 || (word.n > 1 && word.p[0] == '0'))
		return -1;
	*out = htons((uint16_t)port);
	return 0;
}

/* "TCP4 source destination port port", or "UNKNOWN" and whatever follows it. */
static enum proxy_result read_words(struct proxy_source *out, struct strv line)
{
	unsigned char from[16], to[16];
	in_port_t from_port, to_port;
	struct strv word = text_split(&line, ' ');
	int family;

	if (strv_eq(word, STRV("UNKNOWN"))) {
		out->local = true;
		return PROXY_DONE;
	}
	if (strv_eq(word, STRV("TCP4")))
		family = AF_INET;
	else if (strv_eq(word, STRV("TCP6")))
		family = AF_INET6;
	else
		return PROXY_BAD;
	if (read_text_address(from, family, text_split(&line, ' ')) < 0 ||
	    read_text_address(to, family, text_split(&line, ' ')) < 0 ||
	    read_text_port(&from_port, text_split(&line, ' ')) < 0 ||
	    read_text_port(&to_port, text_split(&line, ' ')) < 0 || line.p != NULL)
		return PROXY_BAD;
	set_address(out, family, from, &from_port);
	return PROXY_DONE;
}

static enum proxy_result read_v1(struct proxy_source *out, const char *p, size_t n, size_t *used)
{
	size_t within = n < V1_MAX ? n : V1_MAX;
	const char *lf = memchr(p, '\n', within);
	size_t length = lf != NULL ? (size_t)(lf - p) : within;

	/* text between "PROXY" and CRLF is printable; the CR may stand last */
	for (size_t i = 0; i < length; i++) {
		bool last = lf != NULL ? i == length - 1 : i == within - 1;

		if (p[i] == '\r' && last)
			continue;
		if (p[i] < 0x20 || p[i] > 0x7e)
			return PROXY_BAD;
	}
	if (lf == NULL)
		return n < V1_MAX ? PROXY_MORE : PROXY_BAD;
	if (lf[-1] != '\r')
		return PROXY_BAD;
	*used = length + 1;
	out->version = 1;
	p += sizeof(v1_start) - 1;
	return read_words(out, (struct strv){ p, (size_t)(lf - 1 - p) });
}

/* --- version 2: binary --- */

static size_t read_u16(const char *p)
{
	return (size_t)((unsigned char)p[0] << 8 | (unsigned char)p[1]);
}

/* True if the extra fields end exactly with the header. */
static bool fields_fit(const char *p, size_t n)
{
	while (n >= V2_TLV) {
		size_t length = V2_TLV + read_u16(p + 1);

		if (length > n)
			return false;
		p += length;
		n -= length;
	}
	return n == 0;
}

static enum proxy_result read_addresses(
    struct proxy_source *out, unsigned family, const char *p, size_t n)
{
	static const struct {
		unsigned family;
		size_t size; /* both addresses and ports */
	} known[] = { { 0x00, 0 }, { 0x11, 12 }, { 0x21, 36 }, { 0x31, 216 } };
	size_t i = 0;

	while (i < ARRAY_LEN(known) && known[i].family != family)
		i++;
	if (i == ARRAY_LEN(known) || n < known[i].size)
		return PROXY_BAD;
	if (family == 0x11)
		set_address(out, AF_INET, p, p + 8);
	else if (family == 0x21)
		set_address(out, AF_INET6, p, p + 32);
	else
		out->local = true;
	/* with UNSPEC nothing says where addresses end and fields begin: all of it is skipped */
	if (family != 0x00 && !fields_fit(p + known[i].size, n - known[i].size))
		return PROXY_BAD;
	return PROXY_DONE;
}

static enum proxy_result read_v2(struct proxy_source *out, const char *p, size_t n, size_t *used)
{
	unsigned command = n > 12 ? (unsigned char)p[12] : 0x21,
		 family = n > 13 ? (unsigned char)p[13] : 0;
	size_t length;

	if ((command != 0x20 && command != 0x21) || (family >> 4) > 3 || (family & 15) > 2)
		return PROXY_BAD;
	if (n < V2_FIXED)
		return PROXY_MORE;
	length = V2_FIXED + read_u16(p + 14);
	if (length > PROXY_HEADER_MAX)
		return PROXY_BAD;
	if (n < length)
		return PROXY_MORE;
	*used = length;
	out->version = 2;
	if (command == 0x20) { /* LOCAL: the rest means nothing */
		out->local = true;
		return PROXY_DONE;
	}
	return read_addresses(out, family, p + V2_FIXED, length - V2_FIXED);
}

enum proxy_result proxy_protocol_read(
    struct proxy_source *out, const char *p, size_t n, size_t *used)
{
	struct proxy_source source = { 0 };
	enum proxy_result r = PROXY_BAD;
	size_t taken = 0;

	if (n == 0)
		return PROXY_MORE;
	if (begins_like(p, n, v2_start, sizeof(v2_start) - 1))
		r = n < sizeof(v2_start) - 1 ? PROXY_MORE : read_v2(&source, p, n, &taken);
	else if (begins_like(p, n, v1_start, sizeof(v1_start) - 1))
		r = n < sizeof(v1_start) - 1 ? PROXY_MORE : read_v1(&source, p, n, &taken);
	if (r == PROXY_DONE) {
		*out = source;
		*used = taken;
	}
	return r;
}
