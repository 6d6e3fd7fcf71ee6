/*
 * basic: reads HTTP Basic credentials and asks for them; checks none. Worker of easenroll.
 */
#include "enroll/worker/basic.h"

#include "common/text.h"

bool basic_read(const struct http_request *r, struct basic *out)
{
	struct strv value = http_request_field(r, "Authorization"), rest;
	long n;

	out->user = out->password = (struct strv){ NULL, 0 };
	if (r->way != HTTP_WAY_TLS || !text_starts_nocase(value, STRV("Basic ")))
		return false;
	rest = text_trim((struct strv){ value.p + 6, value.n - 6 });
	n = text_base64_decode(out->text, sizeof(out->text), rest);
	if (n <= 0)
		return false;
	rest = (struct strv){ out->text, (size_t)n };
	out->user = text_split(&rest, ':');
	if (rest.p == NULL || !text_is_clean(out->user) || !text_is_clean(rest))
		return false;
	out->password = rest;
	return out->user.n + rest.n > 0;
}

void basic_demand(struct http_request *r, const char *realm)
{
	http_reply_field(r, "WWW-Authenticate", "Basic realm=\"%s\", charset=\"UTF-8\"", realm);
	http_reply_text(r, 401, "a user name and password, please\n");
}
