/*
 * apple_profile: configuration profiles (.mobileconfig) for iPhone, iPad and Mac: certificate by SCEP or PKCS#12, the mail
 * account tied to it, trust, and the three answers of the over-the-air profile service. Pure: no network, no files, no clock.
 *
 * What comes out is the unsigned XML, appended to a buffer: the bytes for SIGNER_PROFILE_SIGN (enroll/signer/ask.h), whose
 * answer, a CMS SignedData in DER, is what devices get as APPLE_PROFILE_TYPE. It may hold secrets: never log or store it.
 *
 * Names and UUIDs come from site and device alone, so that a new profile of the same device replaces the one before.
 * Keys: Apple's "Configuration Profile Reference" and "Over-the-Air Profile Delivery and Configuration".
 */
#ifndef EASGATE_ENROLL_APPLE_PROFILE_H
#define EASGATE_ENROLL_APPLE_PROFILE_H

#include <openssl/x509.h>

#include "common/buffer.h"
#include "enroll/worker/apple_plist.h"

#define APPLE_PROFILE_TYPE "application/x-apple-aspen-config"
#define APPLE_PROFILE_MAX  262144	/* bytes; what `out` should allow at least */
#define APPLE_UUID_SIZE	   37
#define APPLE_TRUST_MAX	   8

/* All texts are borrowed for the call, UTF-8, at most APPLE_TEXT_MAX bytes; control characters are refused. */
struct apple_site {
	const char *identifier;		/* reverse DNS, letters, digits, '.' and '-': "com.example.mail" */
	const char *organization;	/* "": left out */
	const char *display_name;	/* what the device shows: "Company mail" */
	bool removal_disallowed;	/* PayloadRemovalDisallowed; supervised devices only keep to it */
	const struct strv *trust;	/* certificates in DER that the device is to trust: the mail server's CA and ours */
	size_t trust_n;			/* at most APPLE_TRUST_MAX */
};

struct apple_device {
	const char *id;			/* 32 lower-case hex digits */
	const char *display_name;	/* of the person */
	const char *upn, *mail, *sid;	/* sid "" : no tag URI in the request */
};

/* com.apple.security.scep: the key is made on the device, RSA 2048, for signing and decrypting. */
struct apple_scep {
	const char *url, *name;		/* name: the CA's instance name, sent as `message` of GetCACert */
	const char *challenge;		/* one-time secret */
	struct strv ca_top;		/* DER of the top of the chain that GetCACert gives: CAFingerprint is checked against that */
};

/* com.apple.security.pkcs12: the key was made by us (pkcs12.h). */
struct apple_pkcs12 {
	struct strv bytes;
	const char *password;		/* "": the device asks for it */
};

enum apple_mail_kind {
	APPLE_MAIL_EXCHANGE = 0,	/* on-premises: the account signs in with the certificate */
	APPLE_MAIL_ONLINE,		/* Exchange Online: OAuth, no password; the certificate is for the identity provider's page */
};

struct apple_mail {
	enum apple_mail_kind kind;
	const char *host;		/* without scheme or path; "host" or "host:port" */
	const char *user;		/* UPN */
	const char *address;
	uint32_t past_days;		/* 0 (all), 1, 3, 7, 14 or 31 */
	bool prevent_move;
	const char *oauth_sign_in_url, *oauth_token_url;	/* "": the device finds them; only APPLE_MAIL_ONLINE */
};

/* Exactly one of scep and pkcs12; mail NULL: none. */
struct apple_content {
	const struct apple_scep *scep;
	const struct apple_pkcs12 *pkcs12;
	const struct apple_mail *mail;
};

/*
 * The whole profile: certificate, account, trust. With `recipient` its payloads are encrypted to that certificate (RSA, AES-256-CBC;
 * phase 3 of the over-the-air service, `recipient` being the certificate that signed the device's second message).
 * 0, or -1 with why (APPLE_WHY_MAX bytes) and nothing appended.
 */
MUST_CHECK int apple_profile_whole(const struct apple_site *site, const struct apple_device *device,
    const struct apple_content *content, X509 *recipient, struct buffer *out, char *why);
/* Phase 1: asks the device for its attributes, to be posted to `url` with `challenge` (one-time secret, bound to the user). */
MUST_CHECK int apple_profile_service(const struct apple_site *site, const struct apple_device *device, const char *url,
    const char *challenge, struct buffer *out, char *why);
/* Phase 2: nothing but the SCEP payload. */
MUST_CHECK int apple_profile_enrol(const struct apple_site *site, const struct apple_device *device,
    const struct apple_scep *scep, struct buffer *out, char *why);

/*
 * The UUID (RFC 9562 version 8, upper case) of `what` ("profile", "scep", "pkcs12", "mail", "service", "enrol", "trust.<hex>") on that device.
 */
MUST_CHECK int apple_profile_uuid(const struct apple_site *site, const struct apple_device *device, const char *what,
    char out[APPLE_UUID_SIZE]);
/* "https://Enroll.example.com:8443" -> "com.example.enroll": a site identifier. 0, or -1 if there is no host name of letters. */
MUST_CHECK int apple_profile_identifier(const char *public_url, char *out, size_t size);

#endif
