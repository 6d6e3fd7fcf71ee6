/*
 * setup: what the *signer* is told by the configuration. Filled by enroll/program.c; everything is borrowed and outlives the process.
 */
#ifndef EASGATE_ENROLL_SIGNER_SETUP_H
#define EASGATE_ENROLL_SIGNER_SETUP_H

#include "common/base.h"

enum signer_key_rule { SIGNER_KEY_ANY = 0, SIGNER_KEY_RSA, SIGNER_KEY_EC };

struct signer_profile {
	const char *name;
	uint32_t days; /* longest lifetime */
	/* RFC 4514-like: "CN={display_name},UID={sam}"; keys {display_name} {sam} {upn} {mail} {device}; values are escaped, never parsed */
	const char *subject;
	bool upn, mail,
	    sid; /* SAN otherName, SAN rfc822Name, the SID extension: each demanded when true */
	enum signer_key_rule key;
};

struct signer_setup {
	const char *user; /* the service user: may own the folder beside root */
	const char *ca_folder, *crl_folder;
	const char *key_password_file;	      /* "": keys are not encrypted */
	const char *pkcs11_module, *pin_file; /* "": none */
	const char *known_keys_file;	      /* "": none */
	const char *plain_url;		      /* without a final slash: what CDP and AIA say */
	const struct signer_profile *profiles;
	size_t profiles_n;
	uint32_t ocsp_signer_seconds; /* life of an OCSP signer's certificate */
	bool delta;	       /* full CRLs say where the delta is (Freshest CRL) */
	bool des3, legacy_des; /* SCEP: ciphers beside AES */
};

#endif
