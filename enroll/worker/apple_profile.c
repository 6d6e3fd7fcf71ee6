/*
 * apple_profile: configuration profiles for Apple devices. Pure: signs nothing, sends nothing, keeps nothing.
 * Runs in the worker of easenroll.
 */
#include "enroll/worker/apple_profile.h"

#include <stdio.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "common/certificate.h"
#include "common/text.h"
#include "enroll/worker/apple_seal.h"

#define KEY_USAGE_SIGN_AND_DECRYPT 5	/* bits of "Key Usage": 1 signing, 4 encryption */
#define SID_TAG			   "tag:microsoft.com,2022-09-14:sid:"
#define IDENTIFIER_MAX		   155	/* with what is put behind it still a name that devices take */

/* One profile in the making. */
struct profile {
	struct apple_build b;
	const struct apple_site *site;
	const struct apple_device *device;
};

/* --- names --- */

static bool identifier_is_good(const char *identifier)
{
	size_t n = identifier == NULL ? 0 : strlen(identifier);

	if (n == 0 || n > IDENTIFIER_MAX || identifier[0] == '.' || identifier[n - 1] == '.')
		return false;
	return strspn(identifier, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == n &&
	    strstr(identifier, "..") == NULL;
}

static bool device_id_is_good(const char *id)
{
	return id != NULL && strlen(id) == 32 && strspn(id, "0123456789abcdef") == 32;
}

int apple_profile_uuid(const struct apple_site *site, const struct apple_device *device, const char *what, char out[APPLE_UUID_SIZE])
{
	uint8_t hash[SHA256_SIZE];
	char text[512];
	int n;

	out[0] = '\0';
	if (!identifier_is_good(site->identifier) || !device_id_is_good(device->id))
		return -1;
	n = snprintf(text, sizeof(text), "easgate apple payload|%s|%s|%s", site->identifier, device->id, what);
	if (n < 0 || (size_t)n >= sizeof(text) || EVP_Digest(text, (size_t)n, hash, NULL, EVP_sha256(), NULL) != 1)
		return -1;
	hash[6] = (uint8_t)((hash[6] & 0x0f) | 0x80);
	hash[8] = (uint8_t)((hash[8] & 0x3f) | 0x80);
	snprintf(out, APPLE_UUID_SIZE, "%02X%02X%02X%02X-%02X%02X-%02X%02X-%02X%02X-%02X%02X%02X%02X%02X%02X",
	    hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7], hash[8], hash[9], hash[10], hash[11],
	    hash[12], hash[13], hash[14], hash[15]);
	return 0;
}

/* Appends one label and a dot between labels. */
static int put_label(char *out, size_t size, size_t *used, struct strv label)
{
	size_t need = label.n + (*used > 0 ? 1 : 0);

	if (label.n == 0 || *used + need + 1 > size)
		return -1;
	if (*used > 0)
		out[(*used)++] = '.';
	memcpy(out + *used, label.p, label.n);
	text_lower(out + *used, label.n);
	*used += label.n;
	out[*used] = '\0';
	return 0;
}

int apple_profile_identifier(const char *public_url, char *out, size_t size)
{
	const char *host = public_url == NULL ? NULL : strstr(public_url, "://");
	struct strv rest;
	size_t used = 0;

	out[0] = '\0';
	if (host == NULL)
		return -1;
	rest = (struct strv){ host + 3, strcspn(host + 3, ":/?#") };
	while (rest.n > 0) {
		size_t at = rest.n;

		while (at > 0 && rest.p[at - 1] != '.')
			at--;
		if (put_label(out, size, &used, (struct strv){ rest.p + at, rest.n - at }) < 0)
			goto bad;
		rest.n = at > 0 ? at - 1 : 0;
	}
	if (identifier_is_good(out))
		return 0;
bad:
	out[0] = '\0';
	return -1;
}

/* --- what every payload has --- */

