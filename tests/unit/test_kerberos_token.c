/*
 * Tokens are what GSSAPI's own acceptor takes, and nothing else: tickets are made here, as a KDC
 * would, with a key that the acceptor has in its keytab.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <gssapi/gssapi_ext.h>

#include "proxy/kerberos/environment.h"
#include "proxy/kerberos/token.h"

#define REALM "CORP.EXAMPLE"
#define ETYPE ENCTYPE_AES256_CTS_HMAC_SHA1_96
#define DER_MAX 70000

struct site {
	int profile;
	krb5_context context;
	krb5_keytab keytab;
	krb5_keyblock service_key;
	krb5_principal user, mail;
	gss_cred_id_t acceptor;
};

/* --- DER, as far as a ticket needs it --- */

struct der {
	size_t n;
	uint8_t bytes[DER_MAX];
};

static struct der *der(uint8_t tag, const void *bytes, size_t n)
{
	struct der *d = malloc(sizeof(*d));
	size_t at = 1;

	assert_non_null(d);
	d->bytes[0] = tag;
	if (n > 0x7f)
		d->bytes[at++] = n > 0xff ? 0x82 : 0x81;
	if (n > 0xff)
		d->bytes[at++] = (uint8_t)(n >> 8);
	d->bytes[at++] = (uint8_t)n;
	assert_true(n <= 0xffff);
	assert_true(at + n <= DER_MAX);
	memcpy(d->bytes + at, bytes, n);
	d->n = at + n;
	return d;
}

/* Takes its parts, NULL ends them. */
static struct der *of(uint8_t tag, struct der *first, ...)
{
	struct der *all = malloc(sizeof(*all)), *d;
	va_list parts;

	assert_non_null(all);
	all->n = 0;
	va_start(parts, first);
	for (d = first; d != NULL; d = va_arg(parts, struct der *)) {
		assert_true(all->n + d->n <= DER_MAX);
		memcpy(all->bytes + all->n, d->bytes, d->n);
		all->n += d->n;
		free(d);
	}
	va_end(parts);
	d = der(tag, all->bytes, all->n);
	free(all);
	return d;
}

static struct der *number(uint8_t value)
{
	return der(0x02, &value, 1);
}

static struct der *text(uint8_t tag, const char *value)
{
	return der(tag, value, strlen(value));
}

static struct der *name(const char *one, const char *two)
{
	struct der *second = two != NULL ? text(0x1b, two) : NULL;

	return of(0x30, of(0xa0, number(1), NULL),
	    of(0xa1, of(0x30, text(0x1b, one), second, NULL), NULL), NULL);
}

/* --- a KDC's work --- */

static struct der *enc_part(const krb5_keyblock *session, size_t padding)
{
	static const uint8_t flags[] = { 0, 0x40, 0, 0, 0 };
	uint8_t *zeros = calloc(1, padding + 1);
	struct der *key, *authorization;

	assert_non_null(zeros);
	key = of(0x30, of(0xa0, number((uint8_t)session->enctype), NULL),
	    of(0xa1, der(0x04, session->contents, session->length), NULL), NULL);
	/* an element of a type that nobody knows */
	authorization = of(0x30,
	    of(0x30, of(0xa0, number(99), NULL), of(0xa1, der(0x04, zeros, padding), NULL), NULL),
	    NULL);
	free(zeros);
	return of(0x63,
	    of(0x30, of(0xa0, der(0x03, flags, sizeof(flags)), NULL), of(0xa1, key, NULL),
		of(0xa2, text(0x1b, REALM), NULL), of(0xa3, name("alice", NULL), NULL),
		of(0xa4,
		    of(0x30, of(0xa0, number(1), NULL), of(0xa1, der(0x04, "", 0), NULL), NULL),
		    NULL),
		of(0xa5, text(0x18, "20200101000000Z"), NULL),
		of(0xa7, text(0x18, "20370101000000Z"), NULL), of(0xaa, authorization, NULL), NULL),
	    NULL);
}

