/*
 * http_parts: what http_head.c, http_line.c and http_chunk.c share: classes of characters, names of
 * fields, first lines. Not for others: they read heads by http_head.h.
 */
#ifndef EASGATE_HTTP_PARTS_H
#define EASGATE_HTTP_PARTS_H

#include "common/http_head.h"

enum {
	HTTP_C_TOKEN = 1, /* tchar, RFC 9110 section 5.6.2 */
	HTTP_C_PATH = 2,  /* pchar, "/" and "%", RFC 3986 section 3.3 */
	HTTP_C_QUERY = 4, /* visible ASCII but '#'; phones leave much unescaped */
	HTTP_C_HOST = 8,   /* letters, digits, "-", ".", "_" */
	HTTP_C_VALUE = 16, /* inside a field value: all but control bytes; HTAB is one of them */
};

/* Indexed by the byte as unsigned char. */
extern const uint8_t http_class[256];

static inline bool http_is(char c, unsigned class)
{
	return (http_class[(unsigned char)c] & class) != 0;
}

/* Known field names, in any case; HTTP_OTHER for the rest. */
enum http_name http_name_of(struct strv name);
/*
 * True for Content-Length and Transfer-Encoding with any punctuation, also none or more of it: what
 * another reader could take for them ("Content_Length" becomes the same variable of CGI). The names
 * themselves are asked for first.
 */
bool http_name_is_lookalike(struct strv name);

/*
 * First lines, without their CRLF. Fill method, target, path, query, minor and, for the absolute
 * form, `host` with the authority as sent; or minor, status, reason. HTTP_DONE or a refusal.
 */
enum http_result http_request_line(struct http_head *head, struct strv line);
enum http_result http_status_line(struct http_head *head, struct strv line);
/*
 * Checks a Host value and stores it in head->host and head->has_port, after comparing it with the
 * authority that http_request_line() left in head->host.
 */
enum http_result http_host_value(struct http_head *head, struct strv value);

/*
 * The first byte from p on (at most to `end`) that no field value may hold, HTAB allowed; `end` if
 * there is none.
 */
const char *http_skip_value(const char *p, const char *end);

#endif