/* PayloadType, PayloadVersion, PayloadIdentifier, PayloadUUID, PayloadDisplayName */
static plist_t payload_new(struct profile *p, const char *type, const char *what, const char *title)
{
	char uuid[APPLE_UUID_SIZE], name[IDENTIFIER_MAX + 128];
	plist_t dict = plist_new_dict();

	if (apple_profile_uuid(p->site, p->device, what, uuid) < 0)
		apple_refuse(&p->b, "site identifier or device id: reverse DNS and 32 lower-case hex digits are expected");
	snprintf(name, sizeof(name), "%s.%.32s%s%s", p->site->identifier, p->device->id, strcmp(what, "profile") == 0 ? "" : ".",
	    strcmp(what, "profile") == 0 ? "" : what);
	apple_text(&p->b, dict, "PayloadType", type);
	apple_number(&p->b, dict, "PayloadVersion", 1);
	apple_text(&p->b, dict, "PayloadIdentifier", name);
	apple_text(&p->b, dict, "PayloadUUID", uuid);
	apple_text(&p->b, dict, "PayloadDisplayName", title);
	return dict;
}

static plist_t profile_new(struct profile *p, const char *type, const char *what)
{
	plist_t root = payload_new(p, type, what, p->site->display_name);

	apple_optional(&p->b, root, "PayloadOrganization", p->site->organization);
	return root;
}

/* Writes and gives back. */
static int profile_end(struct profile *p, plist_t root, struct buffer *out, char *why)
{
	int r = apple_xml(&p->b, root, out);

	apple_forget(root);
	if (r < 0)
		snprintf(why, APPLE_WHY_MAX, "%s", p->b.why);
	else
		why[0] = '\0';
	return r;
}

/* --- payloads --- */

/* The server decides what is in the certificate; this is what AD CS, or another SCEP server behind the URL, needs to see. */
static void scep_names(struct profile *p, plist_t content)
{
	char tag[sizeof(SID_TAG) + CERT_SID_MAX];
	plist_t subject = plist_new_array(), alt = plist_new_dict();

	if (p->site->organization != NULL && *p->site->organization != '\0')
		apple_subject(&p->b, subject, "O", p->site->organization);
	apple_subject(&p->b, subject, "CN", p->device->display_name);
	apple_child(&p->b, content, "Subject", subject);
	apple_text(&p->b, alt, "ntPrincipalName", p->device->upn);
	apple_optional(&p->b, alt, "rfc822Name", p->device->mail);
	if (p->device->sid != NULL && *p->device->sid != '\0') {
		if (strlen(p->device->sid) >= CERT_SID_MAX || strncmp(p->device->sid, "S-1-", 4) != 0 ||
		    p->device->sid[4 + strspn(p->device->sid + 4, "0123456789-")] != '\0')
			apple_refuse(&p->b, "sid: not a SID; S-1-... is expected");
		snprintf(tag, sizeof(tag), "%s%.*s", SID_TAG, CERT_SID_MAX - 1, p->device->sid);
		apple_text(&p->b, alt, "uniformResourceIdentifier", tag);
	}
	apple_child(&p->b, content, "SubjectAltName", alt);
}

static plist_t scep_payload(struct profile *p, const struct apple_scep *scep)
{
	plist_t dict = payload_new(p, "com.apple.security.scep", "scep", "Certificate"), content = plist_new_dict();
	uint8_t sha1[20];

	apple_url(&p->b, content, "URL", scep->url);
	apple_text(&p->b, content, "Name", scep->name);
	scep_names(p, content);
	apple_text(&p->b, content, "Challenge", scep->challenge);
	apple_number(&p->b, content, "Keysize", 2048);	/* absent means 1024 */
	apple_text(&p->b, content, "Key Type", "RSA");
	apple_number(&p->b, content, "Key Usage", KEY_USAGE_SIGN_AND_DECRYPT);
	if (scep->ca_top.n == 0 || EVP_Digest(scep->ca_top.p, scep->ca_top.n, sha1, NULL, EVP_sha1(), NULL) != 1)
		apple_refuse(&p->b, "CAFingerprint: the certificate of the CA is expected");
	else
		apple_bytes(&p->b, content, "CAFingerprint", (struct strv){ (const char *)sha1, sizeof(sha1) });
	apple_number(&p->b, content, "Retries", 3);
	apple_number(&p->b, content, "RetryDelay", 10);
	apple_bool(&p->b, content, "KeyIsExtractable", false);
	apple_bool(&p->b, content, "AllowAllAppsAccess", false);
	apple_child(&p->b, dict, "PayloadContent", content);
	return dict;
}

