/*
 * redis_reply: hiredis' protocol reader with bounds, and length-safe reading of its replies. Sends nothing.
 */
#include "common/redis_parts.h"

#if HIREDIS_MAJOR >= 1
typedef size_t array_size;
#else
typedef int array_size;
#endif

/* The deepest that we ask for are a stream's entries: 5. hiredis 0.14 ends at 7 by itself, 1.x nowhere, and frees by recursion. */
#define DEPTH_MAX 7

static unsigned depth(const redisReadTask *task)
{
	unsigned n = 0;

	for (; task != NULL && n <= DEPTH_MAX; task = task->parent)
		n++;
	return n;
}

/* hiredis reserves memory for as many elements as the server announces: this is where an announcement is too much. */
static void *bounded_array(const redisReadTask *task, array_size n)
{
	struct redis *r = task->privdata;

	if (depth(task) > DEPTH_MAX || (long long)n < 0 || (size_t)n > REDIS_REPLY_ELEMENTS_MAX - r->elements)
		return NULL;
	r->elements += (size_t)n;
	return r->plain->createArray(task, n);
}

int redis_reader_new(struct redis *r)
{
	r->reader = redisReaderCreate();
	if (r->reader == NULL)
		return -1;
	r->plain = r->reader->fn;
	r->fn = *r->plain;
	r->fn.createArray = bounded_array;
	r->reader->fn = &r->fn;
	r->reader->privdata = r;
	r->elements = 0;
	return 0;
}

void redis_reader_free(struct redis *r)
{
	if (r->reader != NULL)
		redisReaderFree(r->reader);
	r->reader = NULL;
}

bool redis_text(const redisReply *reply, struct strv *out)
{
	if (reply == NULL || (reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_STATUS) || reply->str == NULL)
		return false;
	*out = (struct strv){ reply->str, (size_t)reply->len };
	return true;
}

bool redis_field(const redisReply *reply, struct strv field, struct strv *out)
{
	struct strv name, value;
	bool found = false;
	size_t i;

	if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements % 2 != 0)
		return false;
	for (i = 0; i < reply->elements; i += 2) {
		if (!redis_text(reply->element[i], &name) || !strv_eq(name, field))
			continue;
		if (found || !redis_text(reply->element[i + 1], &value))
			return false;
		found = true;
		*out = value;
	}
	return found;
}
