/*
 * ota_service: the over-the-air profile service: whose post it is (ota.h, registry), which profile comes next (apple_offer.h), the signer's
 * signature, the answer. A secret is used up when its answer is made, so that a failure of ours can be tried again. Worker of easenroll.
 */
#include "enroll/worker/ota_service.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "enroll/worker/apple_offer.h"
#include "enroll/worker/chain.h"
#include "enroll/worker/enrol.h"
#include "enroll/worker/ota.h"
#include "enroll/worker/worker.h"

#define OPS_MAX 64
#define ACTOR	"ota"

/* One post that waits for the signer. */
struct op {
	struct op *next;
	struct ota_service *owner;
	struct http_request *request;
	uint64_t asked;
	bool uses_secret;			/* phase 1 */
	uint8_t secret[SHA256_SIZE];
	int64_t account;
	char device[REGISTRY_DEVICE], udid[OTA_FIELD_MAX], serial[OTA_FIELD_MAX];
};

struct ota_service {
	struct enroll_worker *worker;
	struct op *ops;
	unsigned ops_n;
};

bool ota_service_is_on(const struct enroll_worker *w)
{
	return w->settings->enroll.apple.device_cas_file[0] != '\0';
}

static struct registry_by by_now(const struct enroll_worker *w, const char *detail)
{
	return (struct registry_by){ .actor = ACTOR, .detail = detail, .at = loop_wall(w->loop) };
}

/* --- who posts --- */

static struct ota *make_ota(const struct enroll_worker *w)
{
	struct strv devices = { NULL, 0 };
	BIO *ours = BIO_new(BIO_s_mem());
	const struct chain_entry *e;
	struct ota *o = NULL;
	char *p = NULL;
	long n;

	for (size_t i = 0; ours != NULL && (e = chain_at(w->chain, i)) != NULL; i++)
		if (e->kind == SIGNER_CHAIN_ISSUING || e->kind == SIGNER_CHAIN_OLD_ISSUING)
			PEM_write_bio_X509(ours, e->certificate);
	n = ours == NULL ? 0 : BIO_get_mem_data(ours, &p);
	if (n > 0 && bundle_get(w->files, w->settings->enroll.apple.device_cas_file, &devices) && devices.n > 0)
		o = ota_new(devices, (struct strv){ p, (size_t)n });
	BIO_free(ours);
	ERR_clear_error();
	return o;
}

/* A device's names stay what they were when it first came. */
static bool is_the_same(const struct registry_device *device, const struct ota_post *post)
{
	return (device->udid[0] == '\0' || strcmp(device->udid, post->udid) == 0) &&
	    (device->serial_number[0] == '\0' || strcmp(device->serial_number, post->serial) == 0);
}

/* Phase 1: the secret says which device of the registry this is, and it must not be another phone by now. NULL, or what is wrong. */
static const char *by_secret(struct enroll_worker *w, const struct ota_post *post, struct op *op, struct registry_account *owner,
    struct registry_device *device)
{
	struct registry_secret row;

	if (secret_find(w->registry, &w->secret_key, strv_from(post->challenge), APPLE_OFFER_OTA, loop_wall(w->loop), &row) != REGISTRY_OK)
		return "the one-time secret is unknown, used or too old";
	if (registry_device_get(w->registry, row.device, device) != REGISTRY_OK ||
	    registry_account_by_id(w->registry, row.account, owner) != REGISTRY_OK || device->account != owner->id)
		return "the secret's device is not there";
	if (!is_the_same(device, post))
		return "another device than the one that this was made for";
	op->uses_secret = true;
	memcpy(op->secret, row.mac, sizeof(op->secret));
	op->account = row.account;
	return NULL;
}

/* Phase 3: the certificate says it, if it is live and the phone is the one of phase 1. */
static const char *by_certificate(struct enroll_worker *w, const struct ota_post *post, struct registry_account *owner,
    struct registry_device *device)
{
	struct registry_certificate cert;
	const char *why = "the certificate is none of ours";
	unsigned char *der = NULL;
	int n = i2d_X509(post->signer, &der);
	enum enrol_status status = ENROL_REFUSED;

	if (n > 0)
		status = enrol_holder(w, (struct strv){ (const char *)der, (size_t)n }, &cert, device, owner, &why);
	OPENSSL_free(der);
	if (status != ENROL_DONE)
		return why[0] != '\0' ? why : "the certificate is none of ours";
	if ((device->udid[0] == '\0' && device->serial_number[0] == '\0') || !is_the_same(device, post))
		return "another device than the one that this certificate was made for";
	return NULL;
}

/* --- the answer --- */

static void op_free(struct op *op)
{
	struct op **at = &op->owner->ops;

	while (*at != op)
		at = &(*at)->next;
	*at = op->next;
	op->owner->ops_n--;
	OPENSSL_cleanse(op, sizeof(*op));
	free(op);
}

static void later(struct http_request *r, const char *device, const char *why)
{
	log_say(LOG_WARNING, "ota_failed", "device %s: %s", device, why);
	http_reply_text(r, 503, "This cannot be delivered just now: try again in a moment.");
}

static void refuse(struct enroll_worker *w, struct http_request *r, const char *device, const char *why)
{
	enrol_refused(w, ACTOR, "refused", device, why);
	http_reply_text(r, 403, "This device may not have a profile. Start again on the portal.");
}

