/*
 * reply: the one table from facts to statuses. Decides nothing, asks nobody. Worker process.
 */
#include "proxy/worker/reply.h"

#include <stdio.h>

#define MORE_MAX 2048	/* a challenge is BEARER_CHALLENGE_MAX at most */

static const struct fact_row {
	const char *name;
	unsigned short status;
	bool audited, fault, keeps;	/* keeps: the connection may go on */
	const char *cure;
} rows[FACT_COUNT] = {
	[FACT_NONE] = { "none", 500, false, true, false, "report this: a refusal without a reason is a defect" },
	[FACT_NO_CERTIFICATE] = { "no-certificate", 403, true, false, false, NULL },
	[FACT_METHOD_OFF] = { "method-off", 403, true, false, false, "see the policy's methods; `easproxy explain` says which rule decides" },
	[FACT_CERT_UNUSABLE] = { "certificate-unusable", 403, true, false, false, "enrol the device anew; detail says what is wrong in the certificate" },
	[FACT_CERT_EXPIRED] = { "certificate-expired", 403, true, false, false, NULL },
	[FACT_CERT_UNTRUSTED] = { "certificate-untrusted", 403, true, false, false, NULL },
	[FACT_REVOKED] = { "revoked", 403, true, false, false, NULL },
	[FACT_ACCOUNT_UNKNOWN] = { "account-unknown", 403, true, false, false, NULL },
	[FACT_ACCOUNT_AMBIGUOUS] = { "account-ambiguous", 403, true, false, false, "make the mapped attribute unique in the directory" },
	[FACT_ACCOUNT_MISMATCH] = { "account-mismatch", 403, true, false, false, "the name now belongs to another account: enrol the device anew" },
	[FACT_ACCOUNT_DISABLED] = { "account-disabled", 403, true, false, false, NULL },
	[FACT_ACCOUNT_EXPIRED] = { "account-expired", 403, true, false, false, NULL },
	[FACT_PASSWORD_OVER] = { "password-over", 403, true, false, false, "its owner changes it at a computer, then enters the new one in the phone" },
	[FACT_PASSWORD_REFUSED] = { "password-refused", 403, true, false, false, "take the password out of the device's mail profile: its certificate is enough" },
	[FACT_NOT_NOW] = { "not-now", 403, true, false, false, NULL },
	[FACT_NOT_IN_GROUP] = { "not-in-group", 403, true, false, false, NULL },
	[FACT_OTHER_USER] = { "other-user", 403, true, false, false, NULL },
	[FACT_OTHER_DEVICE] = { "other-device", 403, true, false, false, "if the owner has a new phone: enrol it, or release the pin" },
	[FACT_DEVICE_UNREGISTERED] = { "device-unregistered", 403, true, false, false, NULL },
	[FACT_DEVICE_BLOCKED] = { "device-blocked", 403, true, false, false, NULL },
	[FACT_DEVICE_QUARANTINED] = { "device-quarantined", 403, true, false, false, "release or block it: easproxy device list, or easenroll's pages" },
	[FACT_DEVICE_LIMIT] = { "device-limit", 403, true, false, false, "block or forget a device that the user has no more, or raise devices_per_user" },
	[FACT_DEVICE_TYPE] = { "device-type", 403, true, false, false, NULL },
	[FACT_USER_AGENT] = { "user-agent", 403, true, false, false, NULL },
	[FACT_PROTOCOL_VERSION] = { "protocol-version", 403, true, false, false, NULL },
	[FACT_UNVERIFIED] = { "unverified", 403, true, false, false, "only a mail server with credential: passthrough may get tokens of proxy.bearer.mode: pass" },
	[FACT_DELEGATION_FORBIDDEN] = { "delegation-forbidden", 403, true, false, false, "administrators and protected accounts get no ticket by design" },
	[FACT_WRONG_HOST] = { "wrong-host", 421, true, false, false, NULL },
	[FACT_REVOCATION_UNKNOWN] = { "revocation-unknown", 503, true, true, true, "bring the CRL or Redis up to date; /readyz names the source" },
	[FACT_DIRECTORY_DOWN] = { "directory-down", 503, false, true, true, "bring a domain controller back; /readyz and the directory's lines name it" },
	[FACT_KDC_DOWN] = { "kdc-down", 503, false, true, true, "bring a KDC back, see proxy.kerberos.kdcs" },
	[FACT_DELEGATION_REFUSED] = { "delegation-refused", 503, true, true, true, "detail says what the KDC refuses and what to set in AD" },
	[FACT_NO_UPSTREAM] = { "no-upstream", 503, false, true, true, "bring a mail server back; see proxy.upstreams and its health lines" },
	[FACT_UPSTREAM_AUTH] = { "upstream-auth", 503, true, true, true, "the mail server refuses the credential: check its Kerberos or trusted-header set-up" },
	[FACT_ACCOUNT_LOCKED] = { "account-locked", 503, true, false, true, "it ends by itself, or unlock it in AD; certificates go on" },
	[FACT_PASSWORD_GUARDED] = { "password-guarded", 503, true, false, true, "some device of the account keeps a stale password: see the access lines of its user" },
	[FACT_PASSWORD_UNCHECKED] = { "password-unchecked", 503, true, true, true, "detail says why nobody could check the password" },
	[FACT_TOKEN_UNCHECKED] = { "token-unchecked", 503, true, true, true, "bring the issuer's server back, see bearer_keys_failed lines; certificates go on" },
	[FACT_DEVICE_STATE_DOWN] = { "device-state-down", 503, false, true, true, "bring Redis back; /readyz says since when it is away" },
	[FACT_OVERLOADED] = { "overloaded", 503, false, true, true, "too many questions under way: see process lines, add workers or kerberos processes" },
	[FACT_UPSTREAM_BROKEN] = { "upstream-broken", 502, false, true, false, "the mail server closed the connection or sent what is no HTTP: see its own log" },
	[FACT_UPSTREAM_TIMEOUT] = { "upstream-timeout", 504, false, true, false, "the mail server did not answer in time: see its load, or raise response_ms" },
	[FACT_MALFORMED] = { "malformed", 400, true, false, false, NULL },
	[FACT_BAD_QUERY] = { "bad-query", 400, true, false, false, NULL },
	[FACT_HEAD_TOO_LARGE] = { "head-too-large", 431, true, false, false, NULL },
	[FACT_BODY_TOO_LARGE] = { "body-too-large", 413, true, false, false, NULL },
	[FACT_TOO_SLOW] = { "too-slow", 408, true, false, false, NULL },
	[FACT_NOT_OURS] = { "not-ours", 404, true, false, false, NULL },
	[FACT_METHOD] = { "method", 405, true, false, false, NULL },
	[FACT_PASSWORD_WANTED] = { "password-wanted", 401, false, false, true, NULL },
	[FACT_PASSWORD_WRONG] = { "password-wrong", 401, true, false, true, NULL },
	[FACT_TOKEN_REFUSED] = { "token-refused", 401, true, false, true, "detail says what is wrong: compare proxy.bearer with the issuer's tokens" },
	[FACT_SHUTTING_DOWN] = { "shutting-down", 503, false, false, false, NULL },
};

