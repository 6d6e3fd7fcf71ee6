/*
 * http_name: the classes of characters, and which field names the programs know.
 * Must not read heads. Pure; runs in every process that speaks HTTP.
 */
#include "common/http_parts.h"

#define DIGIT(c) ((c) >= '0' && (c) <= '9')
#define LETTER(c) (((c) >= 'a' && (c) <= 'z') || ((c) >= 'A' && (c) <= 'Z'))
#define ALNUM(c) (DIGIT(c) || LETTER(c))

#define TOKEN(c)                                                                                   \
	(ALNUM(c) || (c) == '!' || (c) == '#' || (c) == '$' || (c) == '%' || (c) == '&' ||         \
	    (c) == '\'' || (c) == '*' || (c) == '+' || (c) == '-' || (c) == '.' || (c) == '^' ||   \
	    (c) == '_' || (c) == '`' || (c) == '|' || (c) == '~')
#define PATH(c)                                                                                    \
	(ALNUM(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~' || (c) == '!' ||         \
	    (c) == '$' || (c) == '&' || (c) == '\'' || (c) == '(' || (c) == ')' || (c) == '*' ||   \
	    (c) == '+' || (c) == ',' || (c) == ';' || (c) == '=' || (c) == ':' || (c) == '@' ||    \
	    (c) == '/' || (c) == '%')
#define QUERY(c) ((c) > 0x20 && (c) < 0x7f && (c) != '#')
#define HOST(c) (ALNUM(c) || (c) == '-' || (c) == '.' || (c) == '_')
#define VALUE(c) (((c) >= 0x20 && (c) != 0x7f) || (c) == '\t')

#define CLASS(c)                                                                                   \
	((TOKEN(c) ? HTTP_C_TOKEN : 0) | (PATH(c) ? HTTP_C_PATH : 0) |                             \
	    (QUERY(c) ? HTTP_C_QUERY : 0) | (HOST(c) ? HTTP_C_HOST : 0) |                          \
	    (VALUE(c) ? HTTP_C_VALUE : 0))
#define ROW4(c) CLASS(c), CLASS((c) + 1), CLASS((c) + 2), CLASS((c) + 3)
#define ROW16(c) ROW4(c), ROW4((c) + 4), ROW4((c) + 8), ROW4((c) + 12)
#define ROW64(c) ROW16(c), ROW16((c) + 16), ROW16((c) + 32), ROW16((c) + 48)

const uint8_t http_class[256] = { ROW64(0), ROW64(64), ROW64(128), ROW64(192) };

bool http_is_token(struct strv text)
{
	for (size_t i = 0; i < text.n; i++) {
		if (!http_is(text.p[i], HTTP_C_TOKEN))
			return false;
	}
	return text.n > 0;
}

/*
 * `lower` has only letters and '-'. Among token characters, setting bit 5 makes none of those out
 * of anything else, so no table is needed to fold case.
 */
static inline bool same(const char *p, const char *lower, size_t n)
{
	unsigned differ = 0;

	for (size_t i = 0; i < n; i++)
		differ |= (unsigned)((p[i] | 0x20) ^ lower[i]);
	return differ == 0;
}

#define IS(literal) (same(p, literal, sizeof(literal) - 1))

/* One function a range of lengths: each name is compared only where its length fits. */
static enum http_name short_name(const char *p, size_t n)
{
	switch (n) {
	case 2: return IS("te") ? HTTP_TE : HTTP_OTHER;
	case 3: return IS("via") ? HTTP_VIA : HTTP_OTHER;
	case 4: return IS("host") ? HTTP_HOST : IS("date") ? HTTP_DATE : HTTP_OTHER;
	case 6:
		return IS("cookie") ? HTTP_COOKIE :
		    IS("expect")    ? HTTP_EXPECT :
		    IS("server")    ? HTTP_SERVER :
				      HTTP_OTHER;
	case 7: return IS("upgrade") ? HTTP_UPGRADE : IS("trailer") ? HTTP_TRAILER : HTTP_OTHER;
	case 8: return IS("location") ? HTTP_LOCATION : HTTP_OTHER;
	case 9: return IS("forwarded") ? HTTP_FORWARDED : HTTP_OTHER;
	case 10:
		return IS("connection") ? HTTP_CONNECTION :
		    IS("user-agent")    ? HTTP_USER_AGENT :
		    IS("set-cookie")    ? HTTP_SET_COOKIE :
		    IS("keep-alive")    ? HTTP_KEEP_ALIVE :
					  HTTP_OTHER;
	default: return HTTP_OTHER;
	}
}

static enum http_name long_name(const char *p, size_t n)
{
	switch (n) {
	case 11: return IS("retry-after") ? HTTP_RETRY_AFTER : HTTP_OTHER;
	case 12: return IS("content-type") ? HTTP_CONTENT_TYPE : HTTP_OTHER;
	case 13:
		return IS("authorization") ? HTTP_AUTHORIZATION :
		    IS("x-ms-location")    ? HTTP_X_MS_LOCATION :
					     HTTP_OTHER;
	case 14:
		return IS("content-length") ? HTTP_CONTENT_LENGTH :
		    IS("x-ms-policykey")    ? HTTP_X_MS_POLICYKEY :
					      HTTP_OTHER;
	case 16:
		return IS("www-authenticate") ? HTTP_WWW_AUTHENTICATE :
		    IS("proxy-connection")    ? HTTP_PROXY_CONNECTION :
						HTTP_OTHER;
	case 17: return IS("transfer-encoding") ? HTTP_TRANSFER_ENCODING : HTTP_OTHER;
	case 18: return IS("proxy-authenticate") ? HTTP_PROXY_AUTHENTICATE : HTTP_OTHER;
	case 19: return IS("proxy-authorization") ? HTTP_PROXY_AUTHORIZATION : HTTP_OTHER;
	case 20: return IS("ms-asprotocolversion") ? HTTP_MS_ASPROTOCOLVERSION : HTTP_OTHER;
	default: return HTTP_OTHER;
	}
}

enum http_name http_name_of(struct strv name)
{
	return name.n <= 10 ? short_name(name.p, name.n) : long_name(name.p, name.n);
}

/* The letters and digits of `name` alone, in any case. */
static bool alike(struct strv name, struct strv lower)
{
	size_t at = 0;

	for (size_t i = 0; i < name.n; i++) {
		if (!ALNUM(name.p[i]))
			continue;
		if (at == lower.n || (name.p[i] | 0x20) != lower.p[at++])
			return false;
	}
	return at == lower.n;
}

bool http_name_is_lookalike(struct strv name)
{
	return alike(name, STRV("contentlength")) || alike(name, STRV("transferencoding"));
}