/* What phase 1 has proved goes into the registry before the device gets anything for it. NULL, or what is wrong. */
static const char *remember(struct enroll_worker *w, const struct op *op)
{
	struct registry_by by = by_now(w, "over-the-air profile service");

	if (!op->uses_secret)
		return NULL;
	if (registry_secret_use(w->registry, &by, op->secret, op->account, op->device, NULL, APPLE_OFFER_OTA) != REGISTRY_OK)
		return "the one-time secret was used meanwhile";
	if (registry_device_describe(w->registry, &by, op->device, NULL, op->udid[0] != '\0' ? op->udid : NULL,
		op->serial[0] != '\0' ? op->serial : NULL, NULL) != REGISTRY_OK)
		return "the device could not be described";
	return NULL;
}

static void on_signed(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct op *op = arg;
	struct enroll_worker *w = op->owner->worker;
	struct registry_device device;
	struct signer_answer answer;
	const char *why;

	if (status != WIRE_OK || n < sizeof(answer)) {
		later(op->request, op->device, "the signer does not answer");
		op_free(op);
		return;
	}
	memcpy(&answer, body, sizeof(answer));
	answer.text[sizeof(answer.text) - 1] = '\0';
	if (answer.status != SIGNER_OK || answer.n != n - sizeof(answer))
		later(op->request, op->device, answer.text[0] != '\0' ? answer.text : "the signer's answer is malformed");
	else if (registry_device_get(w->registry, op->device, &device) != REGISTRY_OK || device.state != REGISTRY_DEVICE_ACTIVE)
		refuse(w, op->request, op->device, "the device was revoked meanwhile");
	else if ((why = remember(w, op)) != NULL)
		refuse(w, op->request, op->device, why);
	else
		http_reply(op->request, 200, APPLE_PROFILE_TYPE, (struct strv){ (const char *)body + sizeof(answer), answer.n });
	op_free(op);
}

static int start_signing(struct op *op, enum apple_offer_kind kind, const struct registry_account *owner, X509 *recipient, char *why)
{
	struct enroll_worker *w = op->owner->worker;
	struct registry_by by = by_now(w, kind == APPLE_OFFER_ENROL ? "for phase 2" : "for phase 3");
	struct buffer profile;

	buffer_init(&profile, APPLE_PROFILE_MAX);
	if (apple_offer(w, kind, &by, owner, op->device, recipient, &profile, why) == 0) {
		snprintf(why, APPLE_WHY_MAX, "too much is asked of the signer, or the profile is too large");
		if (buffer_len(&profile) <= SIGNER_DATA_MAX)
			op->asked = asker_ask(w->signer, SIGNER_PROFILE_SIGN, buffer_data(&profile), buffer_len(&profile),
			    SIGNER_TIMEOUT_MS, on_signed, op);
	}
	buffer_clear(&profile);
	return op->asked != 0 ? 0 : -1;
}

/* The post is good as such: whose is it, and may they? */
static void answer_post(struct enroll_worker *w, struct http_request *r, const struct ota_post *post)
{
	struct ota_service *s = w->ota;
	bool first = post->phase == OTA_BUILT_IN;
	struct registry_account owner;
	struct registry_device device;
	char why[APPLE_WHY_MAX] = "out of memory";
	struct op *op = s->ops_n < OPS_MAX ? calloc(1, sizeof(*op)) : NULL;
	const char *wrong;

	if (op == NULL) {
		later(r, "", "too much is under way");
		return;
	}
	*op = (struct op){ .next = s->ops, .owner = s, .request = r };
	s->ops = op;
	s->ops_n++;
	wrong = first ? by_secret(w, post, op, &owner, &device) : by_certificate(w, post, &owner, &device);
	if (wrong == NULL && device.state != REGISTRY_DEVICE_ACTIVE)
		wrong = "the device is not active";
	if (wrong != NULL) {
		refuse(w, r, post->udid[0] != '\0' ? post->udid : post->serial, wrong);
		op_free(op);
		return;
	}
	memcpy(op->device, device.id, sizeof(op->device));
	memcpy(op->udid, post->udid, sizeof(op->udid));
	memcpy(op->serial, post->serial, sizeof(op->serial));
	if (start_signing(op, first ? APPLE_OFFER_ENROL : APPLE_OFFER_WHOLE, &owner, first ? NULL : post->signer, why) < 0) {
		later(r, device.id, why);
		op_free(op);
	}
}

static void serve(struct enroll_worker *w, struct http_request *r)
{
	struct ota_post post;
	enum ota_result result;
	struct ota *ota;

	if (!ota_service_is_on(w) || w->ota == NULL) {
		http_reply_text(r, 404, "Not found.");
		return;
	}
	if (r->body.n > OTA_POST_MAX) {
		http_reply_text(r, 413, "Too large.");
		return;
	}
	ota = make_ota(w);
	if (ota == NULL) {
		later(r, "", "enroll.apple.device_cas_file holds no certificates in PEM, or the signer has not told its CA yet");
		return;
	}
	result = ota_open(ota, r->body, loop_wall(w->loop), &post);
	ota_free(ota);
	if (result == OTA_OK)
		answer_post(w, r, &post);
	else
		refuse(w, r, "", ota_result_text(result));
	ota_post_clear(&post);
}

const struct route ota_routes[] = {
	{ "POST", OTA_PATH, HTTP_WAY_TLS, 0, ROUTE_OPEN, serve },
	{ .methods = NULL },
};

/* --- life --- */

struct ota_service *ota_service_new(struct enroll_worker *w)
{
	struct ota_service *s = calloc(1, sizeof(*s));

	if (s != NULL)
		s->worker = w;
	return s;
}

void ota_service_free(struct ota_service *s)
{
	if (s == NULL)
		return;
	while (s->ops != NULL) {
		asker_cancel(s->worker->signer, s->ops->asked);
		op_free(s->ops);
	}
	free(s);
}