static plist_t pkcs12_payload(struct profile *p, const struct apple_pkcs12 *pkcs12)
{
	plist_t dict = payload_new(p, "com.apple.security.pkcs12", "pkcs12", "Certificate");

	apple_bytes(&p->b, dict, "PayloadContent", pkcs12->bytes);
	apple_text(&p->b, dict, "PayloadCertificateFileName", "certificate.p12");
	apple_optional(&p->b, dict, "Password", pkcs12->password);
	apple_bool(&p->b, dict, "KeyIsExtractable", false);
	apple_bool(&p->b, dict, "AllowAllAppsAccess", false);
	return dict;
}

/* What Exchange Online stopped taking (a certificate in the account) it gets as OAuth; see facts on both shapes in docs/enrolment.md. */
static void mail_sign_in(struct profile *p, plist_t dict, const struct apple_mail *mail, const char *certificate)
{
	char uuid[APPLE_UUID_SIZE];

	if (mail->kind == APPLE_MAIL_ONLINE) {
		apple_bool(&p->b, dict, "OAuth", true);
		if (mail->oauth_sign_in_url != NULL && *mail->oauth_sign_in_url != '\0')
			apple_url(&p->b, dict, "OAuthSignInURL", mail->oauth_sign_in_url);
		if (mail->oauth_token_url != NULL && *mail->oauth_token_url != '\0')
			apple_url(&p->b, dict, "OAuthTokenRequestURL", mail->oauth_token_url);
		return;
	}
	if (apple_profile_uuid(p->site, p->device, certificate, uuid) == 0)
		apple_text(&p->b, dict, "PayloadCertificateUUID", uuid);
}

static plist_t mail_payload(struct profile *p, const struct apple_mail *mail, const char *certificate)
{
	plist_t dict = payload_new(p, "com.apple.eas.account", "mail", p->site->display_name);
	uint32_t days = mail->past_days;

	if (mail->host == NULL || strpbrk(mail->host, "/ @?#") != NULL)
		apple_refuse(&p->b, "Host: a host name without scheme and path is expected");
	if (days != 0 && days != 1 && days != 3 && days != 7 && days != 14 && days != 31)
		apple_refuse(&p->b, "MailNumberOfPastDaysToSync: %u; 0, 1, 3, 7, 14 or 31 is expected", days);
	apple_text(&p->b, dict, "Host", mail->host);
	apple_bool(&p->b, dict, "SSL", true);
	apple_text(&p->b, dict, "UserName", mail->user);
	apple_text(&p->b, dict, "EmailAddress", mail->address);
	apple_number(&p->b, dict, "MailNumberOfPastDaysToSync", days);
	if (mail->prevent_move)
		apple_bool(&p->b, dict, "PreventMove", true);
	mail_sign_in(p, dict, mail, certificate);
	return dict;
}

/* A certificate that signs itself is a root; others help to build chains. */
static plist_t trust_payload(struct profile *p, struct strv der)
{
	const unsigned char *at = (const unsigned char *)der.p;
	X509 *cert = der.n > 0 && der.n <= APPLE_BYTES_MAX ? d2i_X509(NULL, &at, (long)der.n) : NULL;
	char what[6 + 2 * SHA256_SIZE + 1] = "trust.", title[CERT_TEXT_MAX];
	uint8_t hash[SHA256_SIZE];
	plist_t dict = NULL;
	bool root;

	if (cert == NULL || at != (const unsigned char *)der.p + der.n || cert_sha256(cert, hash) < 0) {
		apple_refuse(&p->b, "trust: not a certificate in DER");
		goto out;
	}
	text_hex(what + 6, hash, 16);
	root = X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0;
	if (cert_subject_attribute(cert, NID_commonName, title) != CERT_OK)
		snprintf(title, sizeof(title), "%s", root ? "Root certificate" : "Intermediate certificate");
	dict = payload_new(p, root ? "com.apple.security.root" : "com.apple.security.pkcs1", what, title);
	apple_text(&p->b, dict, "PayloadCertificateFileName", "ca.cer");
	apple_bytes(&p->b, dict, "PayloadContent", der);
out:
	X509_free(cert);
	ERR_clear_error();
	return dict;
}

