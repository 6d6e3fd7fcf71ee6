/*
 * What a hostile Redis answers about switched groups, through hiredis' reader. Nothing is taken in half, no name counts that does not stand
 * there byte for byte, and nothing goes beyond the bound.
 */
#include <hiredis/hiredis.h>

#include "common/redis.h"
#include "proxy/worker/switch_list.h"

#include "fuzz.h"

static const char *const groups[] = { "CN=Sales,DC=corp", "CN=Sales", "x" };

/* The same question, asked without the reader under test. */
static bool stands_there(const redisReply *reply, const char *dn)
{
	for (size_t i = 0; i + 1 < reply->elements && i / 2 < SWITCHES_MAX; i += 2) {
		const redisReply *field = reply->element[i];
		if (field->len == strlen(dn) && memcmp(field->str, dn, field->len) == 0)
			return true;
	}
	return false;
}

static void check(const redisReply *reply)
{
	struct switch_list list;
	uint64_t mask;
	bool more;

	if (switch_list_read(&list, reply, &more) < 0) {
		FUZZ_CHECK(list.dn == NULL && list.n == 0 && !more);
		return;
	}
	FUZZ_CHECK(reply->type == REDIS_REPLY_ARRAY && list.n <= SWITCHES_MAX && list.n <= reply->elements / 2);
	FUZZ_CHECK(more == (reply->elements / 2 > SWITCHES_MAX));
	mask = switch_list_mask(&list, groups, ARRAY_LEN(groups));
	for (unsigned i = 0; i < ARRAY_LEN(groups); i++)
		FUZZ_CHECK((mask >> i & 1) == stands_there(reply, groups[i]));
	FUZZ_CHECK(mask >> ARRAY_LEN(groups) == 0);
	switch_list_clear(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	redisReader *reader = redisReaderCreate();
	char *p = fuzz_exact(bytes, n);
	void *reply = NULL;

	FUZZ_CHECK(reader != NULL);
	/* The bound on announced arrays is test_redis' subject: here large ones would only cost the fuzzer its memory. */
	for (size_t i = 0, digits = 0; i < n; i++) {
		digits = p[i] >= '0' && p[i] <= '9' ? digits + 1 : 0;
		if (digits > 4 && i >= digits && p[i - digits] == '*')
			goto out;
	}
	if (redisReaderFeed(reader, p, n) == REDIS_OK && redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL)
		check(reply);
	freeReplyObject(reply);
out:
	redisReaderFree(reader);
	free(p);
	return 0;
}