/* A ticket for alice to the mail server, with a session key of that kind; `padding` makes it larger. */
static krb5_creds *ticket_of(struct site *s, krb5_enctype session, size_t padding)
{
	krb5_creds *creds = calloc(1, sizeof(*creds));
	krb5_enc_data sealed = { 0 };
	struct der *plain, *whole;
	krb5_data in;
	size_t n;

	assert_non_null(creds);
	assert_int_equal(krb5_c_make_random_key(s->context, session, &creds->keyblock), 0);
	assert_int_equal(krb5_copy_principal(s->context, s->user, &creds->client), 0);
	creds->times.endtime = (krb5_timestamp)time(NULL) + 3600;
	plain = enc_part(&creds->keyblock, padding);
	in = (krb5_data){ .length = (unsigned)plain->n, .data = (char *)plain->bytes };
	assert_int_equal(krb5_c_encrypt_length(s->context, ETYPE, plain->n, &n), 0);
	sealed.ciphertext = (krb5_data){ .length = (unsigned)n, .data = malloc(n) };
	assert_int_equal(krb5_c_encrypt(s->context, &s->service_key, KRB5_KEYUSAGE_KDC_REP_TICKET,
			     NULL, &in, &sealed),
	    0);
	free(plain);
	whole = of(0x61,
	    of(0x30, of(0xa0, number(5), NULL), of(0xa1, text(0x1b, REALM), NULL),
		of(0xa2, name("HTTP", "mail.corp.example"), NULL),
		of(0xa3,
		    of(0x30, of(0xa0, number(ETYPE), NULL), of(0xa1, number(1), NULL),
			of(0xa2,
			    der(0x04, sealed.ciphertext.data, sealed.ciphertext.length), NULL),
			NULL),
		    NULL),
		NULL),
	    NULL);
	free(sealed.ciphertext.data);
	creds->ticket = (krb5_data){ .length = (unsigned)whole->n, .data = malloc(whole->n) };
	memcpy(creds->ticket.data, whole->bytes, whole->n);
	free(whole);
	return creds;
}

static krb5_creds *ticket(struct site *s, size_t padding)
{
	return ticket_of(s, ETYPE, padding);
}

/* As the kerberos process does, but that it keeps the key with the ticket. */
static krb5_error_code make(struct site *s, const krb5_creds *creds, struct token *out)
{
	krb5_error_code rc;
	krb5_key key;

	assert_int_equal(krb5_k_create_key(s->context, &creds->keyblock, &key), 0);
	rc = token_make(s->context, creds, key, out);
	krb5_k_free_key(s->context, key);
	return rc;
}

/* --- a mail server --- */

static void acceptor_new(struct site *s)
{
	gss_key_value_element_desc from[] = { { "keytab", "MEMORY:mail" }, { "rcache", "none:" } };
	gss_key_value_set_desc store = { 2, from };
	OM_uint32 minor;

	assert_int_equal(gss_acquire_cred_from(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE,
			     GSS_C_NO_OID_SET, GSS_C_ACCEPT, &store, &s->acceptor, NULL, NULL),
	    GSS_S_COMPLETE);
}

static int setup(void **state)
{
	static struct site site;
	struct site *s = &site;
	krb5_keytab_entry entry = { .vno = 1 };

	s->profile = environment_enter(REALM);
	assert_true(s->profile >= 0);
	assert_int_equal(krb5_init_context(&s->context), 0);
	assert_int_equal(krb5_parse_name(s->context, "alice@" REALM, &s->user), 0);
	assert_int_equal(krb5_parse_name(s->context, "HTTP/mail.corp.example@" REALM, &s->mail), 0);
	assert_int_equal(krb5_c_make_random_key(s->context, ETYPE, &s->service_key), 0);
	assert_int_equal(krb5_kt_resolve(s->context, "MEMORY:mail", &s->keytab), 0);
	entry.principal = s->mail;
	entry.key = s->service_key;
	assert_int_equal(krb5_kt_add_entry(s->context, s->keytab, &entry), 0);
	acceptor_new(s);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct site *s = *state;
	OM_uint32 minor;

	gss_release_cred(&minor, &s->acceptor);
	krb5_kt_close(s->context, s->keytab);
	krb5_free_keyblock_contents(s->context, &s->service_key);
	krb5_free_principal(s->context, s->user);
	krb5_free_principal(s->context, s->mail);
	krb5_free_context(s->context);
	environment_leave(s->profile);
	return 0;
}

/* The major status; on GSS_S_COMPLETE the token was alice's. */
static OM_uint32 accept(struct site *s, const uint8_t *bytes, size_t n, OM_uint32 *flags)
{
	gss_buffer_desc in = { n, (void *)(uintptr_t)bytes }, out = { 0, NULL }, who = { 0, NULL };
	gss_ctx_id_t context = GSS_C_NO_CONTEXT;
	gss_name_t source = GSS_C_NO_NAME;
	OM_uint32 minor, major;

	major = gss_accept_sec_context(&minor, &context, s->acceptor, &in, GSS_C_NO_CHANNEL_BINDINGS,
	    &source, NULL, &out, flags, NULL, NULL);
	if (major == GSS_S_COMPLETE) {
		assert_int_equal(gss_display_name(&minor, source, &who, NULL), GSS_S_COMPLETE);
		assert_int_equal(who.length, strlen("alice@" REALM));
		assert_memory_equal(who.value, "alice@" REALM, who.length);
	}
	gss_release_buffer(&minor, &who);
	gss_release_buffer(&minor, &out);
	gss_release_name(&minor, &source);
	gss_delete_sec_context(&minor, &context, GSS_C_NO_BUFFER);
	return major;
}

