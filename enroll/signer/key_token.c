/*
 * key_token: the two ways that OpenSSL has to a PKCS#11 token. Runs in the signer and in the `ca` commands; the engine stays loaded until the process ends.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* OpenSSL 3.0 of Debian 12 has no other way to a token than an engine */
#include "enroll/signer/key_token.h"

#include <openssl/provider.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <stdlib.h>
#ifndef OPENSSL_NO_ENGINE
#include <openssl/engine.h>
#endif

#ifndef OPENSSL_NO_ENGINE
/* One for the process: libp11 loses what it allocated where it is unloaded. *there false: no such engine here; NULL otherwise: *r says why. */
static ENGINE *engine_of(const char *module, const char *pin, bool *there, struct refusal *r)
{
	static ENGINE *kept;
	ENGINE *engine = kept;

	if (engine == NULL) {
		ENGINE_load_dynamic();
		engine = ENGINE_by_id("pkcs11");
	}
	*there = engine != NULL;
	if (engine == NULL)
		return NULL;
	if ((engine != kept && !ENGINE_ctrl_cmd_string(engine, "MODULE_PATH", module, 0)) ||
	    (pin != NULL && !ENGINE_ctrl_cmd_string(engine, "PIN", pin, 0)) || (engine != kept && !ENGINE_init(engine))) {
		refuse_openssl(r, "enroll.ca.pkcs11_module: %s cannot be used", module);
		if (engine != kept)
			ENGINE_free(engine);
		return NULL;
	}
	return kept = engine;
}

static EVP_PKEY *load_by_engine(
    const char *uri, const char *module, const char *pin, bool *there, struct refusal *r)
{
	ENGINE *engine = engine_of(module, pin, there, r);
	EVP_PKEY *key = engine != NULL ? ENGINE_load_private_key(engine, uri, NULL, NULL) : NULL;

	if (engine != NULL && key == NULL)
		refuse_openssl(r,
		    "%s: the token has no such private key, or enroll.ca.pin_file is not its PIN",
		    uri);
	return key;
}
#endif

static EVP_PKEY *first_key(OSSL_STORE_CTX *store)
{
	EVP_PKEY *key = NULL;

	while (key == NULL && !OSSL_STORE_eof(store)) {
		OSSL_STORE_INFO *info = OSSL_STORE_load(store);
		if (info == NULL)
			break;
		key = OSSL_STORE_INFO_get1_PKEY(info);
		OSSL_STORE_INFO_free(info);
	}
	return key;
}

static int on_pin(char *out, int size, int writing, void *arg)
{
	const char *pin = arg;
	size_t n = pin != NULL ? strlen(pin) : 0;

	(void)writing;
	if (n == 0 || n > (size_t)size)
		return -1;
	memcpy(out, pin, n);
	return (int)n;
}

static EVP_PKEY *load_by_provider(
    const char *uri, const char *module, const char *pin, struct refusal *r)
{
	UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(on_pin, 0);
	OSSL_STORE_CTX *store = NULL;
	EVP_PKEY *key = NULL;
	char *copy = pin != NULL ? strdup(pin) : NULL;

	setenv("PKCS11_PROVIDER_MODULE", module, 1);
	if (OSSL_PROVIDER_load(NULL, "default") == NULL ||
	    OSSL_PROVIDER_load(NULL, "pkcs11") == NULL) {
		refuse(r, SIGNER_BROKEN,
		    "%s: OpenSSL has neither the engine nor the provider \"pkcs11\": install libengine-pkcs11-openssl or pkcs11-provider",
		    uri);
		goto out;
	}
	store = OSSL_STORE_open(uri, ui, copy, NULL, NULL);
	if (store != NULL && OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY))
		key = first_key(store);
	if (key == NULL)
		refuse_openssl(r,
		    "%s: the token has no such private key, or enroll.ca.pin_file is not its PIN",
		    uri);
out:
	OSSL_STORE_close(store);
	if (copy != NULL)
		OPENSSL_cleanse(copy, strlen(copy));
	free(copy);
	UI_destroy_method(ui);
	return key;
}

EVP_PKEY *key_token_load(const char *uri, const char *module, const char *pin, struct refusal *r)
{
#ifndef OPENSSL_NO_ENGINE
	bool there;
	EVP_PKEY *key = load_by_engine(uri, module, pin, &there, r);

	if (there)
		return key;
#endif
	return load_by_provider(uri, module, pin, r);
}
