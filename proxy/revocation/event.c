/*
 * event: reading and judging entries of the `events` stream. Pure: acts on nothing (follow.c does).
 */
#include "proxy/revocation/event.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/redis.h"
#include "common/text.h"

#define SKEW 300	/* seconds: clocks of publishers may differ by so much */

static const char *const names[] = {
	[EVENT_UNKNOWN] = "unknown", [EVENT_REVOKED] = "revoked", [EVENT_UNREVOKED] = "unrevoked",
	[EVENT_DEVICE] = "device", [EVENT_ACCOUNT] = "account", [EVENT_RELOAD] = "reload", [EVENT_SWITCH] = "switch",
};

const char *event_type_name(enum event_type type)
{
	return names[(size_t)type < ARRAY_LEN(names) ? type : EVENT_UNKNOWN];
}

int event_serial(struct strv hex, struct serial *out)
{
	struct serial s = { 0 };
	char padded[2 * SERIAL_MAX];
	size_t n = (hex.n + 1) / 2, i;

	if (hex.n == 0 || hex.n > 2 * SERIAL_MAX || hex.p[0] == '0')
		return -1;
	for (i = 0; i < hex.n; i++)
		if (hex.p[i] >= 'A' && hex.p[i] <= 'F')
			return -1;
	padded[0] = '0';
	memcpy(padded + hex.n % 2, hex.p, hex.n);
	if (text_unhex(s.byte, n, (struct strv){ padded, 2 * n }) < 0)
		return -1;
	s.n = (uint8_t)n;
	*out = s;
	return 0;
}

int event_mac(struct strv secret, const struct strv part[6], uint8_t out[SHA256_SIZE])
{
	char text[1024];
	size_t n = 0, i;
	unsigned size = 0;

	for (i = 0; i < 6; i++) {
		if (part[i].n + 1 > sizeof(text) - n || memchr(part[i].n > 0 ? part[i].p : "", '\n', part[i].n) != NULL)
			return -1;
		if (i > 0)
			text[n++] = '\n';
		if (part[i].n > 0)
			memcpy(text + n, part[i].p, part[i].n);
		n += part[i].n;
	}
	return HMAC(EVP_sha256(), secret.p, (int)secret.n, (const unsigned char *)text, n, out, &size) != NULL &&
	    size == SHA256_SIZE ? 0 : -1;
}

enum field { TYPE = 0, ISSUER, SERIAL, SID, CERTIFICATE, TIME, MAC, FIELDS };

static int take_fields(const redisReply *reply, struct strv value[FIELDS], const char **why)
{
	static const struct strv field[FIELDS] = {
		[TYPE] = { "type", 4 }, [ISSUER] = { "issuer", 6 }, [SERIAL] = { "serial", 6 }, [SID] = { "sid", 3 },
		[CERTIFICATE] = { "certificate", 11 }, [TIME] = { "time", 4 }, [MAC] = { "mac", 3 },
	};
	struct strv name, text;
	unsigned seen = 0, k;
	size_t i;

	*why = "not a list of fields and values";
	if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements % 2 != 0 || reply->elements > 64)
		return -1;
	for (i = 0; i < reply->elements; i += 2) {
		if (!redis_text(reply->element[i], &name) || !redis_text(reply->element[i + 1], &text))
			return -1;
		for (k = 0; k < FIELDS && !strv_eq(name, field[k]); k++)
			;
		if (k == FIELDS)
			continue;
		*why = "a field is there twice or too long";
		if ((seen & (1u << k)) != 0 || text.n > 320)
			return -1;
		seen |= 1u << k;
		value[k] = text;
		*why = "not a list of fields and values";
	}
	return 0;
}

static bool is_sid(const char *sid)
{
	size_t i;

	if (strncmp(sid, "S-1-", 4) != 0)
		return false;
	for (i = 4; sid[i] != '\0'; i++)
		if ((sid[i] < '0' || sid[i] > '9') && sid[i] != '-')
			return false;
	return i > 4;
}