/* --- tests --- */

static void a_mail_server_accepts_a_token_of_any_size(void **state)
{
	static const size_t padding[] = { 0, 1, 7, 120, 130, 250, 600, 5000, 40000, 58000 };
	struct site *s = *state;

	for (size_t i = 0; i < ARRAY_LEN(padding); i++) {
		krb5_creds *creds = ticket(s, padding[i]);
		OM_uint32 flags = 0;
		struct token t;

		assert_int_equal(make(s, creds, &t), 0);
		assert_true(t.n > padding[i] && t.n <= TOKEN_MAX);
		assert_int_equal(accept(s, t.bytes, t.n, &flags), GSS_S_COMPLETE);
		assert_int_equal(flags & (GSS_C_MUTUAL_FLAG | GSS_C_DELEG_FLAG), 0);
		token_clear(&t);
		assert_null(t.bytes);
		krb5_free_creds(s->context, creds);
	}
}

static void two_tokens_of_one_ticket_differ(void **state)
{
	struct site *s = *state;
	krb5_creds *creds = ticket(s, 100);
	struct token one, two;

	assert_int_equal(make(s, creds, &one), 0);
	assert_int_equal(make(s, creds, &two), 0);
	assert_int_equal(accept(s, one.bytes, one.n, NULL), GSS_S_COMPLETE);
	assert_int_equal(accept(s, two.bytes, two.n, NULL), GSS_S_COMPLETE);
	/* the ends are the authenticators' */
	assert_memory_not_equal(one.bytes + one.n - 64, two.bytes + two.n - 64, 64);
	token_clear(&one);
	token_clear(&two);
	krb5_free_creds(s->context, creds);
}

/* Every kind of key that the profile permits. */
static void a_mail_server_accepts_tokens_under_every_kind_of_key(void **state)
{
	static const krb5_enctype session[] = { ENCTYPE_AES128_CTS_HMAC_SHA1_96,
		ENCTYPE_AES256_CTS_HMAC_SHA1_96, ENCTYPE_AES128_CTS_HMAC_SHA256_128,
		ENCTYPE_AES256_CTS_HMAC_SHA384_192 };
	struct site *s = *state;

	for (size_t i = 0; i < ARRAY_LEN(session); i++) {
		krb5_creds *creds = ticket_of(s, session[i], 10);
		struct token t;

		assert_int_equal(make(s, creds, &t), 0);
		assert_int_equal(accept(s, t.bytes, t.n, NULL), GSS_S_COMPLETE);
		token_clear(&t);
		krb5_free_creds(s->context, creds);
	}
}

/* What libkrb5 reads in the token's authenticator, by krb5_free_authenticator() and the caller's time. */
static krb5_authenticator *authenticator(struct site *s, const struct token *t)
{
	static const uint8_t before[] = { 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02, 1, 0 };
	uint8_t *at = memmem(t->bytes, t->n, before, sizeof(before));
	krb5_auth_context context = NULL;
	krb5_authenticator *a;
	krb5_data ap_req;

	assert_non_null(at);
	at += sizeof(before);
	ap_req = (krb5_data){ .length = (unsigned)(t->bytes + t->n - at), .data = (char *)at };
	assert_int_equal(krb5_auth_con_init(s->context, &context), 0);
	assert_int_equal(krb5_auth_con_setflags(s->context, context, 0), 0); /* no replay cache */
	assert_int_equal(krb5_rd_req(s->context, &context, &ap_req, s->mail, s->keytab, NULL, NULL), 0);
	assert_int_equal(krb5_auth_con_getauthenticator(s->context, context, &a), 0);
	krb5_auth_con_free(s->context, context);
	return a;
}