static void append(struct profile *p, plist_t array, plist_t item)
{
	if (item == NULL)
		return;
	if (p->b.failed)
		apple_forget(item);
	else
		plist_array_append_item(array, item);
}

static plist_t payloads(struct profile *p, const struct apple_content *content)
{
	plist_t array = plist_new_array();

	if ((content->scep == NULL) == (content->pkcs12 == NULL))
		apple_refuse(&p->b, "certificate: exactly one of SCEP and PKCS#12 is expected");
	else if (content->scep != NULL)
		append(p, array, scep_payload(p, content->scep));
	else
		append(p, array, pkcs12_payload(p, content->pkcs12));
	if (content->mail != NULL)
		append(p, array, mail_payload(p, content->mail, content->scep != NULL ? "scep" : "pkcs12"));
	if (p->site->trust_n > APPLE_TRUST_MAX)
		apple_refuse(&p->b, "trust: %zu certificates; at most %d are expected", p->site->trust_n, APPLE_TRUST_MAX);
	for (size_t i = 0; i < p->site->trust_n && !p->b.failed; i++)
		append(p, array, trust_payload(p, p->site->trust[i]));
	return array;
}

/* --- profiles --- */

/* The array alone is a list of its own, and what is encrypted is its XML. */
static void put_encrypted(struct profile *p, plist_t root, plist_t array, X509 *recipient)
{
	struct buffer plain, sealed;

	buffer_init(&plain, APPLE_PROFILE_MAX);
	buffer_init(&sealed, APPLE_PROFILE_MAX);
	if (apple_xml(&p->b, array, &plain) == 0 && apple_seal(buffer_view(&plain), recipient, &sealed) < 0)
		apple_refuse(&p->b, "EncryptedPayloadContent: the device's certificate is not one to encrypt to: RSA of "
		    "2048 bits or more with key usage keyEncipherment is expected");
	if (!p->b.failed) {
		apple_bytes(&p->b, root, "EncryptedPayloadContent", buffer_view(&sealed));
		apple_bool(&p->b, root, "IsEncrypted", true);
	}
	buffer_clear(&plain);
	buffer_clear(&sealed);
	apple_forget(array);
}

int apple_profile_whole(const struct apple_site *site, const struct apple_device *device, const struct apple_content *content,
    X509 *recipient, struct buffer *out, char *why)
{
	struct profile p = { .site = site, .device = device };
	plist_t root = profile_new(&p, "Configuration", "profile"), array = payloads(&p, content);

	apple_bool(&p.b, root, "PayloadRemovalDisallowed", site->removal_disallowed);
	if (recipient != NULL)
		put_encrypted(&p, root, array, recipient);
	else
		apple_child(&p.b, root, "PayloadContent", array);
	return profile_end(&p, root, out, why);
}

int apple_profile_enrol(const struct apple_site *site, const struct apple_device *device, const struct apple_scep *scep,
    struct buffer *out, char *why)
{
	struct profile p = { .site = site, .device = device };
	plist_t root = profile_new(&p, "Configuration", "enrol"), array = plist_new_array();

	append(&p, array, scep_payload(&p, scep));
	apple_child(&p.b, root, "PayloadContent", array);
	return profile_end(&p, root, out, why);
}

int apple_profile_service(const struct apple_site *site, const struct apple_device *device, const char *url,
    const char *challenge, struct buffer *out, char *why)
{
	static const char *const wanted[] = { "UDID", "VERSION", "PRODUCT", "SERIAL", "IMEI", "MEID" };
	struct profile p = { .site = site, .device = device };
	plist_t root = profile_new(&p, "Profile Service", "service"), content = plist_new_dict(), names = plist_new_array();

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		plist_array_append_item(names, plist_new_string(wanted[i]));
	apple_url(&p.b, content, "URL", url);
	apple_child(&p.b, content, "DeviceAttributes", names);
	apple_text(&p.b, content, "Challenge", challenge);
	apple_child(&p.b, root, "PayloadContent", content);
	return profile_end(&p, root, out, why);
}
