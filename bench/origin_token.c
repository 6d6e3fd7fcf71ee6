/*
 * origin_token: what a mail server does with `Authorization: Negotiate`: whose token is it, and was
 * it here before. Part of the mail server of `make bench`. Opens a few with GSSAPI and knows the
 * others by their ticket: a slow mail server would change what the proxy costs. Holds 64 tickets;
 * each proxy that is started anew brings new ones, which take the places of the oldest.
 */
#include "origin.h"

#include <gssapi/gssapi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_MAX   6144        /* base64 characters; the head has 8 KiB */
#define TICKETS_MAX 64
/*
 * The ticket's bytes are the same in each of an account's tokens, and are all that stands here; the
 * lengths before it change in value only. Behind it stands the authenticator, new in each token.
 */
#define MIDDLE_AT   400
#define MIDDLE_SIZE 400
#define TOKEN_MIN   (2 * (MIDDLE_AT + MIDDLE_SIZE))
#define TAIL_SIZE   64
#define SEEN_SLOTS  (1u << 20)

struct ticket {
	char middle[MIDDLE_SIZE];
	char user[64];
};

static struct ticket tickets[TICKETS_MAX];
static unsigned ticket_n, ticket_next;
static uint64_t *seen;          /* hash of a token's end; the newest of a slot stays */
static gss_cred_id_t credential;
static struct token_counts counts;

const struct token_counts *token_counts(void)
{
	return &counts;
}

int tokens_require(void)
{
	OM_uint32 major, minor;

	/* `seen` is the replay cache: of all tokens, and not in a file */
	setenv("KRB5RCACHENAME", "none:", 1);
	seen = calloc(SEEN_SLOTS, sizeof(*seen));
	major = gss_acquire_cred(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, GSS_C_NO_OID_SET,
	                         GSS_C_ACCEPT, &credential, NULL, NULL);
	if (seen && !GSS_ERROR(major))
		return 0;
	fprintf(stderr, "bench-origin: no keytab: %08x/%u\n", major, minor);
	return -1;
}

/* Base64 without line breaks; the number of bytes, 0: it is none. */
static size_t decode(const char *text, size_t n, unsigned char *out)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned value = 0, bits = 0;
	size_t done = 0;

	while (n > 0 && text[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++) {
		const char *at = text[i] ? strchr(digits, text[i]) : NULL;

		if (!at)
			return 0;
		value = value << 6 | (unsigned)(at - digits);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[done++] = (unsigned char)(value >> bits);
		}
	}
	return done;
}

/* A real mail server's whole work on a token. */
static bool token_open(const char *text, size_t n, char *user, size_t size)
{
	static unsigned char raw[TOKEN_MAX];
	gss_buffer_desc in = { decode(text, n, raw), raw };
	gss_buffer_desc out = GSS_C_EMPTY_BUFFER, name = GSS_C_EMPTY_BUFFER;
	gss_ctx_id_t context = GSS_C_NO_CONTEXT;
	gss_name_t source = GSS_C_NO_NAME;
	OM_uint32 minor, major;
	bool good;

	major = gss_accept_sec_context(&minor, &context, credential, &in, GSS_C_NO_CHANNEL_BINDINGS,
	                               &source, NULL, &out, NULL, NULL, NULL);
	good = major == GSS_S_COMPLETE &&
	       gss_display_name(&minor, source, &name, NULL) == GSS_S_COMPLETE && name.length < size;
	if (good) {
		memcpy(user, name.value, name.length);
		user[name.length] = '\0';
		counts.accepted++;
	} else if (counts.refused == 0) {
		fprintf(stderr, "bench-origin: a token is refused: %08x/%u\n", major, minor);
	}
	gss_release_buffer(&minor, &name);
	gss_release_buffer(&minor, &out);
	gss_release_name(&minor, &source);
	gss_delete_sec_context(&minor, &context, GSS_C_NO_BUFFER);
	return good;
}

static bool seen_before(const char *tail)
{
	uint64_t h = 1469598103934665603u;
	uint64_t *slot;

	for (size_t i = 0; i < TAIL_SIZE; i++)
		h = (h ^ (unsigned char)tail[i]) * 1099511628211u;
	slot = &seen[(h ^ h >> 32) % SEEN_SLOTS];
	if (*slot == h)
		return true;
	*slot = h;
	return false;
}

static struct ticket *ticket_of(const char *middle)
{
	for (unsigned i = 0; i < ticket_n; i++) {
		if (memcmp(tickets[i].middle, middle, MIDDLE_SIZE) == 0)
			return &tickets[i];
	}
	return NULL;
}

static bool whose(const char *text, size_t n, char *user, size_t size)
{
	struct ticket *t = ticket_of(text + MIDDLE_AT);

	if (size < sizeof(t->user))
		return false;
	if (t && counts.tokens % TOKEN_OPEN_EVERY) {
		memcpy(user, t->user, sizeof(t->user));
		return true;
	}
	if (!token_open(text, n, user, sizeof(t->user)))
		return false;
	if (t)
		return strcmp(t->user, user) == 0;
	t = &tickets[ticket_next];
	ticket_next = (ticket_next + 1) % TICKETS_MAX;
	ticket_n += ticket_n < TICKETS_MAX;
	memcpy(t->middle, text + MIDDLE_AT, MIDDLE_SIZE);
	memcpy(t->user, user, sizeof(t->user));
	return true;
}

int token_user(const char *head, char *user, size_t size)
{
	static const char name[] = "\r\nAuthorization: Negotiate ";
	const char *text = strcasestr(head, name);
	size_t n;

	if (text) {
		text += sizeof(name) - 1;
		n = strcspn(text, "\r");
	}
	if (!text || n < TOKEN_MIN || n > TOKEN_MAX) {
		counts.refused++;
		return -1;
	}
	if (seen_before(text + n - TAIL_SIZE)) {
		counts.repeated++;
		return -1;
	}
	if (!whose(text, n, user, size)) {
		counts.refused++;
		return -1;
	}
	counts.tokens++;
	return 0;
}
