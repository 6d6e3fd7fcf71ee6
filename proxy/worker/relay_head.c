/*
 * relay_head: copies a head field by field, without what must not cross. Worker process.
 */
#include "proxy/worker/relay_head.h"

#include "common/text.h"

/* CGI and its heirs make one variable of a name, whatever punctuation stands in it: X+EAS+User is HTTP_X_EAS_USER for some of them. */
static char fold(char c)
{
	c = text_lower_char(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-';
}

static bool starts_folded(struct strv name, struct strv prefix)
{
	if (name.n < prefix.n)
		return false;
	for (size_t i = 0; i < prefix.n; i++) {
		if (fold(name.p[i]) != prefix.p[i])
			return false;
	}
	return true;
}

static bool equals_folded(struct strv name, struct strv other)
{
	if (name.n != other.n)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		if (fold(name.p[i]) != fold(other.p[i]))
			return false;
	}
	return true;
}

/* In lower case with '-': what mail servers and the proxies before them take somebody's identity or address from. */
static const struct strv dropped_prefixes[] = {
	{ "x-forward", 9 }, { "x-original", 10 }, { "x-remote", 8 }, { "x-real-ip", 9 }, { "x-webobjects", 12 }, { "x-ssl", 5 },
	{ "x-client", 8 }, { "x-user", 6 }, { "x-eas-", 6 }, { "x-rewrite-url", 13 }, { "x-http-method", 13 }, { "x-auth", 6 },
	{ "x-webauth", 9 }, { "x-proxy", 7 }, { "x-arr-", 6 }, { "x-cluster-client", 16 }, { "x-common-access-token", 21 },
	{ "x-commonaccesstoken", 19 }, { "x-explicitlogonuser", 19 }, { "x-host", 6 }, { "ssl-", 4 }, { "proxy-", 6 }, { "remote-", 7 },
	{ "client-cert", 11 },
};
static const struct strv dropped_names[] = {
	{ "authorization", 13 }, { "forwarded", 9 }, { "front-end-https", 15 }, { "true-client-ip", 14 }, { "client-ip", 9 },
	{ "cf-connecting-ip", 16 }, { "transfer-encoding", 17 }, { "content-length", 14 }, { "host", 4 },
};

/* Looking at the first letter spares most fields the walk. */
static bool maybe_dropped(struct strv name)
{
	char c = name.n > 0 ? fold(name.p[0]) : 'x';

	return c == 'x' || c == 's' || c == 'f' || c == 'p' || c == 'r' || c == 'a' || c == 't' || c == 'c' || c == 'h';
}

bool relay_drops_request_field(const struct http_field *field, struct strv trusted_name)
{
	struct strv name = field->name;

	if (trusted_name.n > 0 && equals_folded(name, trusted_name))
		return true;
	if (!maybe_dropped(name))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(dropped_prefixes); i++) {
		if (starts_folded(name, dropped_prefixes[i]))
			return true;
	}
	for (size_t i = 0; i < ARRAY_LEN(dropped_names); i++) {
		if (equals_folded(name, dropped_names[i]))
			return true;
	}
	return false;
}

/* Hop-by-hop (RFC 9110 §7.6.1) and framing: made anew on each side. */
static bool is_hop(enum http_name id)
{
	switch (id) {
	case HTTP_CONNECTION:
	case HTTP_KEEP_ALIVE:
	case HTTP_PROXY_CONNECTION:
	case HTTP_TE:
	case HTTP_TRAILER:
	case HTTP_UPGRADE:
	case HTTP_TRANSFER_ENCODING:
	case HTTP_CONTENT_LENGTH:
	case HTTP_PROXY_AUTHORIZATION:
	case HTTP_PROXY_AUTHENTICATE:
		return true;
	default:
		return false;
	}
}

static int put_field(struct buffer *out, struct strv name, struct strv value)
{
	size_t got, n = name.n + value.n + 4;
	char *p = buffer_reserve(out, n, &got);

	if (p == NULL)
		return -1;
	memcpy(p, name.p, name.n);
	p += name.n;
	*p++ = ':';
	*p++ = ' ';
	if (value.n > 0)
		memcpy(p, value.p, value.n);
	p += value.n;
	*p++ = '\r';
	*p++ = '\n';
	buffer_added(out, n);
	return 0;
}

static int put_framing(struct buffer *out, enum http_body body, uint64_t length)
{
	if (body == HTTP_BODY_CHUNKED)
		return buffer_addv(out, STRV("Transfer-Encoding: chunked\r\n"));
	if (body == HTTP_BODY_LENGTH)
		return buffer_printf(out, "Content-Length: %llu\r\n", (unsigned long long)length);
	return 0;
}

