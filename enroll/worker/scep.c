/*
 * scep: paths, operations and the answers that need no key: GetCACaps, GetCACert, GetNextCACert. Runs in the worker process.
 * Some clients compare content types byte by byte: none has a parameter.
 */
#include "enroll/worker/scep.h"

#include <stdio.h>
#include <stdlib.h>
#include <openssl/crypto.h>

#include "common/log.h"
#include "common/text.h"
#include "enroll/challenge.h"
#include "enroll/signer/ask.h"
#include "enroll/worker/scep_parts.h"

#define TYPE_CA_RA "application/x-x509-ca-ra-cert"
#define TYPE_CA "application/x-x509-ca-cert"
#define TYPE_NEXT_CA "application/x-x509-next-ca-cert"

/* It is served all the same: the devices that have it are out there. */
static void look_at_challenge(struct enroll_worker *w)
{
	const struct enroll_scep *c = &w->settings->enroll.scep;
	struct strv text = { NULL, 0 };
	const char *weakness;

	if (c->challenge_kind != CHALLENGE_STATIC)
		return;
	weakness = bundle_get_secret(w->files, c->static_file, &text) ? challenge_weakness(text) : "is missing";
	if (weakness != NULL)
		log_say(LOG_WARNING, "challenge_weak", "enroll.scep.static_file %s: the challenge %s: " CHALLENGE_CURE, c->static_file, weakness);
}

struct scep *scep_new(struct enroll_worker *w, char *why, size_t why_size)
{
	struct scep *s = calloc(1, sizeof(*s));

	snprintf(why, why_size, "out of memory, or enroll.scep.webhook_token_file or webhook_ca is empty");
	if (s == NULL)
		return NULL;
	s->w = w;
	look_at_challenge(w);
	s->enrol = enrol_new(w);
	s->strangers = strangers_new(w->loop, &w->settings->common.lockout);
	if (s->enrol == NULL || s->strangers == NULL || scep_webhook_new(s) < 0) {
		scep_free(s);
		return NULL;
	}
	return s;
}

void scep_free(struct scep *s)
{
	if (s == NULL)
		return;
	enrol_free(s->enrol);
	while (s->ops != NULL)
		scep_op_free(s->ops);
	webhook_free(s->webhook);
	strangers_free(s->strangers);
	free(s);
}

STACK_OF(X509) *scep_chain(const struct chain *chain, const enum signer_chain_kind *kinds, size_t n)
{
	STACK_OF(X509) *out = sk_X509_new_null();
	const struct chain_entry *e;

	for (size_t k = 0; out != NULL && k < n; k++) {
		for (size_t i = 0; (e = chain_at(chain, i)) != NULL; i++) {
			if (e->kind == kinds[k] && X509_add_cert(out, e->certificate, X509_ADD_FLAG_UP_REF | X509_ADD_FLAG_NO_DUP) != 1) {
				sk_X509_pop_free(out, X509_free);
				return NULL;
			}
		}
	}
	return out;
}

/*
 * One capability a line, LF and no CR: clients compare whole lines. SHA-384 stands here also for a client that takes its number for another
 * one's; Renewal for those that refuse to enrol without it.
 */
static void get_ca_caps(struct enroll_worker *w, struct http_request *r)
{
	const struct enroll_scep *c = &w->settings->enroll.scep;
	char text[256];
	int n;

	n = snprintf(text, sizeof(text), "AES\n%s%sSHA-256\nSHA-384\nSHA-512\nSCEPStandard\nPOSTPKIOperation\nRenewal\n%s",
	    c->des3 ? "DES3\n" : "", c->legacy_des ? "SHA-1\n" : "",
	    chain_first(w->chain, SIGNER_CHAIN_NEXT_ISSUING) != NULL ? "GetNextCACert\n" : "");
	http_reply(r, 200, "text/plain", (struct strv){ text, (size_t)n });
}

/* The RA first, then its chain to the top; one certificate alone only where the CA is its own RA. */
static void get_ca_cert(struct enroll_worker *w, struct http_request *r)
{
	static const enum signer_chain_kind kinds[] = { SIGNER_CHAIN_RA, SIGNER_CHAIN_ISSUING, SIGNER_CHAIN_ROOT };
	STACK_OF(X509) *certs = scep_chain(w->chain, kinds, ARRAY_LEN(kinds));
	int count = certs ? sk_X509_num(certs) : 0;
	unsigned char *der = NULL;
	size_t size = 0;

	if (count > 1) {
		der = scep_degenerate(certs, (struct strv){ NULL, 0 }, (struct strv){ NULL, 0 }, &size);
	} else if (count == 1) {
		int one = i2d_X509(sk_X509_value(certs, 0), &der);

		size = one > 0 ? (size_t)one : 0;
	}
	if (size > 0)
		http_reply(r, 200, count > 1 ? TYPE_CA_RA : TYPE_CA, (struct strv){ (char *)der, size });
	else
		http_reply_text(r, 503, "the CA does not answer now\n");
	OPENSSL_free(der);
	sk_X509_pop_free(certs, X509_free);
}

static void on_next_ca(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct http_request *r = arg;
	struct signer_answer answer = { .status = SIGNER_BROKEN };

	if (status == WIRE_OK && n >= sizeof(answer))
		memcpy(&answer, body, sizeof(answer));
	if (answer.status == SIGNER_OK && answer.n == n - sizeof(answer))
		http_reply(r, 200, TYPE_NEXT_CA, (struct strv){ (const char *)body + sizeof(answer), answer.n });
	else if (answer.status == SIGNER_NONE)
		http_reply_text(r, 404, "there is no next CA\n");
	else
		http_reply_text(r, 503, "the CA does not answer now\n");
}

