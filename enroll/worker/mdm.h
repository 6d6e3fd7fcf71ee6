/*
 * mdm: notifications of a device manager (Workspace ONE UEM, Jamf Pro): a device that was unenrolled, deleted or found compromised there loses its
 * certificates here, or is put on hold (enroll.mdm.action). POST to /mdm/workspace-one and /mdm/jamf over TLS, HTTP Basic with the name and password of
 * enroll.mdm.secret_file. Worker of easenroll.
 *
 * A notification is a hint of somebody who knows the secret: it can only take access away, only from a device of the registry that it names by serial number
 * or UDID, or by its owner and its name where that is one device, and only from so many in ten minutes (mdm_stopped), so that whoever has the secret
 * cannot stop a whole company. Each one that concerns us, and each that is refused, is in the audit trail.
 */
#ifndef EASGATE_ENROLL_MDM_H
#define EASGATE_ENROLL_MDM_H

#include "enroll/worker/route.h"

struct mdm;

#define MDM_WINDOW_SECONDS 600
#define MDM_LEAST	   10	/* devices that may fall in a window; or a twentieth of all, if that is more */

/* Borrows w. NULL: why says what and the cure. */
struct mdm *mdm_new(struct enroll_worker *w, char *why, size_t why_size);
void mdm_free(struct mdm *m);	/* accepts NULL */

extern const struct route mdm_routes[];	/* ends with .methods == NULL */

#endif