static void each_token_has_a_time_a_subkey_and_a_sequence_of_its_own(void **state)
{
	struct site *s = *state;
	krb5_creds *creds = ticket(s, 20);
	krb5_authenticator *last = NULL;

	for (int i = 0; i < 300; i++) {
		krb5_authenticator *a;
		krb5_timestamp now;
		struct token t;

		assert_int_equal(make(s, creds, &t), 0);
		a = authenticator(s, &t);
		token_clear(&t);
		assert_int_equal(krb5_timeofday(s->context, &now), 0);
		/* it tells the second by time(), which changes up to a tick later than the clock that tokens are made by */
		assert_true(a->ctime <= now + 1 && a->ctime >= now - 60);
		assert_true(a->cusec >= 0 && a->cusec <= 999999);
		assert_true(krb5_principal_compare(s->context, a->client, s->user));
		assert_int_equal(a->client->type, s->user->type);
		assert_int_equal(a->checksum->checksum_type, 0x8003);
		assert_int_equal(a->checksum->length, 24);
		assert_int_equal(a->subkey->enctype, creds->keyblock.enctype);
		assert_int_equal(a->subkey->length, creds->keyblock.length);
		assert_memory_not_equal(a->subkey->contents, creds->keyblock.contents, 32);
		assert_true(a->seq_number <= 0x3fffffff);
		if (last != NULL) {
			assert_true(a->ctime > last->ctime || (a->ctime == last->ctime && a->cusec > last->cusec));
			assert_memory_not_equal(a->subkey->contents, last->subkey->contents, 32);
			assert_int_not_equal(a->seq_number, last->seq_number);
			krb5_free_authenticator(s->context, last);
		}
		last = a;
	}
	krb5_free_authenticator(s->context, last);
	krb5_free_creds(s->context, creds);
}

/* A name longer than the authenticator's buffer; no KDC gives one. */
static void a_name_that_does_not_fit_makes_no_token(void **state)
{
	struct site *s = *state;
	krb5_creds *creds = ticket(s, 0);
	char name[2000];
	struct token t;

	memset(name, 'x', sizeof(name));
	krb5_free_principal(s->context, creds->client);
	assert_int_equal(krb5_build_principal_ext(s->context, &creds->client, strlen(REALM), REALM, sizeof(name), name, 0), 0);
	assert_int_equal(make(s, creds, &t), KRB5KRB_ERR_FIELD_TOOLONG);
	assert_null(t.bytes);
	krb5_free_creds(s->context, creds);
}

static void a_token_that_was_changed_is_not_accepted(void **state)
{
	struct site *s = *state;
	krb5_creds *creds = ticket(s, 10);
	struct token t;

	assert_int_equal(make(s, creds, &t), 0);
	t.bytes[t.n - 1] ^= 1;
	assert_int_not_equal(accept(s, t.bytes, t.n, NULL), GSS_S_COMPLETE);
	token_clear(&t);
	krb5_free_creds(s->context, creds);
}

static void a_token_that_is_too_long_is_not_made(void **state)
{
	struct site *s = *state;
	krb5_creds *creds = ticket(s, TOKEN_MAX);
	struct token t = { (uint8_t *)1, 1 };

	assert_int_equal(make(s, creds, &t), KRB5KRB_ERR_FIELD_TOOLONG);
	assert_null(t.bytes);
	assert_int_equal(t.n, 0);
	krb5_free_creds(s->context, creds);
}

static void a_ticket_that_has_ended_makes_no_token(void **state)
{
	struct site *s = *state;
	krb5_creds *creds = ticket(s, 0);
	struct token t;

	creds->times.endtime = (krb5_timestamp)time(NULL) - 3600;
	assert_int_equal(make(s, creds, &t), KRB5KRB_AP_ERR_TKT_EXPIRED);
	assert_null(t.bytes);
	krb5_free_creds(s->context, creds);
}

static void without_a_ticket_there_is_no_token(void **state)
{
	struct site *s = *state;
	krb5_creds none = { .client = s->user };
	krb5_creds *creds = ticket(s, 0);
	struct token t;

	none.keyblock = creds->keyblock;
	assert_int_equal(make(s, &none, &t), KRB5_NO_TKT_SUPPLIED);
	krb5_free_creds(s->context, creds);
	assert_null(t.bytes);
	token_clear(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mail_server_accepts_a_token_of_any_size),
		cmocka_unit_test(two_tokens_of_one_ticket_differ),
		cmocka_unit_test(a_mail_server_accepts_tokens_under_every_kind_of_key),
		cmocka_unit_test(each_token_has_a_time_a_subkey_and_a_sequence_of_its_own),
		cmocka_unit_test(a_name_that_does_not_fit_makes_no_token),
		cmocka_unit_test(a_token_that_was_changed_is_not_accepted),
		cmocka_unit_test(a_token_that_is_too_long_is_not_made),
		cmocka_unit_test(a_ticket_that_has_ended_makes_no_token),
		cmocka_unit_test(without_a_ticket_there_is_no_token),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
