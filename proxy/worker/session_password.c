/*
 * session_password: what a request says of its user by itself: the Basic Authorization of devices without a certificate, and hashes
 * that name such users. Decides nothing, keeps no password. Worker process.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "common/text.h"
#include "proxy/worker/session_state.h"

void session_hash(const char *prefix, struct strv text, uint8_t out[SHA256_SIZE])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();

	memset(out, 0, SHA256_SIZE);
	if (md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1) {
		EVP_DigestUpdate(md, prefix, strlen(prefix));
		EVP_DigestUpdate(md, text.p, text.n);
		EVP_DigestFinal_ex(md, out, NULL);
	}
	EVP_MD_CTX_free(md);
}

enum authorization session_authorization(struct session *s, char user[ACCOUNT_NAME_LIMIT])
{
	const struct http_head *head = session_head(s);
	const struct http_field *f = head != NULL ? http_find(head, HTTP_AUTHORIZATION) : NULL;
	enum authorization found = AUTHORIZATION_MALFORMED;
	char text[1024];
	const char *colon;
	long n;

	if (f == NULL)
		return AUTHORIZATION_NONE;
	if (text_starts_nocase(f->value, STRV("Bearer ")))
		return AUTHORIZATION_BEARER;
	if (!text_starts_nocase(f->value, STRV("Basic ")))
		return AUTHORIZATION_OTHER;
	n = text_base64_decode(text, sizeof(text), text_trim((struct strv){ f->value.p + 6, f->value.n - 6 }));
	colon = n > 0 ? memchr(text, ':', (size_t)n) : NULL;
	if (colon != NULL && colon != text && text_copy(user, ACCOUNT_NAME_LIMIT, (struct strv){ text, (size_t)(colon - text) }) == 0)
		found = AUTHORIZATION_BASIC;
	OPENSSL_cleanse(text, sizeof(text));
	return found;
}