static int read_values(const struct strv value[FIELDS], struct event_entry *e, const char **why)
{
	uint8_t fingerprint[SHA256_SIZE];
	uint64_t t = 0;

	*why = "issuer, serial, sid, certificate or time is malformed";
	if (value[ISSUER].n > 0 && text_unhex(e->issuer, SHA256_SIZE, value[ISSUER]) < 0)
		return -1;
	e->has_issuer = value[ISSUER].n > 0;
	if (value[SERIAL].n > 0 && event_serial(value[SERIAL], &e->serial) < 0)
		return -1;
	e->has_serial = value[SERIAL].n > 0;
	if (value[SID].n > 0 && (text_copy(e->sid, sizeof(e->sid), value[SID]) < 0 || !is_sid(e->sid)))
		return -1;
	if (value[CERTIFICATE].n > 0) {
		if (text_unhex(fingerprint, SHA256_SIZE, value[CERTIFICATE]) < 0)
			return -1;
		text_hex(e->certificate, fingerprint, SHA256_SIZE);
	}
	if (value[TIME].n > 0 && text_u64(value[TIME], INT64_MAX / 2, &t) < 0)
		return -1;
	e->time = (int64_t)t;
	return 0;
}

static int check_needs(const struct event_entry *e, const char **why)
{
	switch (e->type) {
	case EVENT_REVOKED:
	case EVENT_UNREVOKED:
		*why = "issuer or serial is missing";
		return e->has_issuer && e->has_serial ? 0 : -1;
	case EVENT_DEVICE:
		*why = "certificate is missing";
		return e->certificate[0] != '\0' ? 0 : -1;
	case EVENT_ACCOUNT:
		*why = "sid is missing";
		return e->sid[0] != '\0' ? 0 : -1;
	case EVENT_RELOAD:
	case EVENT_SWITCH:
		return 0;
	default:
		*why = "unknown type";
		return -1;
	}
}

int event_read(const redisReply *fields, struct strv secret, struct event_entry *out, const char **why)
{
	struct strv value[FIELDS] = { { NULL, 0 } };
	struct event_entry e = { 0 };
	uint8_t given[SHA256_SIZE];

	if (take_fields(fields, value, why) < 0)
		return -1;
	for (e.type = EVENT_SWITCH; e.type > EVENT_UNKNOWN; e.type--)
		if (strv_eq(value[TYPE], strv_from(names[e.type])))
			break;
	if (read_values(value, &e, why) < 0 || check_needs(&e, why) < 0)
		return -1;
	if (secret.n > 0 && value[MAC].n == 2 * SHA256_SIZE && text_unhex(given, SHA256_SIZE, value[MAC]) == 0 &&
	    event_mac(secret, value, e.mac) == 0)
		e.authentic = CRYPTO_memcmp(given, e.mac, SHA256_SIZE) == 0;
	*out = e;
	return 0;
}

static void remember(struct event_guard *g, const struct event_entry *e)
{
	unsigned i, oldest = 0;

	if (g->count < EVENT_SEEN) {
		oldest = g->count++;
	} else {
		for (i = 1; i < EVENT_SEEN; i++)
			if (g->seen[i].time < g->seen[oldest].time)
				oldest = i;
		/* What is forgotten must not be believed again. */
		if (g->seen[oldest].time > g->floor)
			g->floor = g->seen[oldest].time;
	}
	g->seen[oldest].time = e->time;
	memcpy(g->seen[oldest].mac, e->mac, SHA256_SIZE);
	if (e->time > g->newest)
		g->newest = e->time;
}

enum event_verdict event_may_let_in(struct event_guard *g, const struct event_entry *e, int64_t added, time_t now)
{
	unsigned i;

	if (!e->authentic)
		return EVENT_NO_MAC;
	if (e->time <= 0 || e->time > now + SKEW)
		return EVENT_WRONG_TIME;
	if (e->time > added + SKEW || e->time < added - SKEW)
		return EVENT_MISPLACED;
	if (e->time <= g->floor || e->time < g->newest - SKEW)
		return EVENT_OLD;
	for (i = 0; i < g->count; i++)
		if (memcmp(g->seen[i].mac, e->mac, SHA256_SIZE) == 0)
			return EVENT_REPLAYED;
	remember(g, e);
	return EVENT_TAKEN;
}

const char *event_verdict_text(enum event_verdict verdict)
{
	static const char *const text[] = {
		[EVENT_TAKEN_UNPROVEN] = "unauthenticated",
		[EVENT_FOREIGN] = "its issuer is not followed here",
		[EVENT_NOT_STORED] = "the index could not take it",
		[EVENT_MALFORMED] = "malformed",
		[EVENT_NO_MAC] = "has no right mac",
		[EVENT_WRONG_TIME] = "its time is missing or in the future",
		[EVENT_MISPLACED] = "its time is not when it was added to the stream: replayed, or clocks differ by more than five minutes",
		[EVENT_OLD] = "is older than one that was believed: replayed, or its publisher's clock is late",
		[EVENT_REPLAYED] = "was believed before: replayed",
	};

	return (size_t)verdict < ARRAY_LEN(text) ? text[verdict] : NULL;
}