const char *const fact_names[] = {
	"none", "no-certificate", "method-off", "certificate-unusable", "certificate-expired", "certificate-untrusted", "revoked", "account-unknown",
	"account-ambiguous", "account-mismatch", "account-disabled", "account-expired", "password-over", "password-refused", "not-now",
	"not-in-group", "other-user", "other-device", "device-unregistered", "device-blocked", "device-quarantined", "device-limit",
	"device-type", "user-agent", "protocol-version",
	"unverified", "delegation-forbidden", "wrong-host",
	"revocation-unknown", "directory-down", "kdc-down", "delegation-refused", "no-upstream", "upstream-auth", "account-locked", "password-guarded",
	"password-unchecked", "token-unchecked",
	"device-state-down", "overloaded", "upstream-broken", "upstream-timeout", "malformed", "bad-query", "head-too-large", "body-too-large", "too-slow",
	"not-ours", "method", "password-wanted", "password-wrong", "token-refused", "shutting-down", NULL,
};

static const struct fact_row *row(enum fact fact)
{
	return &rows[(unsigned)fact < FACT_COUNT ? fact : FACT_NONE];
}

const char *fact_name(enum fact fact) { return row(fact)->name; }
unsigned fact_status(enum fact fact) { return row(fact)->status; }
bool fact_is_audited(enum fact fact) { return row(fact)->audited; }
bool fact_is_fault(enum fact fact) { return row(fact)->fault; }
const char *fact_cure(enum fact fact) { return row(fact)->cure; }
bool reply_closes(enum fact fact) { return !row(fact)->keeps; }

static const char *status_text(unsigned status)
{
	switch (status) {
	case 400: return "Bad Request";
	case 401: return "Unauthorized";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 408: return "Request Timeout";
	case 413: return "Content Too Large";
	case 421: return "Misdirected Request";
	case 431: return "Request Header Fields Too Large";
	case 502: return "Bad Gateway";
	case 503: return "Service Unavailable";
	case 504: return "Gateway Timeout";
	default:  return "Internal Server Error";
	}
}

/* Each challenge in a field of its own: not every client reads a list. */
static void challenge(char out[MORE_MAX], const struct reply_more *m, bool token_refused)
{
	bool bearer = (m->challenges & REPLY_BEARER) != 0 && m->bearer != NULL;

	snprintf(out, MORE_MAX, "%s%s%s%s%s", bearer ? "WWW-Authenticate: Bearer " : "", bearer ? m->bearer : "",
	    bearer && token_refused ? ", error=\"invalid_token\"" : "", bearer ? "\r\n" : "",
	    (m->challenges & REPLY_BASIC) != 0 ? "WWW-Authenticate: Basic realm=\"mail\", charset=\"UTF-8\"\r\n" : "");
}

int reply_write(struct buffer *out, enum fact fact, const struct reply_more *m, bool close)
{
	unsigned status = fact_status(fact);
	char more[MORE_MAX] = "";

	if (status == 503)
		snprintf(more, sizeof(more), "Retry-After: %u\r\n", m->retry_after_seconds);
	else if (status == 405)
		snprintf(more, sizeof(more), "Allow: OPTIONS, POST\r\n");
	else if (status == 401)
		challenge(more, m, fact == FACT_TOKEN_REFUSED);
	/* No body: a phone shows none, and the reason is for the operator's log alone. */
	return buffer_printf(out, "HTTP/1.1 %u %s\r\nContent-Length: 0\r\nCache-Control: no-store\r\n%s%s\r\n", status,
	    status_text(status), more, close ? "Connection: close\r\n" : "");
}
