/*
 * session_password: the Basic Authorization of a request: whom it names, and whether its password is right. It is asked once for a connection
 * and an Authorization; what is kept of it is a hash with a key of this process. Worker process.
 */
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <stdlib.h>

#include "common/text.h"
#include "proxy/worker/session_state.h"

#define BASIC_MAX     1024	/* bytes behind the scheme, decoded */

int session_hash(struct session *s, const char *prefix, struct strv text, uint8_t out[SHA256_SIZE])
{
	size_t prefix_n = strlen(prefix) + 1;	/* with its NUL: no two pairs give the same bytes */
	char *whole = malloc(prefix_n + text.n);
	bool good;

	if (whole == NULL)
		return -1;
	memcpy(whole, prefix, prefix_n);
	if (text.n > 0)
		memcpy(whole + prefix_n, text.p, text.n);
	good = HMAC(EVP_sha256(), s->worker->secret, sizeof(s->worker->secret), (const unsigned char *)whole, prefix_n + text.n, out, NULL) != NULL;
	OPENSSL_cleanse(whole, prefix_n + text.n);
	free(whole);
	return good ? 0 : -1;
}

static bool authorization_of(struct session *s, struct strv *value)
{
	const struct http_head *head = session_head(s);
	const struct http_field *f = head != NULL ? http_find(head, HTTP_AUTHORIZATION) : NULL;

	if (f == NULL)
		return false;
	*value = f->value;
	return true;
}

/* "user:password" into text, *n bytes of it. The colon, or NULL: it is no such thing. The caller overwrites text. */
static char *basic(struct strv value, char text[BASIC_MAX], size_t *n)
{
	long got = text_base64_decode(text, BASIC_MAX, text_trim((struct strv){ value.p + 6, value.n - 6 }));
	char *colon = got > 0 ? memchr(text, ':', (size_t)got) : NULL;

	*n = got > 0 ? (size_t)got : 0;
	return colon != text ? colon : NULL;
}

enum authorization session_authorization(struct session *s, char user[ACCOUNT_NAME_LIMIT])
{
	enum authorization found = AUTHORIZATION_MALFORMED;
	struct strv value;
	char text[BASIC_MAX];
	const char *colon;
	size_t n;

	if (!authorization_of(s, &value))
		return AUTHORIZATION_NONE;
	if (text_starts_nocase(value, STRV("Bearer ")))
		return AUTHORIZATION_BEARER;
	if (!text_starts_nocase(value, STRV("Basic ")))
		return AUTHORIZATION_OTHER;
	colon = basic(value, text, &n);
	if (colon != NULL && text_copy(user, ACCOUNT_NAME_LIMIT, (struct strv){ text, (size_t)(colon - text) }) == 0)
		found = AUTHORIZATION_BASIC;
	OPENSSL_cleanse(text, sizeof(text));
	return found;
}

/* --- what was found to be right --- */

void session_forget_password(struct session *s)
{
	if (s->password == NULL)
		return;
	account_unref(s->worker->accounts, s->password->account);
	OPENSSL_cleanse(s->password, sizeof(*s->password));
	free(s->password);
	s->password = NULL;
}

/* Takes the reference. False: no memory. */
static bool remember(struct session *s, const uint8_t binding[SHA256_SIZE], const char *user, struct account_entry *account, unsigned seconds)
{
	struct password_memo *m = malloc(sizeof(*m) + strlen(user) + 1);

	session_forget_password(s);
	if (m == NULL) {
		account_unref(s->worker->accounts, account);
		return false;
	}
	memcpy(m->binding, binding, SHA256_SIZE);
	m->until_ms = loop_now_ms(s->worker->loop) + (uint64_t)seconds * 1000;
	m->account = account;
	memcpy(m->user, user, strlen(user) + 1);
	s->password = m;
	return true;
}

static bool is_remembered(struct session *s, const uint8_t binding[SHA256_SIZE])
{
	const struct password_memo *m = s->password;

	return m != NULL && loop_now_ms(s->worker->loop) < m->until_ms && CRYPTO_memcmp(m->binding, binding, SHA256_SIZE) == 0 &&
	    strcmp(m->account->view.sid, s->account->view.sid) == 0;
}

/* --- is it right? --- */

