/*
 * device_record: the record's MAC and what a record says to a question. Pure: asks nobody, remembers nothing.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>

#include "common/device_parts.h"
#include "common/text.h"

const char *device_answer_text(enum device_answer answer)
{
	static const char *const texts[] = {
		[DEVICE_UNAVAILABLE] = "the device's record cannot be had", [DEVICE_ALLOWED] = "allowed",
		[DEVICE_PINNED] = "bound to the certificate by this first use", [DEVICE_OTHER] = "the certificate is another device's",
		[DEVICE_UNREGISTERED] = "enrolment did not bind this device", [DEVICE_BLOCKED] = "the device is blocked",
	};

	return (size_t)answer < ARRAY_LEN(texts) ? texts[answer] : "unknown";
}

int device_record_mac(struct strv secret, const char *certificate_hex, struct strv sid, struct strv device,
    struct strv state, char out[2 * SHA256_SIZE + 1])
{
	char text[1024];
	uint8_t mac[SHA256_SIZE];
	unsigned size = 0;
	int n;

	if (secret.n == 0 || sid.n >= DEVICE_SID_MAX || device.n >= DEVICE_ID_MAX || state.n > 32 ||
	    strlen(certificate_hex) >= CERT_HEX)
		return -1;
	/* A line end inside a field could stand for another split of the same bytes. */
	if (memchr(sid.n > 0 ? sid.p : "", '\n', sid.n) != NULL || memchr(device.n > 0 ? device.p : "", '\n', device.n) != NULL ||
	    memchr(sid.n > 0 ? sid.p : "", '\0', sid.n) != NULL || memchr(device.n > 0 ? device.p : "", '\0', device.n) != NULL)
		return -1;
	n = snprintf(text, sizeof(text), "device-record\n%s\n%.*s\n%.*s\n%.*s", certificate_hex, STRV_FMT(sid), STRV_FMT(device),
	    STRV_FMT(state));
	if (n < 0 || (size_t)n >= sizeof(text) || HMAC(EVP_sha256(), secret.p, (int)secret.n, (const unsigned char *)text,
	    (size_t)n, mac, &size) == NULL)
		return -1;
	text_hex(out, mac, SHA256_SIZE);
	return 0;
}

enum device_state device_state_from(struct strv text)
{
	if (strv_eq(text, STRV("pinned")))
		return DEVICE_STATE_PINNED;
	if (strv_eq(text, STRV("registered")))
		return DEVICE_STATE_REGISTERED;
	return strv_eq(text, STRV("blocked")) ? DEVICE_STATE_BLOCKED : DEVICE_STATE_NONE;
}

void device_bound_hash(struct strv sid, struct strv device, uint8_t out[16])
{
	uint8_t hash[SHA256_SIZE], two[2 * SHA256_SIZE];

	SHA256((const unsigned char *)sid.p, sid.n, two);
	SHA256((const unsigned char *)device.p, device.n, two + SHA256_SIZE);
	SHA256(two, sizeof(two), hash);
	memcpy(out, hash, 16);
}

enum device_judgement device_judge(struct strv secret, const struct device_op *op, const struct device_view *view,
    enum device_answer *answer)
{
	enum device_state state = device_state_from(view->state);
	char mac[2 * SHA256_SIZE + 1];

	/* What keeps out needs no mac. */
	*answer = DEVICE_BLOCKED;
	if (state == DEVICE_STATE_BLOCKED)
		return DEVICE_JUDGE_FINAL;
	if (device_record_mac(secret, op->hex, view->sid, view->device, view->state, mac) < 0 ||
	    view->mac.n != 2 * SHA256_SIZE || CRYPTO_memcmp(mac, view->mac.p, 2 * SHA256_SIZE) != 0)
		return DEVICE_JUDGE_UNBELIEVABLE;
	*answer = DEVICE_UNREGISTERED;
	if (state == DEVICE_STATE_NONE || (op->registered_only && state != DEVICE_STATE_REGISTERED))
		return DEVICE_JUDGE_FINAL;
	*answer = DEVICE_OTHER;
	if (!strv_eq(view->sid, strv_from(op->sid)))
		return DEVICE_JUDGE_FINAL;
	if (view->device.n == 0)
		return state == DEVICE_STATE_REGISTERED && !op->second ? DEVICE_JUDGE_BIND : DEVICE_JUDGE_FINAL;
	if (strv_eq(view->device, strv_from(op->device)))
		*answer = DEVICE_ALLOWED;
	return DEVICE_JUDGE_FINAL;
}
