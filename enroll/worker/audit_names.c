/*
 * audit_names: looks up the last word of an actor or object. Worker of easenroll, and the audit command.
 */
#include "enroll/worker/audit_names.h"

#include <stdio.h>

#include "common/text.h"

static void name_account(const struct registry_account *a, char out[AUDIT_NAME_MAX])
{
	snprintf(out, AUDIT_NAME_MAX, "%s", a->upn[0] != '\0' ? a->upn : a->sam);
}

static void name_device(struct registry *r, const char *id, char out[AUDIT_NAME_MAX])
{
	struct registry_account owner;
	struct registry_device d;

	if (registry_device_get(r, id, &d) == REGISTRY_OK && registry_account_by_id(r, d.account, &owner) == REGISTRY_OK)
		snprintf(out, AUDIT_NAME_MAX, "%s (%s)", d.name, owner.upn[0] != '\0' ? owner.upn : owner.sam);
}

void audit_name(struct registry *r, const char *text, char out[AUDIT_NAME_MAX])
{
	const char *space = strrchr(text, ' '), *last = space != NULL ? space + 1 : text;
	struct registry_certificate certificate;
	struct registry_account account;
	uint8_t serial[REGISTRY_SERIAL];

	out[0] = '\0';
	if (strncmp(last, "S-1-", 4) == 0) {
		if (registry_account_by_sid(r, last, &account) == REGISTRY_OK)
			name_account(&account, out);
	} else if (strncmp(text, "device ", 7) == 0 || (space == NULL && strlen(text) == REGISTRY_DEVICE - 1)) {
		name_device(r, last, out);
	} else if (strncmp(text, "certificate ", 12) == 0 && text_unhex(serial, sizeof(serial), strv_from(last)) == 0 &&
	    registry_certificate_get(r, serial, &certificate) == REGISTRY_OK) {
		name_device(r, certificate.device, out);
	}
}
