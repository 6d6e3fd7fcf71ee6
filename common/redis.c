/*
 * redis: the commands' side: sends, matches answers first in first out, keeps deadlines. Connecting is redis_connect.c's.
 * Runs in any process with a loop. A late answer finds nobody.
 */
#include "common/redis.h"

#include <event2/buffer.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/metrics.h"
#include "common/redis_parts.h"
#include "common/tls.h"

void redis_count(struct redis *r, const struct redis_metrics *metrics)
{
	if (r != NULL)
		r->metrics = metrics;
}

void redis_count_connection(const struct redis *r, enum redis_connection_end end)
{
	if (r->metrics != NULL)
		metrics_add(r->metrics->connections, end, 1);
}

/* A command's first outcome counts: a late answer was a timeout. p NULL: it was not sent. */
static void count(const struct redis *r, struct redis_pending *p, unsigned result)
{
	if (r->metrics != NULL && (p == NULL || !p->counted))
		metrics_add(r->metrics->commands, result, 1);
	if (p != NULL)
		p->counted = true;
}

static void free_command(const void *data, size_t n, void *arg)
{
	(void)data;
	/* AUTH passes here too. */
	OPENSSL_cleanse(arg, n);
	redisFreeCommand(arg);
}

static void on_timeout(struct deadline *d)
{
	struct redis_pending *p = CONTAINER_OF(d, struct redis_pending, deadline);
	struct redis *r = p->owner;
	redis_done_fn *done = p->done;
	bool silent = r->heard == p->heard;

	p->done = NULL;
	count(r, p, REDIS_TIMEOUT);
	if (done != NULL)
		done(p->arg, REDIS_TIMEOUT, NULL);
	/* Not a byte since the question: hung or cut off. Another connection, perhaps another master. */
	if (silent)
		redis_drop(r, "no answer within the time limit");
}

static struct redis_pending *push(struct redis *r, unsigned timeout_ms, redis_done_fn *done, void *arg)
{
	struct redis_pending *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->owner = r;
	p->number = ++r->next_number;
	p->heard = r->heard;
	p->done = done;
	p->arg = arg;
	*r->last = p;
	r->last = &p->next;
	r->pending++;
	deadline_arm(r->c.loop, &p->deadline, timeout_ms, on_timeout);
	return p;
}

static struct redis_pending *shift(struct redis *r)
{
	struct redis_pending *p = r->first;

	if (p == NULL)
		return NULL;
	r->first = p->next;
	if (r->first == NULL)
		r->last = &r->first;
	r->pending--;
	deadline_disarm(&p->deadline);
	return p;
}

uint64_t redis_send(struct redis *r, unsigned timeout_ms, redis_done_fn *done, void *arg, int argc,
    const char *const *argv, const size_t *lens)
{
	const char *args[REDIS_ARGS_MAX];
	struct redis_pending *p;
	char *command = NULL;
	long n;

	if (r->bev == NULL || r->pending >= REDIS_PENDING_MAX || argc < 1 || argc > REDIS_ARGS_MAX)
		return 0;
	memcpy(args, argv, (size_t)argc * sizeof(*args));
	n = (long)redisFormatCommandArgv(&command, argc, args, lens);
	if (n <= 0 || command == NULL)
		return 0;
	p = push(r, timeout_ms + r->c.patience_ms, done, arg);
	if (p == NULL) {
		free_command(command, (size_t)n, command);
		return 0;
	}
	if (evbuffer_add_reference(bufferevent_get_output(r->bev), command, (size_t)n, free_command, command) < 0) {
		/* The caller hears of it by the deadline, as of any lost command; the connection is of no more use. */
		free_command(command, (size_t)n, command);
		deadline_arm(r->c.loop, &p->deadline, 0, on_timeout);
	}
	return p->number;
}

uint64_t redis_command_within(struct redis *r, unsigned timeout_ms, redis_done_fn *done, void *arg, int argc,
    const char *const *argv, const size_t *lens)
{
	uint64_t number = 0;

	if (r == NULL)
		return 0;
	if (r->stage == REDIS_READY && !r->dropping)
		number = redis_send(r, timeout_ms, done, arg, argc, argv, lens);
	if (number == 0)
		count(r, NULL, REDIS_NOT_SENT);
	return number;
}

uint64_t redis_command(struct redis *r, redis_done_fn *done, void *arg, int argc, const char *const *argv,
    const size_t *lens)
{
	return r == NULL ? 0 : redis_command_within(r, r->c.settings->timeout_ms, done, arg, argc, argv, lens);
}

void redis_cancel(struct redis *r, uint64_t number)
{
	struct redis_pending *p;

	if (r == NULL || number == 0)
		return;
	for (p = r->first; p != NULL && p->number != number; p = p->next)
		;
	if (p != NULL)
		p->done = NULL;
}

