/*
 * session_store: a hash table and a list by age. Knows no HTTP and asks nobody. Worker process.
 */
#include "enroll/worker/session_store.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

#define SLOTS 1024

struct session_store {
	struct session_limits limits;
	uint8_t key[SHA256_SIZE]; /* of the CSRF tokens */
	struct session *slot[SLOTS];
	struct session *newest, *oldest; /* by when they began */
	unsigned count;
};

struct session_store *session_store_new(const struct session_limits *limits)
{
	struct session_store *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->limits = *limits;
	if (RAND_bytes(s->key, sizeof(s->key)) != 1) {
		free(s);
		return NULL;
	}
	return s;
}

void session_store_free(struct session_store *s)
{
	if (s == NULL)
		return;
	while (s->oldest != NULL)
		session_end(s, s->oldest);
	OPENSSL_cleanse(s->key, sizeof(s->key));
	free(s);
}

/* False: no possible id. */
static bool hash_of(struct strv id, uint8_t out[SHA256_SIZE])
{
	uint8_t raw[SHA256_SIZE];

	if (id.n != SESSION_ID_SIZE - 1 || text_unhex(raw, sizeof(raw), id) < 0)
		return false;
	SHA256(raw, sizeof(raw), out);
	OPENSSL_cleanse(raw, sizeof(raw));
	return true;
}

static struct session **slot_of(struct session_store *s, const uint8_t hash[SHA256_SIZE])
{
	return &s->slot[(hash[0] | hash[1] << 8) % SLOTS];
}

static bool is_over(const struct session_store *s, const struct session *session, int64_t now)
{
	return now - session->used >= s->limits.idle_seconds ||
	    now - session->began >= s->limits.whole_seconds || now < session->began;
}

static void make_room(struct session_store *s, const char *sid, int64_t now)
{
	struct session *first = NULL;
	unsigned own = 0;

	session_tidy(s, now);
	for (struct session *at = s->newest; at != NULL; at = at->older) {
		if (strcmp(at->account.sid, sid) == 0) {
			own++;
			first = at;
		}
	}
	if (own >= s->limits.per_account && first != NULL)
		session_end(s, first);
	if (s->count >= s->limits.sessions && s->oldest != NULL)
		session_end(s, s->oldest);
}

struct session *session_begin(struct session_store *s, const struct account *account,
    const char *client, int64_t now, char id[SESSION_ID_SIZE])
{
	struct session *session, **slot;
	uint8_t raw[SHA256_SIZE];

	make_room(s, account->sid, now);
	session = calloc(1, sizeof(*session));
	if (session == NULL || RAND_bytes(raw, sizeof(raw)) != 1) {
		free(session);
		return NULL;
	}
	text_hex(id, raw, sizeof(raw));
	SHA256(raw, sizeof(raw), session->hash);
	OPENSSL_cleanse(raw, sizeof(raw));
	session->account = *account;
	session->began = session->used = session->checked = now;
	snprintf(session->client, sizeof(session->client), "%s", client);
	slot = slot_of(s, session->hash);
	session->next = *slot;
	*slot = session;
	session->older = s->newest;
	if (s->newest != NULL)
		s->newest->newer = session;
	else
		s->oldest = session;
	s->newest = session;
	s->count++;
	return session;
}

struct session *session_find(struct session_store *s, struct strv id, int64_t now)
{
	uint8_t hash[SHA256_SIZE];
	struct session *at;

	if (!hash_of(id, hash))
		return NULL;
	for (at = *slot_of(s, hash); at != NULL; at = at->next) {
		if (CRYPTO_memcmp(at->hash, hash, sizeof(hash)) == 0)
			break;
	}
	if (at == NULL)
		return NULL;
	if (is_over(s, at, now)) {
		session_end(s, at);
		return NULL;
	}
	at->used = now;
	return at;
}

void session_end(struct session_store *s, struct session *session)
{
	struct session **at = slot_of(s, session->hash);

	while (*at != session)
		at = &(*at)->next;
	*at = session->next;
	if (session->newer != NULL)
		session->newer->older = session->older;
	else
		s->newest = session->older;
	if (session->older != NULL)
		session->older->newer = session->newer;
	else
		s->oldest = session->newer;
	s->count--;
	OPENSSL_cleanse(session, sizeof(*session));
	free(session);
}

void session_end_account(struct session_store *s, const char *sid)
{
	struct session *older;

	for (struct session *at = s->newest; at != NULL; at = older) {
		older = at->older;
		if (strcmp(at->account.sid, sid) == 0)
			session_end(s, at);
	}
}

void session_tidy(struct session_store *s, int64_t now)
{
	struct session *older;

	for (struct session *at = s->newest; at != NULL; at = older) {
		older = at->older;
		if (is_over(s, at, now))
			session_end(s, at);
	}
}

void session_csrf(const struct session_store *s, struct strv id, char out[SESSION_CSRF_SIZE])
{
	uint8_t mac[SHA256_SIZE];
	unsigned int n = sizeof(mac);

	if (HMAC(EVP_sha256(), s->key, sizeof(s->key), (const uint8_t *)id.p, id.n, mac, &n) ==
	    NULL)
		bug("no HMAC");
	text_hex(out, mac, sizeof(mac));
}

bool session_csrf_is(const struct session_store *s, struct strv id, struct strv token)
{
	char wanted[SESSION_CSRF_SIZE];

	session_csrf(s, id, wanted);
	return token.n == sizeof(wanted) - 1 && CRYPTO_memcmp(token.p, wanted, token.n) == 0;
}

void session_doubt(struct session_store *s, const char *sid)
{
	for (struct session *at = s->newest; at != NULL; at = at->older) {
		if (sid[0] == '\0' || strcmp(at->account.sid, sid) == 0)
			at->doubt = true;
	}
}

struct session *session_to_check(struct session_store *s, int64_t before)
{
	for (struct session *at = s->oldest; at != NULL; at = at->newer) {
		if (at->doubt)
			return at;
	}
	for (struct session *at = s->oldest; at != NULL; at = at->newer) {
		if (at->checked < before)
			return at;
	}
	return NULL;
}

unsigned session_checked(struct session_store *s, const struct account *account, int64_t now, int64_t facts_at)
{
	struct session *older;
	unsigned ended = 0;

	for (struct session *at = s->newest; at != NULL; at = older) {
		bool newer = facts_at > at->began;

		older = at->older;
		if (strcmp(at->account.sid, account->sid) != 0)
			continue;
		if (newer && at->account.pwd_last_set != 0 && account->pwd_last_set != at->account.pwd_last_set) {
			session_end(s, at);
			ended++;
			continue;
		}
		if (newer)
			at->account = *account;
		at->checked = now;
		at->doubt = false;
	}
	return ended;
}

unsigned session_count(const struct session_store *s) { return s->count; }