/* The value of one hex digit, -1: none. */
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = text_lower_char(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * The message of a GET: base64 with '+', '/' and '=' escaped or not, line ends escaped or not there, padding perhaps cut. Bytes into out
 * (at least 3/4 of raw.n + 3); -1: anything else.
 */
static long decode_message(struct strv raw, unsigned char *out, size_t size)
{
	char *text = malloc(raw.n + 4);
	size_t n = 0;
	long got = -1;

	if (text == NULL)
		return -1;
	for (size_t i = 0; i < raw.n; i++) {
		char c = raw.p[i];

		if (c == '%') {
			int high = i + 2 < raw.n ? hex_value(raw.p[i + 1]) : -1, low = i + 2 < raw.n ? hex_value(raw.p[i + 2]) : -1;

			if (high < 0 || low < 0)
				goto out;
			c = (char)(high * 16 + low);
			i += 2;
		}
		if (c != '\r' && c != '\n')
			text[n++] = c;
	}
	for (unsigned i = 0; i < 2 && n % 4 != 0; i++)
		text[n++] = '=';
	got = text_base64_decode(out, size, (struct strv){ text, n });
out:
	free(text);
	return got;
}

static void pki_operation(struct enroll_worker *w, struct http_request *r, unsigned profile)
{
	unsigned char *bytes;
	struct strv raw;
	long n;

	if (strv_eq(r->method, STRV("POST"))) {
		scep_operation(w->scep, r, profile, r->body);
		return;
	}
	if (!http_request_query(r, "message", &raw) || raw.n == 0 || raw.n > SCEP_MESSAGE_MAX) {
		http_reply_text(r, 400, "PKIOperation without a message\n");
		return;
	}
	bytes = malloc(raw.n + 4);
	n = bytes ? decode_message(raw, bytes, raw.n + 4) : -1;
	if (n > 0)
		scep_operation(w->scep, r, profile, (struct strv){ (char *)bytes, (size_t)n });
	else
		http_reply_text(r, 400, "the message is no base64\n");
	free(bytes);
}

/* What stands behind the path that clients were given: nothing, a profile, and the program names that some append. -1: something else. */
static int read_path(struct enroll_worker *w, struct http_request *r, unsigned *profile)
{
	static const char *const bases[] = { "/scep", "/certsrv/mscep", "/cgi-bin" };
	static const char *const programs[] = { "pkiclient.exe", "mscep.dll" };
	struct strv rest = r->path, part;
	struct strv name = { NULL, 0 };

	for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
		struct strv base = strv_from(bases[i]);

		if (text_starts_nocase(r->path, base) && (r->path.n == base.n || r->path.p[base.n] == '/'))
			rest = (struct strv){ r->path.p + base.n, r->path.n - base.n };
	}
	while (rest.p != NULL) {
		bool program = false;

		part = text_split(&rest, '/');
		for (size_t i = 0; i < ARRAY_LEN(programs); i++)
			program = program || text_eq_nocase(part, strv_from(programs[i]));
		if (part.n == 0 || program || text_eq_nocase(part, STRV("cgi-bin")))
			continue;
		if (name.n > 0)
			return -1;
		name = part;
	}
	return enrol_profile(w, name, w->settings->enroll.scep.profile_index, profile);
}

static void serve(struct enroll_worker *w, struct http_request *r)
{
	const struct enroll_scep *c = &w->settings->enroll.scep;
	unsigned profile;
	struct strv op;

	if (!c->enabled || w->scep == NULL || read_path(w, r, &profile) < 0) {
		http_reply_text(r, 404, "no such path\n");
		return;
	}
	if (!http_request_query(r, "operation", &op))
		op = (struct strv){ NULL, 0 };
	if (text_eq_nocase(op, STRV("PKIOperation"))) {
		pki_operation(w, r, profile);
	} else if (text_eq_nocase(op, STRV("GetCACaps"))) {
		get_ca_caps(w, r);
	} else if (text_eq_nocase(op, STRV("GetCACert"))) {
		get_ca_cert(w, r);
	} else if (text_eq_nocase(op, STRV("GetNextCACert"))) {
		if (asker_ask(w->signer, SIGNER_NEXT_CA, NULL, 0, SIGNER_TIMEOUT_MS, on_next_ca, r) == 0)
			on_next_ca(r, WIRE_FAILED, NULL, 0);
	} else {
		http_reply_text(r, 400, "no such operation; a SCEP client asks with ?operation=GetCACaps, GetCACert, GetNextCACert or PKIOperation\n");
	}
}

#define SCEP_ROUTE(path, more) { "GET POST", path, HTTP_WAY_TLS | HTTP_WAY_PLAIN, ROUTE_NOCASE | (more), ROUTE_OPEN, serve }

const struct route scep_routes[] = {
	SCEP_ROUTE("/scep", 0),
	SCEP_ROUTE("/scep/", ROUTE_PREFIX),
	SCEP_ROUTE("/cgi-bin/pkiclient.exe", 0),
	SCEP_ROUTE("/certsrv/mscep", 0),
	SCEP_ROUTE("/certsrv/mscep/", ROUTE_PREFIX),
	{ .methods = NULL },
};
