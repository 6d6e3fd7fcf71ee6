/*
 * audit_names: whom and what an entry of the audit trail is about, in people's words, as the registry knows them now. The trail itself holds only
 * SIDs, ids and serial numbers, which stay true when somebody is renamed. Worker of easenroll, and the audit command.
 */
#ifndef EASGATE_ENROLL_AUDIT_NAMES_H
#define EASGATE_ENROLL_AUDIT_NAMES_H

#include "enroll/worker/registry.h"

#define AUDIT_NAME_MAX (ACCOUNT_TEXT_MAX + REGISTRY_NAME_MAX + 8)

/*
 * text: an entry's actor or object: "S-1-...", "user S-1-...", "device <id>", a device's id alone, "certificate <serial>". out: the account's UPN, "name of the device
 * (its owner's UPN)"; "" for what has no other name, or none any more.
 */
void audit_name(struct registry *r, const char *text, char out[AUDIT_NAME_MAX]);

#endif