bool session_password_counts(struct session *s)
{
	const struct settings *settings = s->worker->now->settings;
	bool passes = session_upstream(s)->credential_kind == CREDENTIAL_PASSTHROUGH;
	struct strv value;

	/* with the guard off the mail server checks what is passed on to it, as it would without us */
	if (passes && settings->common.lockout.parsed_mode == LOCKOUT_OFF)
		return false;
	if ((s->x->checks & (1u << METHOD_PASSWORD)) != 0)
		return true;
	/* beside a certificate: what goes on to the mail server reaches AD there */
	return passes && s->peer->has_certificate && s->x->checks == 0 && authorization_of(s, &value);
}

/* The answer to one that is wrong: who has a certificate that is enough is never asked for another. */
static enum fact wrong(const struct session *s)
{
	return s->peer->has_certificate && (s->x->checks & (1u << METHOD_PASSWORD)) == 0 ? FACT_PASSWORD_REFUSED : FACT_PASSWORD_WRONG;
}

static void on_password(void *arg, const struct password_answer *a)
{
	struct session *s = arg;
	char user[ACCOUNT_NAME_LIMIT];

	s->password_op = NULL;
	s->x->wait_seconds = a->wait_seconds;
	if (a->fact != FACT_NONE) {
		session_refuse(s, a->fact == FACT_PASSWORD_WRONG ? wrong(s) : a->fact, a->text);
		return;
	}
	if (s->account->result != ACCOUNT_FOUND || strcmp(a->account->view.sid, s->account->view.sid) != 0 ||
	    session_authorization(s, user) != AUTHORIZATION_BASIC) {
		account_unref(s->worker->accounts, a->account);
		session_refuse(s, FACT_PASSWORD_UNCHECKED, "the password is of another account than the directory names");
		return;
	}
	if (!remember(s, a->account->certificate, user, a->account, a->good_seconds)) {
		session_refuse(s, FACT_OVERLOADED, "out of memory");
		return;
	}
	s->x->proven = true;
	session_checked(s);
}

/* False: it cannot be any account's. */
static bool fill(struct session *s, struct strv value, const uint8_t binding[SHA256_SIZE], struct lockout_check *check)
{
	char text[BASIC_MAX], address[ADDRESS_TEXT_MAX];
	size_t n, password_n;
	const char *colon = basic(value, text, &n);
	bool good = false;

	memset(check, 0, sizeof(*check));
	if (colon != NULL) {
		password_n = n - (size_t)(colon + 1 - text);
		good = password_n > 0 && password_n <= sizeof(check->password) &&
		    text_copy(check->name, sizeof(check->name), (struct strv){ text, (size_t)(colon - text) }) == 0;
		if (good)
			memcpy(check->password, colon + 1, password_n);
		check->password_n = good ? (uint32_t)password_n : 0;
	}
	OPENSSL_cleanse(text, sizeof(text));
	(void)!text_copy(check->address, sizeof(check->address), strv_from(address_bare(s->client, address)));
	(void)!text_copy(check->device, sizeof(check->device), strv_from(s->x->request.query.device_id));
	memcpy(check->binding, binding, SHA256_SIZE);
	return good;
}

void session_check_password(struct session *s)
{
	uint8_t binding[SHA256_SIZE];
	struct lockout_check check;
	struct strv value;

	if (!authorization_of(s, &value)) {
		session_refuse(s, FACT_PASSWORD_WANTED, NULL);
		return;
	}
	/* what a voucher for this very Authorization is made out for */
	if (session_hash(s, "binding", value, binding) < 0) {
		session_refuse(s, FACT_OVERLOADED, "out of memory");
		return;
	}
	if (is_remembered(s, binding)) {
		s->x->proven = true;
		session_checked(s);
		return;
	}
	session_forget_password(s);
	if (!fill(s, value, binding, &check)) {
		OPENSSL_cleanse(&check, sizeof(check));
		session_refuse(s, wrong(s), "an empty password, or one that is too long for any account");
		return;
	}
	session_go(s, SESSION_PASSWORD);
	s->password_op = password_ask(s->worker->lockout, &check, on_password, s);
	OPENSSL_cleanse(&check, sizeof(check));
	if (s->password_op == NULL)
		session_refuse(s, FACT_OVERLOADED, "too many passwords wait to be checked");
}
