/*
 * est_answer: what EST clients get: base64 that each of them reads, certs-only messages, a key made here. Stores nothing. Worker of easenroll.
 */
#include <stdlib.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "common/log.h"
#include "common/text.h"
#include "enroll/worker/est_parts.h"
#include "enroll/worker/scep_message.h"

#define TYPE_CERTS "application/pkcs7-mime; smime-type=certs-only"
#define ANSWER_MAX (256 * 1024)
#define BOUNDARY "easgate-est-part"

int est_base64(const struct http_request *r, struct strv der, struct buffer *out)
{
	bool lines = text_starts_nocase(http_request_field(r, "User-Agent"), STRV("libest"));
	char *text = malloc(4 * ((der.n + 2) / 3) + 1);
	size_t n, step;
	int rc = -1;

	if (text == NULL)
		return -1;
	n = text_base64(text, der.p, der.n);
	for (size_t at = 0; at < n; at += step) {
		step = lines && n - at > 64 ? 64 : n - at;
		if (buffer_add(out, text + at, step) < 0 || (lines && buffer_add(out, "\n", 1) < 0))
			goto out;
	}
	rc = 0;
out:
	OPENSSL_cleanse(text, n);
	free(text);
	return rc;
}

void est_reply(struct http_request *r, const char *type, struct strv der)
{
	struct buffer body;

	buffer_init(&body, ANSWER_MAX);
	if (der.n > 0 && est_base64(r, der, &body) == 0) {
		http_reply_field(r, "Content-Transfer-Encoding", "base64");
		http_reply(r, 200, type, buffer_view(&body));
	} else {
		http_reply_text(r, 503, "not now\n");
	}
	buffer_clear(&body);
}

static int add_part(const struct http_request *r, struct buffer *out, const char *type, struct strv der)
{
	if (buffer_printf(out, "--" BOUNDARY "\r\nContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n", type) < 0)
		return -1;
	if (est_base64(r, der, out) < 0)
		return -1;
	return buffer_add(out, "\r\n", 2);
}

/* RFC 7030 §4.4.2: the key as PKCS#8, then the certificate. The connection's TLS is what protects it. */
static void reply_with_key(struct est_op *op, struct strv certs)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(op->made);
	unsigned char *key = NULL;
	struct buffer body;
	int n = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &key) : -1;

	buffer_init(&body, ANSWER_MAX);
	if (n > 0 && add_part(op->r, &body, "application/pkcs8", (struct strv){ (char *)key, (size_t)n }) == 0 &&
	    add_part(op->r, &body, TYPE_CERTS, certs) == 0 && buffer_add(&body, "--" BOUNDARY "--\r\n", sizeof("--" BOUNDARY "--\r\n") - 1) == 0)
		http_reply(op->r, 200, "multipart/mixed; boundary=" BOUNDARY, buffer_view(&body));
	else
		http_reply_text(op->r, 503, "not now\n");
	if (n > 0)
		OPENSSL_clear_free(key, (size_t)n);
	PKCS8_PRIV_KEY_INFO_free(info);
	buffer_clear(&body);
	est_op_free(op);
}

void est_reply_certificate(struct est_op *op, struct strv der)
{
	size_t n = 0;
	unsigned char *certs = scep_degenerate(NULL, der, (struct strv){ NULL, 0 }, &n);

	if (certs == NULL) {
		est_refuse(op, 503, "the certificate could not be packed");
	} else if (op->made != NULL) {
		reply_with_key(op, (struct strv){ (char *)certs, n });
	} else {
		est_reply(op->r, TYPE_CERTS, (struct strv){ (char *)certs, n });
		est_op_free(op);
	}
	OPENSSL_free(certs);
}

void est_refuse(struct est_op *op, unsigned status, const char *why)
{
	struct log_line l;

	log_begin_audit(&l, "est_refused");
	log_cstr(&l, "client", op->r->client);
	log_int(&l, "status", status);
	log_cstr(&l, "reason", why);
	log_end(&l);
	if (status < 500)
		enrol_refused(op->est->w, "est", "request_refused", op->r->client, why);
	else
		http_reply_field(op->r, "Retry-After", "%u", op->retry_seconds > 0 ? op->retry_seconds : EST_RETRY_SECONDS);
	if (status == 401)
		http_reply_field(op->r, "WWW-Authenticate", "Basic realm=\"EST\", charset=\"UTF-8\"");
	http_reply_text(op->r, status, "%s\n", http_status_text(status));
	est_op_free(op);
}

void est_result(void *arg, const struct enrol_result *result)
{
	struct est_op *op = arg;

	switch (result->status) {
	case ENROL_DONE:
		est_reply_certificate(op, result->der);
		return;
	case ENROL_SECRET:
		est_refuse(op, 401, result->text);
		return;
	case ENROL_LATER:
		est_refuse(op, 503, result->text);
		return;
	case ENROL_PENDING:
		http_reply_field(op->r, "Retry-After", "%u", op->est->w->settings->enroll.est.retry_seconds);
		http_reply_text(op->r, 202, "waits for approval\n");
		est_op_free(op);
		return;
	case ENROL_REFUSED:
		break;
	}
	est_refuse(op, 403, result->text);
}