static int put_identity(struct buffer *out, const struct relay_identity *id)
{
	if (id->trusted_value.n > 0 && put_field(out, id->trusted_name, id->trusted_value) < 0)
		return -1;
	if (id->authorization.n > 0 && put_field(out, STRV("Authorization"), id->authorization) < 0)
		return -1;
	return put_field(out, STRV("X-Forwarded-For"), strv_from(id->client)) < 0 ||
		put_field(out, STRV("X-Forwarded-Host"), strv_from(id->public_host)) < 0 ||
		buffer_addv(out, STRV("X-Forwarded-Proto: https\r\n")) < 0 ? -1 : 0;
}

int relay_request_head(struct buffer *out, const struct http_head *head, const struct relay_identity *id)
{
	bool has_connection = http_find(head, HTTP_CONNECTION) != NULL;

	if (buffer_addv(out, head->method) < 0 || buffer_add(out, " ", 1) < 0 ||
	    /* origin-form: the path with its query, as sent (an absolute target's authority equals Host and goes) */
	    buffer_add(out, head->path.p, (size_t)(head->target.p + head->target.n - head->path.p)) < 0 ||
	    buffer_addv(out, STRV(" HTTP/1.1\r\n")) < 0 || put_field(out, STRV("Host"), strv_from(id->host)) < 0)
		return -1;
	for (size_t i = 0; i < head->fields; i++) {
		const struct http_field *f = &head->field[i];
		if (is_hop(f->id) || f->id == HTTP_HOST || f->id == HTTP_EXPECT)
			continue;
		if (f->id == HTTP_AUTHORIZATION && id->pass_authorization) {
			if (put_field(out, f->name, f->value) < 0)
				return -1;
			continue;
		}
		if (relay_drops_request_field(f, id->trusted_name) || (has_connection && http_is_connection_option(head, f->name)))
			continue;
		if (put_field(out, f->name, f->value) < 0)
			return -1;
	}
	if (put_identity(out, id) < 0 || put_framing(out, head->body, head->length) < 0)
		return -1;
	return buffer_addv(out, STRV("\r\n"));
}

/* "host:port", "[v6]:port" → host, v6 */
static struct strv without_port(struct strv host)
{
	const char *end = host.n > 0 && host.p[0] == '[' ? memchr(host.p, ']', host.n) : NULL;

	if (end != NULL)
		return (struct strv){ host.p + 1, (size_t)(end - host.p - 1) };
	return text_split(&host, ':');
}

static bool is_ours(struct strv host, const struct relay_answer *a)
{
	for (size_t i = 0; i < a->upstream_names_n; i++) {
		if (text_eq_nocase(host, a->upstream_names[i]))
			return true;
	}
	return false;
}

/* https://ex1.corp.example[:port]/path → https://<public host>/path; another host (a hybrid move) passes as it is. */
static int put_location(struct buffer *out, const struct http_field *f, const struct relay_answer *a)
{
	struct strv rest = f->value, host;
	size_t scheme = 0, end;

	if (text_starts_nocase(rest, STRV("https://")))
		scheme = 8;
	else if (text_starts_nocase(rest, STRV("http://")))
		scheme = 7;
	else
		return put_field(out, f->name, f->value);
	for (end = scheme; end < rest.n && rest.p[end] != '/' && rest.p[end] != '?' && rest.p[end] != '#'; end++)
		;
	host = (struct strv){ rest.p + scheme, end - scheme };
	host = without_port(host);
	if (!is_ours(host, a))
		return put_field(out, f->name, f->value);
	return buffer_addv(out, f->name) < 0 || buffer_addv(out, STRV(": https://")) < 0 ||
		buffer_addv(out, strv_from(a->public_host)) < 0 ||
		buffer_add(out, rest.p + end, rest.n - end) < 0 || buffer_addv(out, STRV("\r\n")) < 0 ? -1 : 0;
}

int relay_response_head(struct buffer *out, const struct http_head *head, const struct relay_answer *answer)
{
	bool has_connection = http_find(head, HTTP_CONNECTION) != NULL;

	if (buffer_printf(out, "HTTP/1.1 %u ", head->status) < 0 || buffer_addv(out, head->reason) < 0 ||
	    buffer_addv(out, STRV("\r\n")) < 0)
		return -1;
	for (size_t i = 0; i < head->fields; i++) {
		const struct http_field *f = &head->field[i];
		int rc;
		if (is_hop(f->id) || (has_connection && http_is_connection_option(head, f->name)))
			continue;
		if (answer->no_challenge && f->id == HTTP_WWW_AUTHENTICATE)
			continue;
		rc = f->id == HTTP_X_MS_LOCATION || f->id == HTTP_LOCATION ? put_location(out, f, answer) : put_field(out, f->name, f->value);
		if (rc < 0)
			return -1;
	}
	if (put_framing(out, answer->chunked ? HTTP_BODY_CHUNKED : head->body == HTTP_BODY_LENGTH ? HTTP_BODY_LENGTH : HTTP_BODY_NONE,
		head->length) < 0)
		return -1;
	if (answer->close && buffer_addv(out, STRV("Connection: close\r\n")) < 0)
		return -1;
	return buffer_addv(out, STRV("\r\n"));
}
