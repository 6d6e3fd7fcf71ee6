/*
 * stranger: counts what was wrong by address, as the lockout process does it for passwords. Worker of easenroll.
 */
#include "enroll/worker/stranger.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "common/lockout/share.h"
#include "enroll/worker/sign_in.h"

#define SHARE_SECONDS 1800 /* where lockout.window_seconds names none */

struct strangers {
	struct loop *loop;
	const struct config_lockout *config;
	struct share *share;
	uint8_t key[LOCKOUT_KEY];
};

struct strangers *strangers_new(struct loop *loop, const struct config_lockout *config)
{
	struct strangers *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->loop = loop;
	s->config = config;
	s->share = share_new();
	if (s->share != NULL && RAND_bytes(s->key, sizeof(s->key)) == 1)
		return s;
	strangers_free(s);
	return NULL;
}

void strangers_free(struct strangers *s)
{
	if (s == NULL)
		return;
	share_free(s->share);
	OPENSSL_cleanse(s->key, sizeof(s->key));
	free(s);
}

static int tag_of(const struct strangers *s, const char *client, uint8_t out[LOCKOUT_TAG])
{
	char name[LOCKOUT_ADDRESS_MAX], address[LOCKOUT_ADDRESS_MAX];

	sign_in_address(client, name);
	lockout_address(name, address, sizeof(address));
	return lockout_address_tag(s->key, address, out);
}

static uint32_t window_of(const struct strangers *s)
{
	return s->config->window_seconds != 0 ? s->config->window_seconds : SHARE_SECONDS;
}

unsigned strangers_wait(struct strangers *s, const char *client)
{
	int64_t now = (int64_t)(loop_now_ms(s->loop) / 1000), until = now;
	uint8_t tag[LOCKOUT_TAG];

	if (tag_of(s, client, tag) < 0)
		return 1;
	if (share_count(s->share, SHARE_ADDRESS, tag, window_of(s), now, &until) < s->config->address_attempts)
		return 0;
	return until > now ? (unsigned)(until - now) : 1;
}

void strangers_add(struct strangers *s, const char *client)
{
	uint8_t tag[LOCKOUT_TAG];

	if (tag_of(s, client, tag) == 0)
		share_add(s->share, SHARE_ADDRESS, tag, window_of(s), (int64_t)(loop_now_ms(s->loop) / 1000));
}
