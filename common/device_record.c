/*
 * device_record: keys, states, the record's MAC, and what a record says to a question. Pure: asks nobody, remembers nothing.
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
	static const char *const texts[DEVICE_ANSWERS] = {
		[DEVICE_UNAVAILABLE] = "the device's record cannot be had", [DEVICE_ALLOWED] = "allowed",
		[DEVICE_PINNED] = "bound to the certificate by this first use", [DEVICE_OTHER] = "the certificate is another device's",
		[DEVICE_UNREGISTERED] = "enrolment did not bind this device", [DEVICE_BLOCKED] = "the device is blocked",
		[DEVICE_QUARANTINED] = "a new device waits for an administrator", [DEVICE_LIMIT] = "the account has as many devices as it may",
		[DEVICE_NEW] = "nothing is known of this device",
	};

	return (size_t)answer < ARRAY_LEN(texts) ? texts[answer] : "unknown";
}

const char *device_method_name(enum device_method method)
{
	static const char *const names[DEVICE_METHODS] = { "certificate", "password", "bearer" };

	return (unsigned)method < DEVICE_METHODS ? names[method] : "";
}

/* --- states --- */

static const char *const states[DEVICE_STATES] = { "", "pinned", "registered", "blocked", "seen", "quarantined" };

const char *device_state_name(enum device_state state)
{
	return (unsigned)state < DEVICE_STATES ? states[state] : "";
}

enum device_state device_state_from(struct strv text)
{
	for (unsigned i = DEVICE_STATE_PINNED; i < DEVICE_STATES; i++)
		if (strv_eq(text, strv_from(states[i])))
			return (enum device_state)i;
	return DEVICE_STATE_NONE;
}

bool device_state_ends(enum device_state state)
{
	return state == DEVICE_STATE_PINNED || state == DEVICE_STATE_SEEN || state == DEVICE_STATE_QUARANTINED;
}

enum device_state device_new_state(const struct device_op *op)
{
	if (op->look_only)
		return DEVICE_STATE_NONE;
	if (op->quarantine)
		return DEVICE_STATE_QUARANTINED;
	if (!op->binds)
		return DEVICE_STATE_SEEN;
	if (!op->registered_only)
		return DEVICE_STATE_PINNED;
	return op->note ? DEVICE_STATE_SEEN : DEVICE_STATE_NONE;
}

enum device_answer device_new_answer(const struct device_op *op, enum device_state made)
{
	switch (made) {
	case DEVICE_STATE_QUARANTINED:
		return DEVICE_QUARANTINED;
	case DEVICE_STATE_PINNED:
		return DEVICE_PINNED;
	case DEVICE_STATE_SEEN:
		return op->binds ? DEVICE_UNREGISTERED : DEVICE_ALLOWED;
	default:
		if (op->quarantine && op->device[0] == '\0')
			return DEVICE_QUARANTINED;	/* nothing comes later that could be asked */
		return op->look_only && !(op->binds && op->registered_only) ? DEVICE_NEW : DEVICE_UNREGISTERED;
	}
}

enum device_state device_bound_state(enum device_state before)
{
	return before == DEVICE_STATE_REGISTERED ? DEVICE_STATE_REGISTERED : DEVICE_STATE_PINNED;
}

/* --- keys and macs --- */

/* A line end inside a field could stand for another split of the same bytes. */
static bool is_field(struct strv text)
{
	return text.n == 0 || (memchr(text.p, '\n', text.n) == NULL && memchr(text.p, '\0', text.n) == NULL);
}

