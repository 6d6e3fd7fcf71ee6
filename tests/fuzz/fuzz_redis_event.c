/*
 * What a hostile Redis answers: the bytes go through hiredis' reader into the event reader. Nothing without the right mac is authentic,
 * nothing that is not authentic lets anybody in, and the same entry lets in once at most.
 */
#include <hiredis/hiredis.h>

#include "common/redis.h"
#include "proxy/revocation/event.h"

#include "fuzz.h"

#define NOW 1800000000

static void check_event(const redisReply *fields)
{
	struct event_guard guard = { 0 };
	struct event_entry e, without;
	const char *why = NULL;

	if (event_read(fields, STRV("secret"), &e, &why) < 0) {
		FUZZ_CHECK(why != NULL);
		return;
	}
	FUZZ_CHECK(e.type != EVENT_UNKNOWN && e.serial.n <= SERIAL_MAX);
	FUZZ_CHECK(!e.has_serial || (e.serial.n > 0 && e.serial.byte[0] != 0));
	FUZZ_CHECK(event_read(fields, (struct strv){ NULL, 0 }, &without, &why) == 0 && !without.authentic);
	FUZZ_CHECK(event_may_let_in(&guard, &without, without.time, NOW) == EVENT_NO_MAC);
	if (event_may_let_in(&guard, &e, e.time, NOW) == EVENT_TAKEN) {
		FUZZ_CHECK(e.authentic && e.time > 0 && e.time <= NOW + 300);
		FUZZ_CHECK(event_may_let_in(&guard, &e, e.time, NOW) == EVENT_REPLAYED);
	}
}

static void walk(const redisReply *reply, unsigned depth)
{
	struct strv text;

	check_event(reply);
	redis_field(reply, STRV("loaded_at"), &text);
	if (reply->type != REDIS_REPLY_ARRAY || depth > 8)
		return;
	for (size_t i = 0; i < reply->elements && i < 64; i++)
		if (reply->element[i] != NULL)
			walk(reply->element[i], depth + 1);
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
		walk(reply, 0);
	freeReplyObject(reply);
out:
	redisReaderFree(reader);
	free(p);
	return 0;
}