/* Each is taken off before it hears of it: done may ask anew. */
void redis_answer_all_down(struct redis *r)
{
	struct redis_pending *p, *all = r->first;

	r->first = NULL;
	r->last = &r->first;
	r->pending = 0;
	for (p = all; p != NULL; p = p->next)
		deadline_disarm(&p->deadline);
	while ((p = all) != NULL) {
		all = p->next;
		count(r, p, REDIS_DOWN);
		if (p->done != NULL)
			p->done(p->arg, REDIS_DOWN, NULL);
		free(p);
	}
}

/* Errors that say that this server is of no use now, whatever the command was. */
static bool ends_connection(const redisReply *reply)
{
	static const char *const begin[] = { "READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "MOVED", "CLUSTERDOWN" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(begin); i++)
		if ((size_t)reply->len >= strlen(begin[i]) && memcmp(reply->str, begin[i], strlen(begin[i])) == 0)
			return true;
	return false;
}

/* False: the connection was dropped. */
static bool take_reply(struct redis *r, redisReply *reply)
{
	struct redis_pending *p = shift(r);
	struct bufferevent *bev = r->bev;
	char text[128] = "";

#ifdef REDIS_REPLY_PUSH
	/* We never ask for RESP3: nothing may come unasked. */
	if (p != NULL && reply->type == REDIS_REPLY_PUSH) {
		if (p->done != NULL)
			p->done(p->arg, REDIS_DOWN, NULL);
		free(p);
		p = NULL;
	}
#endif
	if (p == NULL) {
		freeReplyObject(reply);
		redis_drop(r, "an answer that nobody asked for");
		return false;
	}
	r->heard++;
	if (reply->type == REDIS_REPLY_ERROR && r->stage == REDIS_READY && ends_connection(reply))
		snprintf(text, sizeof(text), "%.*s", (int)(reply->len < 100 ? reply->len : 100), reply->str);
	count(r, p, reply->type == REDIS_REPLY_ERROR ? REDIS_ERROR : REDIS_ANSWER);
	if (p->done != NULL)
		p->done(p->arg, reply->type == REDIS_REPLY_ERROR ? REDIS_ERROR : REDIS_ANSWER, reply);
	free(p);
	freeReplyObject(reply);
	if (text[0] != '\0' && r->bev == bev)
		redis_drop(r, "%s", text);
	return r->bev == bev && bev != NULL;
}

void redis_on_read(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct redis *r = arg;
	char block[16384];
	void *reply;
	int n;

	while ((n = evbuffer_remove(in, block, sizeof(block))) > 0) {
		if (redisReaderFeed(r->reader, block, (size_t)n) != REDIS_OK)
			goto bad;
		for (;;) {
			if (redisReaderGetReply(r->reader, &reply) != REDIS_OK)
				goto bad;
			if (reply == NULL)
				break;
			r->elements = 0;
			if (!take_reply(r, reply))
				return;
		}
		if (r->reader->len > REDIS_REPLY_BYTES_MAX) {
			redis_drop(r, "a reply longer than %u bytes", REDIS_REPLY_BYTES_MAX);
			return;
		}
	}
	return;
bad:
	redis_drop(r, "what it answers is not the Redis protocol, or too much (%.100s)", r->reader->errstr);
}

bool redis_is_up(const struct redis *r)
{
	return r != NULL && r->stage == REDIS_READY;
}

const char *redis_problem(const struct redis *r)
{
	return redis_is_up(r) ? "" : r->problem;
}

struct redis *redis_new(const struct redis_config *config, char *why, size_t why_size)
{
	struct redis *r = calloc(1, sizeof(*r));

	if (r == NULL) {
		snprintf(why, why_size, "out of memory");
		return NULL;
	}
	r->c = *config;
	r->c.password = r->c.ca_pem = (struct strv){ 0 };
	r->last = &r->first;
	snprintf(r->problem, sizeof(r->problem), "not connected yet");
	if (config->settings->servers_count == 0) {
		snprintf(why, why_size, "redis.servers is empty");
		goto fail;
	}
	if (config->password.n > 0) {
		r->password = OPENSSL_malloc(config->password.n);
		if (r->password == NULL)
			goto memory;
		memcpy(r->password, config->password.p, config->password.n);
		r->password_n = config->password.n;
	}
	if (config->settings->tls) {
		r->tls = tls_client_ctx_new(config->ca_pem, why, why_size);
		if (r->tls == NULL)
			goto fail;
	}
	redis_connect(r);
	return r;
memory:
	snprintf(why, why_size, "out of memory");
fail:
	redis_free(r);
	return NULL;
}

void redis_free(struct redis *r)
{
	struct redis_pending *p;

	if (r == NULL)
		return;
	deadline_disarm(&r->retry);
	deadline_disarm(&r->limit);
	deadline_disarm(&r->health);
	while ((p = shift(r)) != NULL)
		free(p);
	if (r->bev != NULL)
		bufferevent_free(r->bev);
	redis_reader_free(r);
	if (r->dns != NULL)
		evdns_base_free(r->dns, 0);
	SSL_CTX_free(r->tls);
	if (r->password != NULL)
		OPENSSL_clear_free(r->password, r->password_n);
	free(r);
}
