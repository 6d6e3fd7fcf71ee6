/*
 * ActiveSync queries: what was accepted holds only what its fields may hold, means the same when
 * its base64 is percent-escaped, and the same with a parameter more that nobody knows.
 */
#include "proxy/worker/eas_query.h"

#include "common/text.h"
#include "fuzz.h"

static void check_fields(const struct eas_query *q)
{
	FUZZ_CHECK((unsigned)q->command < EAS_COMMANDS);
	FUZZ_CHECK(
	    memchr(q->user, '\0', sizeof(q->user)) != NULL && text_is_clean(strv_from(q->user)));
	FUZZ_CHECK(memchr(q->device_type, '\0', sizeof(q->device_type)) != NULL);
	FUZZ_CHECK(text_is_clean(strv_from(q->device_type)));
	FUZZ_CHECK(q->device_id[0] != '\0' && strlen(q->device_id) <= 64);
	FUZZ_CHECK(strspn(q->device_id,
		       "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-") ==
	    strlen(q->device_id));
	FUZZ_CHECK(!q->base64 || (q->command != EAS_NONE && q->version >= 121));
	FUZZ_CHECK(q->has_policy_key || q->policy_key == 0);
}

static void check_equal(const struct eas_query *a, const struct eas_query *b)
{
	FUZZ_CHECK(a->command == b->command && a->base64 == b->base64 && a->version == b->version);
	FUZZ_CHECK(strcmp(a->user, b->user) == 0 && strcmp(a->device_id, b->device_id) == 0);
	FUZZ_CHECK(strcmp(a->device_type, b->device_type) == 0 && a->policy_key == b->policy_key);
}

/*
 * Every '+', '/' and '=' that is not escaped yet becomes an escape; a plain query gets another
 * parameter.
 */
static struct strv other_form(const struct eas_query *q, struct strv query)
{
	char *out = malloc(3 * query.n + 8);
	size_t n = 0;

	FUZZ_CHECK(out != NULL);
	for (size_t i = 0; i < query.n; i++) {
		char c = query.p[i];

		if (q->base64 && (c == '+' || c == '/' || c == '='))
			n += (size_t)sprintf(out + n, "%%%02x", (unsigned)c);
		else
			out[n++] = c;
	}
	if (!q->base64)
		n += (size_t)sprintf(out + n, "&x=%%00");
	return (struct strv){ out, n };
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *p = fuzz_exact(bytes, n);
	struct strv query = { p, n }, name, domain, other;
	struct eas_query q, again;

	if (eas_query_read(&q, query) == EAS_QUERY_OK) {
		check_fields(&q);
		other = other_form(&q, query);
		FUZZ_CHECK(eas_query_read(&again, other) == EAS_QUERY_OK);
		check_equal(&q, &again);
		free((char *)(uintptr_t)other.p);
	}
	eas_user_split(query, &name, &domain);
	FUZZ_CHECK(name.n + domain.n <= n);
	free(p);
	return 0;
}