int device_key(const char *sid, const char *device_id, uint8_t out[SHA256_SIZE])
{
	char text[DEVICE_SID_MAX + DEVICE_ID_MAX + 32];
	int n = snprintf(text, sizeof(text), "password-device\n%s\n%s", sid, device_id);

	if (n < 0 || (size_t)n >= sizeof(text) || !is_field(strv_from(sid)) || !is_field(strv_from(device_id)))
		return -1;
	return EVP_Digest(text, (size_t)n, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -1;
}

int device_record_mac(struct strv secret, const char *key_hex, struct strv sid, struct strv device,
    struct strv state, char out[2 * SHA256_SIZE + 1])
{
	char text[1024];
	uint8_t mac[SHA256_SIZE];
	unsigned size = 0;
	int n;

	if (secret.n == 0 || sid.n >= DEVICE_SID_MAX || device.n >= DEVICE_ID_MAX || state.n > 32 ||
	    strlen(key_hex) >= DEVICE_KEY_HEX || !is_field(sid) || !is_field(device))
		return -1;
	n = snprintf(text, sizeof(text), "device-record\n%s\n%.*s\n%.*s\n%.*s", key_hex, STRV_FMT(sid), STRV_FMT(device),
	    STRV_FMT(state));
	if (n < 0 || (size_t)n >= sizeof(text) || HMAC(EVP_sha256(), secret.p, (int)secret.n, (const unsigned char *)text,
	    (size_t)n, mac, &size) == NULL)
		return -1;
	text_hex(out, mac, SHA256_SIZE);
	return 0;
}

void device_bound_hash(struct strv sid, struct strv device, uint8_t out[16])
{
	uint8_t hash[SHA256_SIZE], two[2 * SHA256_SIZE];

	SHA256((const unsigned char *)sid.p, sid.n, two);
	SHA256((const unsigned char *)device.p, device.n, two + SHA256_SIZE);
	SHA256(two, sizeof(two), hash);
	memcpy(out, hash, 16);
}

/* --- a record and a question --- */

enum device_judgement device_judge_state(const struct device_op *op, enum device_state state, struct strv sid, struct strv device,
    enum device_answer *answer)
{
	bool bound_by_right = state == DEVICE_STATE_REGISTERED, nameless = op->device[0] == '\0';

	*answer = state == DEVICE_STATE_BLOCKED ? DEVICE_BLOCKED : DEVICE_QUARANTINED;
	if (state == DEVICE_STATE_BLOCKED || state == DEVICE_STATE_QUARANTINED)
		return DEVICE_JUDGE_FINAL;
	*answer = DEVICE_UNREGISTERED;
	if (state == DEVICE_STATE_NONE || (op->binds && op->registered_only && !bound_by_right))
		return DEVICE_JUDGE_FINAL;
	*answer = DEVICE_OTHER;
	if (!strv_eq(sid, strv_from(op->sid)))
		return DEVICE_JUDGE_FINAL;
	/* A registered one gets its device at its first use whether the policy compares or not; a seen one where the policy binds. */
	if (!op->look_only && !op->second && !nameless && ((bound_by_right && device.n == 0) || (state == DEVICE_STATE_SEEN && op->binds)))
		return DEVICE_JUDGE_BIND;
	if (!op->binds || nameless || (strv_eq(device, strv_from(op->device)) && state != DEVICE_STATE_SEEN))
		*answer = DEVICE_ALLOWED;
	return DEVICE_JUDGE_FINAL;
}

enum device_judgement device_judge(struct strv secret, const struct device_op *op, const struct device_view *view,
    enum device_answer *answer)
{
	enum device_state state = device_state_from(view->state);
	char mac[2 * SHA256_SIZE + 1];

	/* What keeps out needs no mac. */
	if (state != DEVICE_STATE_BLOCKED && state != DEVICE_STATE_QUARANTINED &&
	    (device_record_mac(secret, op->hex, view->sid, view->device, view->state, mac) < 0 ||
	        view->mac.n != 2 * SHA256_SIZE || CRYPTO_memcmp(mac, view->mac.p, 2 * SHA256_SIZE) != 0)) {
		*answer = DEVICE_UNAVAILABLE;
		return DEVICE_JUDGE_UNBELIEVABLE;
	}
	return device_judge_state(op, state, view->sid, view->device, answer);
}
