/*
 * mdm_event: what a device manager's notification says: whether a device is gone or no longer to be trusted, and by what names it can be found. Workspace
 * ONE UEM (JSON, or XML <Eventlog>) and Jamf Pro (JSON, or XML <JSSEvent>). Pure: no DTD, no entity, nothing fetched. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_MDM_EVENT_H
#define EASGATE_ENROLL_MDM_EVENT_H

#include "common/base.h"
#include "common/directory/ask.h"
#include "enroll/worker/registry.h"

#define MDM_BODY_MAX 65536

enum mdm_vendor { MDM_WORKSPACE_ONE, MDM_JAMF };

enum mdm_what {
	MDM_NOTHING = 0,	/* an enrolment, a check-in, ...: of no concern here */
	MDM_UNENROLLED,
	MDM_DELETED,
	MDM_COMPROMISED,
};
const char *mdm_what_text(enum mdm_what what);

struct mdm_event {
	enum mdm_what what;
	char type[64];		/* as the vendor calls it; "" when it is too long */
	/* "" : not told, or no such thing ("System.Byte[]"), or longer than any of ours */
	char serial_number[REGISTRY_UDID_MAX], udid[REGISTRY_UDID_MAX];
	char user[ACCOUNT_TEXT_MAX], device_name[REGISTRY_NAME_MAX];
};

/* xml: by the content type. 0, or -1: *why (static) says what is wrong with it. */
MUST_CHECK int mdm_event_read(enum mdm_vendor vendor, bool xml, struct strv body, struct mdm_event *out, const char **why);

#endif
