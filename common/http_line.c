/*
 * http_line: request line, target, Host and status line (RFC 9112 sections 2.3, 3 and 4; RFC 3986).
 * Must not look at other fields. Pure; runs in every process that speaks HTTP.
 */
#include "common/http_parts.h"

#include "common/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#define HOST_MAX 255

static enum http_result read_version(struct http_head *head, struct strv text)
{
	if (text.n < 5 || memcmp(text.p, "HTTP/", 5) != 0)
		return HTTP_BAD_LINE;
	if (text.n != 8 || memcmp(text.p, "HTTP/1.", 7) != 0 ||
	    (text.p[7] != '0' && text.p[7] != '1'))
		return memchr(text.p, ' ', text.n) != NULL ? HTTP_BAD_LINE : HTTP_BAD_VERSION;
	head->minor = (unsigned)(text.p[7] - '0');
	return HTTP_DONE;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/*
 * Every '%' of a path begins an escape; what it stands for is for the caller to compare, byte for
 * byte.
 */
static bool escapes_are_whole(struct strv path)
{
	for (size_t i = 0; i < path.n; i++) {
		if (path.p[i] != '%')
			continue;
		if (path.n - i < 3 || !is_hex(path.p[i + 1]) || !is_hex(path.p[i + 2]))
			return false;
		i += 2;
	}
	return true;
}

/* The scheme and authority of an absolute form (RFC 9112 section 3.2.2), taken off *target. */
static enum http_result take_authority(struct http_head *head, struct strv *target)
{
	struct strv rest = *target;
	size_t n = 0;

	if (text_starts_nocase(rest, STRV("https://")))
		rest = (struct strv){ rest.p + 8, rest.n - 8 };
	else if (text_starts_nocase(rest, STRV("http://")))
		rest = (struct strv){ rest.p + 7, rest.n - 7 };
	else
		return HTTP_BAD_TARGET;
	while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
		n++;
	if (n == 0)
		return HTTP_BAD_TARGET;
	head->host = (struct strv){ rest.p, n }; /* http_host_value() compares it with Host */
	*target = (struct strv){ rest.p + n, rest.n - n };
	return HTTP_DONE;
}

static enum http_result read_target(struct http_head *head)
{
	struct strv rest = head->target;
	size_t n = 0;

	if (strv_eq(rest, STRV("*"))) {
		head->path = rest;
		return strv_eq(head->method, STRV("OPTIONS")) ? HTTP_DONE : HTTP_BAD_TARGET;
	}
	if (rest.p[0] != '/' && take_authority(head, &rest) != HTTP_DONE)
		return HTTP_BAD_TARGET;
	/* "//x" is a path here and an authority for many a URL library */
	if (rest.n == 0 || rest.p[0] != '/' || (rest.n > 1 && rest.p[1] == '/'))
		return HTTP_BAD_TARGET;
	while (n < rest.n && http_is(rest.p[n], HTTP_C_PATH))
		n++;
	head->path = (struct strv){ rest.p, n };
	if (n < rest.n && rest.p[n] != '?')
		return HTTP_BAD_TARGET;
	if (n < rest.n)
		head->query = (struct strv){ rest.p + n + 1, rest.n - n - 1 };
	return escapes_are_whole(head->path) ? HTTP_DONE : HTTP_BAD_TARGET;
}

enum http_result http_request_line(struct http_head *head, struct strv line)
{
	const char *p = line.p, *end = line.p + line.n;
	enum http_result r;

	while (p < end && http_is(*p, HTTP_C_TOKEN))
		p++;
	head->method = (struct strv){ line.p, (size_t)(p - line.p) };
	if (head->method.n == 0 || p == end || *p != ' ')
		return HTTP_BAD_LINE;
	head->target.p = ++p;
	while (p < end && http_is(*p, HTTP_C_QUERY))
		p++;
	head->target.n = (size_t)(p - head->target.p);
	if (p == end || head->target.n == 0)
		return HTTP_BAD_LINE;
	if (*p != ' ')
		return HTTP_BAD_TARGET;
	p++;
	r = read_version(head, (struct strv){ p, (size_t)(end - p) });
	return r == HTTP_DONE ? read_target(head) : r;
}

enum http_result http_status_line(struct http_head *head, struct strv line)
{
	struct strv text = line;
	uint64_t status;
	enum http_result r;

	r = read_version(head, (struct strv){ text.p, text.n < 8 ? text.n : 8 });
	if (r != HTTP_DONE)
		return r;
	/* the space behind the code stands even where no reason follows */
	if (text.n < 13 || text.p[8] != ' ' || text.p[12] != ' ' || text.p[9] < '1' ||
	    text.p[9] > '5' || text_u64((struct strv){ text.p + 9, 3 }, 599, &status) < 0)
		return HTTP_BAD_LINE;
	head->status = (unsigned)status;
	head->reason = (struct strv){ text.p + 13, text.n - 13 };
	if (http_skip_value(head->reason.p, text.p + text.n) != text.p + text.n)
		return HTTP_BAD_LINE;
	return HTTP_DONE;
}

/*
 * Length of the host at the start of `value`: a name, an IPv4 address or an IPv6 one in brackets.
 * 0: malformed.
 */
static size_t host_length(struct strv value)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr address;
	const char *close;
	size_t n = 0;

	if (value.n > 0 && value.p[0] == '[') {
		close = memchr(value.p, ']', value.n);
		if (close == NULL ||
		    text_copy(text, sizeof(text),
			(struct strv){ value.p + 1, (size_t)(close - value.p - 1) }) < 0 ||
		    inet_pton(AF_INET6, text, &address) != 1)
			return 0;
		return (size_t)(close - value.p + 1);
	}
	while (n < value.n && http_is(value.p[n], HTTP_C_HOST))
		n++;
	return n <= HOST_MAX ? n : 0;
}

enum http_result http_host_value(struct http_head *head, struct strv value)
{
	struct strv authority = head->host;
	size_t n = host_length(value);
	uint64_t port;

	if (n == 0)
		return HTTP_BAD_HOST;
	head->host = (struct strv){ value.p, n };
	head->has_port = n < value.n;
	if (head->has_port &&
	    (value.p[n] != ':' || value.n - n > 6 || value.p[n + 1] == '0' ||
		text_u64((struct strv){ value.p + n + 1, value.n - n - 1 }, 65535, &port) < 0))
		return HTTP_BAD_HOST;
	if (authority.p != NULL && !text_eq_nocase(authority, value))
		return HTTP_BAD_HOST;
	return HTTP_DONE;
}
