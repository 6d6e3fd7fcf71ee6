/*
 * claim_kind: what sort of name a claim holds. Travels as a number in struct directory_find.
 */
#ifndef EASGATE_DIRECTORY_CLAIM_KIND_H
#define EASGATE_DIRECTORY_CLAIM_KIND_H

enum claim_kind {		/* an entry of proxy.identity; also the kind of a claim */
	CLAIM_NONE = 0,
	CLAIM_SID, CLAIM_UPN,
	CLAIM_ALT_ISSUER_SERIAL, CLAIM_ALT_SKI, CLAIM_ALT_SHA1_PUBLIC_KEY,
	CLAIM_WEAK_ISSUER_SUBJECT, CLAIM_WEAK_SUBJECT, CLAIM_WEAK_RFC822,
	CLAIM_EMAIL,
	CLAIM_SUBJECT_CN, CLAIM_SUBJECT_UID, CLAIM_SUBJECT_EMAIL,
	CLAIM_USER,		/* a Basic user name, where passwords are on: "user", "user@domain", "DOMAIN\user" */
	CLAIM_KINDS
};

#endif
